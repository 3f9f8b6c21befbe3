"""Where text comes from: the running Python's own source, benchmark texts, or the user's files."""

from __future__ import annotations

import functools
import hashlib
import os
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnapps.errors import RunError, UsageError

CHUNK_BYTES = 1 << 20

DEFAULT_DATASET = "python_source"
DATASETS: dict[str, str] = {
    "python_source": "source text of the running Python's standard library (needs no network)",
    "tiny_shakespeare": "40,000 lines of Shakespeare's plays, 1.1 MB (download, or --source DIR)",
    "war_and_peace": "War and Peace in English, 3.2 MB (download, or --source DIR)",
    "linux_kernel": "C source of the Linux kernel, 6 MB (download, or --source DIR)",
}

VALIDATION_FRACTION = 0.02
# What the text's usual split holds out beside its test part, where that is something else: published figures of
# tiny_shakespeare are of models that learnt all of the first 90 %.
USUAL_VALIDATION_FRACTION = {"tiny_shakespeare": 0.0}

_NOT_LIBRARY = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


@dataclass(frozen=True)
class Document:
    """A text that stands for itself: a model starts cold at its first token.

    Attributes:
        name: For messages: a path, or the name of a data set.
        chunks: Gives the raw bytes, from the start at every call, in chunks of at most 1 MiB.
    """

    name: str
    chunks: Callable[[], Iterator[bytes]]


def documents(
    dataset: str | None = None,
    source: Path | None = None,
    text: Sequence[Path] = (),
    data_dir: Path | None = None,
) -> list[Document]:
    """The documents of a named data set, or of the user's files.

    Args:
        dataset: A key of `DATASETS`; None for `text`, or for the default if there is no `text`.
        source: Folder that holds a local copy of the data set, or the file itself. None: download.
        text: The user's files, one document each.
        data_dir: Where a benchmark data set is prepared; keep it until the documents are read. None: TFDS's own folder.

    Returns:
        Documents in the order in which they are to be split into training, validation and test part.

    Raises:
        UsageError: Unknown data set, options that exclude each other, a file that is missing or empty.
        RunError: The data set could not be made ready.
    """
    if text:
        if dataset is not None or source is not None:
            given = f"--source {source}" if dataset is None else f"--dataset {dataset}"
            raise UsageError(f"--text names the user's own files and goes without {given}")
        return [_file(Path(path)) for path in text]
    dataset = DEFAULT_DATASET if dataset is None else dataset
    if dataset not in DATASETS:
        raise UsageError(f"--dataset must be one of {', '.join(DATASETS)}, not {dataset!r}")
    if dataset != "python_source":
        return [_benchmark(dataset, None if source is None else Path(source), data_dir)]
    if source is not None:
        raise UsageError(f"--source {source} does not go with python_source, which this Python already holds")
    return _python_source(Path(sysconfig.get_paths()["stdlib"]))


def _file(path: Path) -> Document:
    """One of the user's files; a pipe will do, since the text is read once."""
    if path.is_dir():
        raise UsageError(f"--text {path} is a folder, and a text file is wanted")
    if not path.exists():
        raise UsageError(f"--text {path} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise UsageError(f"--text {path} is empty, and at least one character is wanted")
    return Document(str(path), functools.partial(_read, path))


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error


def _benchmark(dataset: str, source: Path | None, data_dir: Path | None) -> Document:
    from rnnapps.data import builders  # Only now: importing TFDS takes a while, and the other sources do without.

    builder = builders.prepare(dataset, source, data_dir)
    return Document(dataset, functools.partial(builders.read, builder))


def _python_source(folder: Path) -> list[Document]:
    """Every module of the standard library that is UTF-8, without its tests.

    The order is pseudo-random but always the same, so that the last tenth, which is the test part, is like the first.
    """
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_LIBRARY]
        paths += [Path(parent, name) for name in files if name.endswith(".py")]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8")).digest())
    found = [Document(name, functools.partial(_read, names[name])) for name in ordered if _is_text(names[name])]
    if not found:
        raise RunError(f"this Python has no source files in {folder}: give a text with --text FILE")
    return found


def _is_text(path: Path) -> bool:
    """Whether a source file holds something, all of it UTF-8."""
    content = path.read_bytes()
    try:
        return bool(content.decode("utf-8"))
    except UnicodeDecodeError:
        return False
