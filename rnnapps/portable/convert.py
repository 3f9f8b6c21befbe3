"""From an export to files of other run times, each compared with TensorFlow before it is put in its place."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.errors import RunError, UsageError
from rnnapps.portable.core import Arrays, Core, numeric_cores
from rnnapps.portable.draft import draft
from rnnapps.serving.saved_model import version_folder

WEIGHTS = ("float32", "float16", "int8")
# Difference to TensorFlow that is accepted, in parts of the largest number of an output.
LIMITS = {"float32": 1e-4, "float16": 3e-2, "int8": 0.3}
# Requests and places (of a sentence) of the random inputs that are compared.
_SIZES = ((1, 7), (3, 11))


@dataclass(frozen=True)
class Format:
    """A run time.

    Attributes:
        name: As a person says it.
        suffix: Of its files.
        packages: That it wants.
        module: Of this package, with `convert` and `Session`.
    """

    name: str
    suffix: str
    packages: tuple[str, ...]
    module: str

    def load(self) -> Any:
        """Its module.

        Raises:
            UsageError: A package is missing.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise UsageError(f"{self.name} wants the extra: pip install 'rnnapps[portable]' ({package} is missing)")
        return importlib.import_module(self.module)


FORMATS = {
    "onnx": Format("ONNX", ".onnx", ("tf2onnx", "onnx", "onnxruntime"), "rnnapps.portable.onnx_file"),
    "litert": Format("LiteRT", ".tflite", ("ai_edge_litert",), "rnnapps.portable.lite_file"),
}


@dataclass(frozen=True)
class Converted:
    """A file's content.

    Attributes:
        file: Its name: the endpoint's, how the weights are stored unless as float32, and the suffix.
        content: Bytes of the file.
        difference: The largest difference to TensorFlow, in parts of the largest number of the output.
        run: Answers from it.
    """

    file: str
    content: bytes
    difference: float
    run: Callable[[Arrays], Arrays]


def convert(core: Core, form: str, weights: str, threads: int = 0) -> Converted:
    """Converts a core, and compares what it answers to random inputs with TensorFlow's answers.

    Args:
        core: What is converted.
        form: One of `FORMATS`.
        weights: One of `WEIGHTS`.
        threads: Of the processor, for the run time.

    Raises:
        UsageError: The run time is not installed.
        RunError: It has no form of an operation, or answers something else.
    """
    module = FORMATS[form].load()
    content = module.convert(core, weights)
    run = module.Session(content, core, threads)
    worst = 0.0
    for rows, places in _SIZES:
        inputs = core.example(rows, places, seed=rows)
        try:
            found = run(inputs)
        except Exception as error:  # each run time has its own
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise RunError(f"{FORMATS[form].name} fails in endpoint {core.name!r} ({reason})") from error
        for name, wanted in core.ask(inputs).items():
            off = difference(found[name], wanted)
            worst = max(worst, off)
            if not off <= LIMITS[weights]:
                raise RunError(
                    f"{FORMATS[form].name} with {weights} weights gives another {name} than TensorFlow in endpoint "
                    f"{core.name!r}: off by {off:.1e} of its largest number, wanted at most {LIMITS[weights]:g}"
                )
    stored = "" if weights == "float32" else f"_{weights}"
    return Converted(f"{core.name}{stored}{FORMATS[form].suffix}", content, worst, run)


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, in parts of the largest number that is wanted; infinite where the shapes differ."""
    if found.shape != wanted.shape or (np.isnan(found.astype("float64")) != np.isnan(wanted.astype("float64"))).any():
        return float("inf")
    found, wanted = np.nan_to_num(found.astype("float64")), np.nan_to_num(wanted.astype("float64"))
    return float(np.abs(found - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-6))


def convert_export(path: Path, output: Path, form: str, weights: str, names: tuple[str, ...]) -> list[Converted]:
    """Writes a file such as `output/step_int8.tflite` for each endpoint, and the export's manifest beside them.

    Args:
        path: An export, `NAME/VERSION`, or `NAME` for its highest version.
        output: Folder of the files.
        form: One of `FORMATS`.
        weights: One of `WEIGHTS`.
        names: Of endpoints. Default: all that take and give numbers.

    Raises:
        UsageError: There is no such export or endpoint, or the run time is not installed.
        RunError: An endpoint cannot be converted, or answers something else; nothing is written then.
    """
    path = version_folder(path)
    FORMATS[form].load()  # before the work
    with draft(output) as folder:
        made = [convert(core, form, weights) for core in numeric_cores(path, names).values()]
        for one in made:
            (folder / one.file).write_bytes(one.content)
        if (path / "manifest.json").is_file():
            shutil.copyfile(path / "manifest.json", folder / "manifest.json")
    return made
