"""Captioned pictures as a folder: encoded pictures, their names and captions, in three parts, read at random."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnapps.data.caption_files import Captioned
from rnnapps.data.held_out import PARTS, Splits
from rnnapps.data.pair_files import Pair
from rnnapps.data.pictures import readable
from rnnapps.data.prepared import META, opened
from rnnapps.data.vocabulary import describe
from rnnapps.errors import RunError, UsageError

_FORMAT = 1
_OFFSETS = np.dtype("<i8")


class Entry(NamedTuple):
    """What is known of a picture but its pixels."""

    name: str
    captions: tuple[str, ...]


class CaptionCorpus:
    """Pictures, as files that TensorFlow decodes, with their captions.

    For each part the folder holds `PART.pictures` (the files one after the other), `PART.offsets` (where each begins
    and the last ends, little-endian int64) and `PART.jsonl` (name and captions of a picture a line); and `meta.json`,
    which is written last.

    Attributes:
        folder: Where it is.
        notes: What was found amiss, a sentence each.
        names: How each part is called.
        digest: Of all pictures, so that what was computed of them can be told from other pictures'.
    """

    def __init__(self, folder: Path, content: dict[str, Any]):
        self.folder = folder
        self.notes: list[str] = content["notes"]
        self.names: dict[str, str] = content["names"]
        self.digest: str = content["digest"]
        self._entries = {part: _entries(folder / f"{part}.jsonl") for part in PARTS}
        self._offsets = {part: np.fromfile(folder / f"{part}.offsets", _OFFSETS) for part in PARTS}
        self._files: dict[str, np.ndarray] = {}
        for part in PARTS:
            path, count = folder / f"{part}.pictures", content["pictures"][part]
            sizes = path.stat().st_size, len(self._entries[part]), len(self._offsets[part])
            if sizes != (self._offsets[part][-1], count, count + 1):
                raise ValueError(f"{path.name} does not hold the {count} pictures of {part}.jsonl")
            self._files[part] = np.memmap(path, np.uint8, "r") if sizes[0] else np.zeros(0, np.uint8)

    @classmethod
    def prepare(cls, splits: Splits[Captioned], folder: str | os.PathLike[str]) -> CaptionCorpus:
        """Reads each part once and writes it; until all is written the folder holds no corpus.

        A picture that cannot be read is left out and named.

        Args:
            splits: The pictures and captions.
            folder: Where to put them.

        Returns:
            The corpus, open.

        Raises:
            UsageError: No picture is left for training.
            RunError: The folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / META).unlink(missing_ok=True)
            digest = hashlib.sha256()
            bad: list[str] = []
            pictures = {part: _write(folder, part, splits[part](), digest, bad) for part in PARTS}
            if not pictures["train"]:
                reason = f": {bad[0]}" if bad else ""
                raise UsageError(f"no picture with a caption is left for training{reason}")
            notes = [*splits.notes, *_said(bad)]
            content = {
                "format": _FORMAT,
                "pictures": pictures,
                "names": {part: splits.names.get(part, part) for part in PARTS},
                "digest": digest.hexdigest(),
                "notes": notes,
            }
            (folder / META).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            raise RunError(f"pictures cannot be written to {folder} ({describe(error)})") from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> CaptionCorpus:
        """Opens what `prepare` wrote.

        Raises:
            RunError: The folder is missing or damaged.
        """
        folder = Path(folder)
        with opened(folder, "corpus of pictures", _FORMAT) as content:
            return cls(folder, content)

    def entries(self, part: str) -> Sequence[Entry]:
        """Name and captions of each picture of a part, in order."""
        return self._entries[part]

    def picture(self, part: str, number: int) -> bytes:
        """The file of a picture."""
        first, last = self._offsets[part][number : number + 2]
        return self._files[part][first:last].tobytes()

    def captions(self, part: str) -> Iterator[str]:
        """All captions of a part."""
        return (caption for entry in self._entries[part] for caption in entry.captions)

    def pairs(self) -> Splits[Pair]:
        """The number of its picture and each caption, as sentence pairs."""
        return Splits.of({part: functools.partial(self._numbered, part) for part in PARTS}, [])

    def _numbered(self, part: str) -> Iterator[Pair]:
        for number, entry in enumerate(self._entries[part]):
            for caption in entry.captions:
                yield Pair(str(number), caption)


def _entries(path: Path) -> list[Entry]:
    with path.open(encoding="utf-8") as file:
        return [Entry(name, tuple(captions)) for name, captions in map(json.loads, file)]


def _write(folder: Path, part: str, pictures: Iterator[Captioned], digest: Any, bad: list[str]) -> int:
    """Writes a part; returns the number of its pictures, and adds what is wrong with others to `bad`."""
    ends = [0]
    with contextlib.ExitStack() as stack:
        files = stack.enter_context((folder / f"{part}.pictures").open("wb"))
        entries = stack.enter_context((folder / f"{part}.jsonl").open("w", encoding="utf-8", newline="\n"))
        for name, picture, captions in pictures:
            try:
                content = readable(name, picture)
            except UsageError as error:
                bad.append(str(error))
                continue
            files.write(content)
            digest.update(hashlib.sha256(content).digest())
            entries.write(f"{json.dumps([name, captions], ensure_ascii=False)}\n")
            ends.append(ends[-1] + len(content))
    np.array(ends, _OFFSETS).tofile(folder / f"{part}.offsets")
    return len(ends) - 1


_NAMED = 10  # of the pictures that are left out


def _said(bad: Sequence[str]) -> list[str]:
    more = [f"{len(bad) - _NAMED:,} more pictures cannot be read: left out"] if len(bad) > _NAMED else []
    return [f"{said}: left out" for said in bad[:_NAMED]] + more
