"""Captions in the user's files, and the folder of pictures that they are about."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rnnapps.data.caption_formats import Findings, as_text, pairs_in
from rnnapps.errors import UsageError

MAX_PICTURE_BYTES = 256 << 20
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"})

_OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)


class Captioned(NamedTuple):
    """A picture and what was said of it.

    Attributes:
        name: Of the picture; no two of a data set have the same.
        picture: What its file holds, as it is.
        captions: One or more, each on one line.
    """

    name: str
    picture: bytes
    captions: tuple[str, ...]


def read_captions(path: Path, findings: Findings, option: str = "--captions") -> dict[str, tuple[str, ...]]:
    """What a file of captions says of each picture, in the file's order.

    The file is one of these, told by its content, in UTF-8: lines of a name, a tab and a caption, as many for a name
    as there are captions; the same with `#0`, `#1` ... behind the name, which has a suffix, as Flickr8k has it; a table
    whose head names a column of pictures and one of captions, with commas, semicolons or bars, as Kaggle has it; JSON
    with `images` and `annotations`, as COCO has it; JSON with `images` and their `sentences`, as Karpathy's splits have
    it, the splits left aside; or an object a line with `file_name` and `text` or `caption`, as `metadata.jsonl` has it.
    Spaces in a row, and line breaks, become one space.

    Args:
        path: The file; lines may be packed by gzip.
        findings: Where what is left out is counted.
        option: That named it, for messages.

    Returns:
        From a name to its captions, one at least.

    Raises:
        UsageError: It cannot be read, is not UTF-8, no valid JSON or JSON of another kind, or has no caption.
    """
    if not path.is_file() or path.stat().st_size == 0:
        what = "is a folder" if path.is_dir() else "is empty" if path.is_file() else "does not exist"
        raise UsageError(f"{option} {path} {what}, and a file of captions is wanted")
    found: dict[str, list[str]] = {}
    for name, caption in pairs_in(path, findings):
        found.setdefault(name, []).append(caption)
    if not found:
        reasons = "".join(f": {count:,} {what}s {why}" for (_, what, why), (count, _) in findings.left_out.items())
        raise UsageError(
            f"{option} {path} holds no caption{reasons[:200]}; wanted lines of a name, a tab and a caption, a table "
            "with the columns image and caption, JSON of COCO or of Karpathy's splits, or metadata.jsonl"
        )
    return {name: tuple(captions) for name, captions in found.items()}


def paired(
    captions: Mapping[str, Iterable[str]], folder: Path, findings: Findings, place: object = "--captions"
) -> dict[str, tuple[str, ...]]:
    """The pictures of a folder that captions are about.

    A name is a picture's path in the folder, whose suffix may be left out where one picture alone fits. Names of the
    same picture are one.

    Args:
        captions: As `read_captions` gives them.
        folder: Of the pictures, which may lie in folders in it.
        findings: Where names without a picture and pictures without a caption are counted, names that lead out of the
            folder, and files that are empty, larger than `MAX_PICTURE_BYTES`, or cannot be read.
        place: Where the names stand, for messages.

    Returns:
        From the path of a picture in the folder to its captions, in the order of `captions`.

    Raises:
        UsageError: The folder cannot be read, or no picture is left.
    """
    pictures, stems = _listed(folder)
    found: dict[str, tuple[str, ...]] = {}
    for name, some in captions.items():
        path = _matched(name, pictures, stems)
        if path in pictures:
            found[pictures[path]] = (*found.get(pictures[path], ()), *some)
        else:
            findings.leave_out(place, "name", path, repr(name))
    for picture in pictures.values():
        if picture not in found:
            findings.leave_out(folder, "picture", "without a caption", repr(picture))
    for picture in list(found):
        why = _wrong_file(folder / picture)
        if why:
            findings.leave_out(folder, "picture", why, repr(picture))
            del found[picture]
    if not found:
        reasons = "; ".join(findings.notes())
        raise UsageError(f"{folder} has no picture that {place} has a caption for: wanted one at least ({reasons})")
    return found


def read_pictures(folder: Path, captions: Mapping[str, tuple[str, ...]]) -> Iterator[Captioned]:
    """The pictures that `paired` found, one file at a time.

    A file that can no longer be read gives no bytes, as an empty one does: `pictures.readable` names it.
    """
    for name, some in captions.items():
        try:
            content = (folder / name).read_bytes()
        except OSError:
            content = b""
        yield Captioned(name, content, some)


def _listed(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The pictures of a folder, from their composed names to those on the disk; and from names without suffix."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"--images {folder} {what}, and a folder of pictures is wanted")
    pictures: dict[str, str] = {}
    stems: dict[str, list[str]] = {}

    def fail(error: OSError) -> None:
        raise UsageError(f"--images {error.filename} cannot be read ({error.strerror})") from error

    for top, folders, files in os.walk(folder, onerror=fail):
        folders.sort()
        for file in sorted(files):
            path = PurePosixPath(Path(top, file).relative_to(folder))
            # Names that begin with a point are other programs' leftovers; half characters can stand in no text.
            if path.suffix.lower() in SUFFIXES and not file.startswith(".") and as_text(str(path)):
                key = _composed(str(path))
                if pictures.setdefault(key, str(path)) == str(path):
                    stems.setdefault(_composed(str(path.with_suffix(""))), []).append(key)
    return pictures, stems


def _matched(name: str, pictures: dict[str, str], stems: dict[str, list[str]]) -> str:
    """The key of a picture; or else what is wrong with the name."""
    if outside(name):
        return "outside of the folder"
    key = _composed(str(PurePosixPath(name)))
    some = [key] if key in pictures else stems.get(key, [])
    return some[0] if len(some) == 1 else "of several pictures" if some else "without a picture"


def outside(name: str) -> bool:
    """Whether a path is absolute or goes up, on any system."""
    return _OUTSIDE.match(name) is not None


def _composed(name: str) -> str:
    # Some systems write a letter and its accent apart.
    return unicodedata.normalize("NFC", name)


def _wrong_file(path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        return "that cannot be read"
    if not path.is_file() or not os.access(path, os.R_OK):
        return "that cannot be read"
    if size > MAX_PICTURE_BYTES:
        return f"of more than {MAX_PICTURE_BYTES:,} bytes"
    return "" if size else "without content"
