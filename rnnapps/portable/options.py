"""The options of `python -m rnnapps.portable`: a frozen dataclass for each verb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from rnnapps.config import check_folder_name, check_range, check_types
from rnnapps.errors import UsageError

ExportPath = Positional[Annotated[Path | None, arg(metavar="SAVED_MODEL")]]


@dataclass(frozen=True)
class Convert:
    """Write one file for each endpoint of numbers, compared with TensorFlow before it is put in its place."""

    saved_model: ExportPath = None
    """An export: NAME/VERSION, or NAME for its highest version."""
    output: Path | None = None
    """Folder of the files. Default: the model's name, in portable/."""
    endpoint: tuple[str, ...] = ()
    """Endpoints to convert. Default: all that take and give numbers."""
    weights: Literal["float32", "float16", "int8"] = "float32"
    """How matrices are stored. int8 also multiplies so, which is the fastest."""

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class Table:
    """Try every endpoint of every export, and say what can be converted, and why the rest cannot."""

    saved_models: Positional[Annotated[Path, arg(metavar="FOLDER")]] = Path("saved_models")
    """Folder of exports."""

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class Aot:
    """Compile an exported text generator ahead of time, and write a C++ program around it."""

    saved_model: ExportPath = None
    """An export of text generation: NAME/VERSION, or NAME for its highest version."""
    output: Path | None = None
    """Folder of the program. Default: the model's name, in portable/."""
    steps: int = 64
    """Tokens that one call of the compiled loop reads or draws."""
    target: str = "x86_64-pc-linux-gnu"
    """What is compiled for, as LLVM names it."""
    cpu: str = "x86-64-v3"
    """The oldest processor that is to run it, as LLVM names it; empty is any."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "steps", 1, 65_536)


@dataclass(frozen=True)
class Quantize:
    """Write a copy of an exported text model whose matrices are stored as float16 or int8, for TensorFlow Serving."""

    saved_model: ExportPath = None
    """An export of text generation: NAME/VERSION, or NAME for its highest version."""
    output: Path = Path("saved_models")
    """Folder of all models; the copy is NAME/VERSION in it."""
    name: str | None = None
    """Name of the copy. Default: the model's own with _float16 or _int8."""
    weights: Literal["float16", "int8"] = "int8"
    """How matrices are stored; int8 has a scale for each column."""

    def __post_init__(self) -> None:
        check_types(self)
        check_folder_name(self, "name")


@dataclass(frozen=True)
class Measure:
    """Measure an exported text model in TensorFlow, LiteRT, ONNX Runtime and C++: size, speed, what fewer bits cost."""

    saved_model: ExportPath = None
    """An export of text generation: NAME/VERSION, or NAME for its highest version."""
    text: Path | None = None
    """UTF-8 text whose last part is read for nats a character. Default: none is."""
    test_fraction: float = 0.1
    """The part of the text that is read."""
    limit: int = 0
    """Characters of that part to read; 0 is all."""
    chars: int = 2000
    """Characters that are written in each round."""
    rounds: int = 5
    """Rounds; in each, every way to run the model takes its turn. Medians are shown."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "limit", 0)
        check_range(self, "chars", 10, 65_536)
        check_range(self, "rounds", 1)
        if not 0 < self.test_fraction <= 1:
            raise UsageError(f"--test-fraction {self.test_fraction}: wanted more than 0 and at most 1")
