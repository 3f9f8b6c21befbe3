"""SHA-256 of every file of an export, in a file that `sha256sum --check` reads too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rnnapps.errors import RunError

FILE = "SHA256SUMS"


def write(path: Path) -> None:
    """Writes the sums of all files in a SavedModel's folder `path` into it."""
    lines = (f"{_sum(path / name)}  {name}\n" for name in _names(path))
    (path / FILE).write_text("".join(lines), encoding="utf-8", newline="\n")


def check(path: Path) -> int:
    """Checks the files of a folder; returns how many there are.

    Raises:
        RunError: There are no sums, or they are damaged; or a file is gone, is not what was written, or came later.
    """
    try:
        lines = (path / FILE).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise RunError(f"{path / FILE} cannot be read ({error}): wanted the sums that export wrote") from error
    there = _names(path)
    for name, digest in sums.items():
        if name not in there:
            raise RunError(f"{name} is gone, of which {FILE} has the sum")
        if (found := _sum(path / name)) != digest:
            raise RunError(f"{name} is not what was exported: its SHA-256 is {found[:12]}..., wanted {digest[:12]}...")
    if added := [name for name in there if name not in sums]:
        raise RunError(f"{added[0]} was not exported: {FILE} has no sum of it")
    return len(sums)


def _names(path: Path) -> list[str]:
    """The files of a folder but those that systems leave behind, whose names begin with a point."""
    files = (file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file())
    return [file.as_posix() for file in files if file != Path(FILE) and not file.name.startswith(".")]


def _sum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
