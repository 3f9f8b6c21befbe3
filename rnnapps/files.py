"""Files that are written whole or not at all, text files that a user names, and versions of exported models."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from rnnapps.errors import RunError, UsageError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary neighbour of `path` and renames it into place: whole or not at all.

    Raises:
        RunError: The file cannot be written, such as on a full disk; what `path` held before is kept.
    """
    # The neighbour keeps the suffix, which Keras and NumPy read the format from.
    neighbour = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(neighbour)
        with open(neighbour, "r+b") as file:  # Windows puts nothing on the disk for one that only reads
            os.fsync(file.fileno())
        os.replace(neighbour, path)
    except OSError as error:
        raise RunError(
            f"{path} could not be saved ({error.strerror or error}): what was there before is kept"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be what cannot be written
            neighbour.unlink(missing_ok=True)


def read_text(option: str, path: Path) -> str:
    """The text of a file that an option of the command line names, without a byte-order mark.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path} is not UTF-8 text at byte {error.start}") from None


def read_lines(option: str, path: Path) -> list[str]:
    """The lines of such a file. They end at LF, CRLF or CR, and not at the further ends that `str.splitlines` knows.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    lines = read_text(option, path).split("\n")  # the ends have become LF when it was read
    return lines if lines[-1] else lines[:-1]


def versions(path: Path) -> list[int]:
    """The numbers of an exported model's versions, in order: of folders that hold a SavedModel."""
    names = [child.name for child in path.glob("*") if (child / "saved_model.pb").is_file()]
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())
