"""Sentence pairs in the user's files: read a line at a time, with every line checked."""

from __future__ import annotations

import gzip
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rnnapps.errors import UsageError

MAX_LINE_BYTES = 16 << 20
_PIECE_BYTES = 1 << 18

_GZIP = b"\x1f\x8b"
NO_TAB, EMPTY_SIDE = "without a tab", "with an empty side"


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@dataclass
class Findings:
    """What one pass over pairs left out, and what it met.

    Attributes:
        left_out: From the name of a file and a reason to the number of lines and the first of them.
        pairs: Number of pairs that were not left out.
        equal: Number of those whose sides are the same.
    """

    left_out: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    pairs: int = 0
    equal: int = 0

    def leave_out(self, name: str, reason: str, line: int) -> None:
        count, first = self.left_out.get((name, reason), (0, line))
        self.left_out[name, reason] = count + 1, first

    def notes(self) -> list[str]:
        """A sentence for each file and reason."""
        sentences = []
        for (name, reason), (count, first) in self.left_out.items():
            if count == 1:
                sentences.append(f"{name}: line {first} is left out, which is {reason}")
            else:
                sentences.append(f"{name}: {count:,} lines {reason} are left out, the first of them is line {first}")
        return sentences


@dataclass(frozen=True)
class TabFile:
    """A file of which each line holds a sentence, a tab and its translation; further columns are ignored.

    Attributes:
        path: The file, which may be compressed by gzip.
    """

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def pairs(self, findings: Findings) -> Iterator[Pair]:
        """Its pairs in order.

        Args:
            findings: Where lines that are left out are counted.

        Raises:
            UsageError: It cannot be read, or is not UTF-8.
        """
        return tab_pairs(self.name, lines(self.path), findings)


@dataclass(frozen=True)
class AlignedFiles:
    """Two files whose lines belong together.

    Attributes:
        source, target: The files, which may be compressed by gzip.
    """

    source: Path
    target: Path

    @property
    def name(self) -> str:
        return f"{self.source} and {self.target}"

    def pairs(self, findings: Findings) -> Iterator[Pair]:
        """As of `TabFile`.

        Raises:
            UsageError: A file cannot be read, is not UTF-8, or has more lines than the other.
        """
        for number, (source, target) in enumerate(aligned_lines(self.source, self.target), start=1):
            if _kept(self.name, number, source, target, findings):
                yield Pair(source, target)


def aligned_lines(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    """The lines of two files side by side.

    Raises:
        UsageError: As of `lines`, or one has more lines than the other.
    """
    sources, targets = lines(source), lines(target)
    for number, (one, other) in enumerate(itertools.zip_longest(sources, targets), start=1):
        if one is None or other is None:
            counts = [number - (side is None) + sum(1 for _ in rest) for side, rest in
                      ((one, sources), (other, targets))]  # fmt: skip
            raise UsageError(f"{source} has {counts[0]:,} lines and {target} has {counts[1]:,}: wanted as many in both")
        yield one, other


def tab_pairs(name: str, text: Iterable[str], findings: Findings) -> Iterator[Pair]:
    """The pairs of lines that hold a tab; arguments as in `TabFile.pairs`."""
    for number, line in enumerate(text, start=1):
        source, tab, rest = line.partition("\t")
        if not tab and line.strip():
            findings.leave_out(name, NO_TAB, number)
            continue
        target = rest.partition("\t")[0]
        if _kept(name, number, source, target, findings):
            yield Pair(source, target)


def _kept(name: str, number: int, source: str, target: str, findings: Findings) -> bool:
    if not (source.strip() and target.strip()):
        findings.leave_out(name, EMPTY_SIDE, number)
        return False
    findings.pairs += 1
    findings.equal += source == target
    return True


def check_file(option: str, path: Path) -> None:
    """Raises UsageError for what is no file, or has no content."""
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder, and a text file is wanted")
    if not path.exists():
        raise UsageError(f"{option} {path} does not exist")
    if not path.is_file():
        raise UsageError(f"{option} {path} can be read only once, and a file is wanted, which is read several times")
    if path.stat().st_size == 0:
        raise UsageError(f"{option} {path} is empty, and at least one pair of sentences is wanted")


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends and without a byte-order mark; a gzip file is unpacked.

    Raises:
        UsageError: It cannot be read, is not UTF-8, or is no text.
    """
    return decoded(str(path), _raw_lines(path))


def decoded(name: str, raw: Iterable[bytes]) -> Iterator[str]:
    """Lines of bytes as text; a line ends at LF, CRLF or CR, and at nothing else that Unicode has.

    Args:
        name: Of the file, for messages.
        raw: Its lines, with their ends.

    Raises:
        UsageError: A line is not UTF-8, or holds a zero byte.
    """
    for number, line in enumerate(raw, start=1):
        place = line.find(0)  # it is UTF-8, but stands in no text
        try:
            text = line.decode("utf-8") if place < 0 else ""
        except UnicodeDecodeError as error:
            place = error.start
        if place >= 0:
            raise UsageError(
                f"{name} is not UTF-8 text: byte 0x{line[place]:02x}, which is byte {place + 1} of line {number}, "
                "cannot be read"
            )
        if number == 1:
            text = text.removeprefix("\ufeff")
        yield text.removesuffix("\n").removesuffix("\r")


def split_lines(pieces: Iterable[bytes], longest: float = math.inf) -> Iterator[bytes]:
    """Lines with their ends, which are LF, CRLF or CR, from a text in pieces that end anywhere.

    What is longer than `longest` before its line ends is given as it is.
    """
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).splitlines(keepends=True) or [b""]
        yield from whole
        if rest.endswith(b"\n") or len(rest) > longest:  # after CR the next piece may begin with LF
            yield rest
            rest = b""
    if rest:
        yield rest


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            pieces = iter(lambda: stream.read(_PIECE_BYTES), b"")
            for number, line in enumerate(split_lines(pieces, MAX_LINE_BYTES), start=1):
                if len(line) > MAX_LINE_BYTES:
                    raise UsageError(
                        f"{path} has more than {MAX_LINE_BYTES:,} bytes in line {number}: wanted sentences"
                    )
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error
