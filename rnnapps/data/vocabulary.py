"""The symbols that a model knows, each with a number."""

from __future__ import annotations

import codecs
import functools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from rnnapps.errors import RunError, UsageError
from rnnapps.files import write_whole
from rnnapps.ops.pieces import KINDS, split_text

UNSEEN = "\N{REPLACEMENT CHARACTER}"
MAX_VOCABULARY = 20_000
_CODE_POINTS = 0x110000


class JsonFile(ABC):
    """Mixin that keeps a vocabulary in a file, as the values of JSON that `to_dict` gives and `from_dict` takes."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    @abstractmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self: ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON, all or nothing."""
        write_whole(Path(path), lambda file: file.write_text(json.dumps(self.to_dict()), encoding="utf-8"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Raises:
            RunError: The file is missing or is no vocabulary.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            raise RunError(f"{path} is not a readable vocabulary ({describe(error)})") from error


class Vocabulary(JsonFile):
    """Numbers for symbols: id 0 is the start of a text and anything unseen, ids 1 to N are the N symbols.

    Args:
        kind: `"char"` (a symbol is one Unicode code point), `"byte"` or `"word"` (see `ops.strings.split`).
        symbols: The symbols in the order of their ids, as UTF-8 bytes or `str`; for `"byte"` single bytes.

    Attributes:
        kind: As given.
        symbols: Tuple of bytes; `symbols[i]` has id `i + 1`.
        size: Number of ids, `len(symbols) + 1`.

    Raises:
        UsageError: `kind` is unknown.
        ValueError: There is no symbol, one is given twice, or one is none of that kind.
    """

    def __init__(self, kind: str, symbols: Iterable[bytes | str]):
        check_kind(kind)
        self.kind = kind
        self.symbols = tuple(s.encode("utf-8") if isinstance(s, str) else bytes(s) for s in symbols)
        if not self.symbols:
            raise ValueError("a vocabulary holds at least one symbol")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("every symbol of a vocabulary must be there once")
        for symbol in self.symbols:
            if not _is_symbol(kind, symbol):
                raise ValueError(f"{symbol!r} is not one {kind}")

    @classmethod
    def from_counts(cls, kind: str, counts: Mapping[bytes, int], max_vocabulary: int = MAX_VOCABULARY) -> Vocabulary:
        """Makes a vocabulary from how often each symbol stands in the training text.

        Characters and bytes are all kept, in order of their code. Words go by falling count, then by text, and only the
        first `max_vocabulary` are kept.

        Raises:
            UsageError: `max_vocabulary` is below 1.
        """
        if max_vocabulary < 1:
            raise UsageError(f"max_vocabulary must be at least 1, not {max_vocabulary}")
        if kind == "word":
            ordered = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
            return cls(kind, ordered[:max_vocabulary])
        return cls(kind, sorted(counts))  # UTF-8 sorts as its code points do.

    @property
    def size(self) -> int:
        return len(self.symbols) + 1

    def encode(self, text: str | bytes) -> np.ndarray:
        """Ids of a text, `(tokens,)` int32. What is unseen, or not valid UTF-8, has id 0.

        (Invalid bytes are read as U+FFFD, which has an id of its own only if the training text held that character.)
        """
        if self.kind == "char":
            characters = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            return self.id_of_code[code_points(characters)]
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if self.kind == "byte":
            return self.id_of_code[np.frombuffer(data, np.uint8)]
        return np.array([self._id_of_symbol.get(piece, 0) for piece in split_text(data, "word")], np.int32)

    def unseen(self, text: str | bytes) -> list[str]:
        """The pieces of a text that have no id of their own, each once, in order of their code."""
        pieces = split_text(text, self.kind)
        without = {piece for piece, i in zip(pieces, self.encode(text), strict=True) if i == 0}
        return [piece.decode("utf-8", "backslashreplace") for piece in sorted(without)]

    def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
        """Bytes of the symbols with these ids, joined; id 0 becomes U+FFFD.

        Raises:
            ValueError: An id is outside 0 to `size - 1`.
        """
        ids = np.asarray(ids, np.int64).reshape(-1)
        if ids.size and not (0 <= ids.min() and ids.max() < self.size):
            raise ValueError(f"ids must be 0 to {self.size - 1}, not {ids.min()} to {ids.max()}")
        return b"".join(self._pieces[ids])

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of these ids; id 0, and bytes that are not UTF-8, become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def stream(self) -> StreamDecoder:
        """A decoder for ids that arrive a few at a time."""
        return StreamDecoder(self)

    def to_dict(self) -> dict[str, Any]:
        """The vocabulary as values that JSON holds."""
        if self.kind == "byte":
            return {"kind": self.kind, "symbols": [symbol[0] for symbol in self.symbols]}
        return {"kind": self.kind, "symbols": [symbol.decode("utf-8") for symbol in self.symbols]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError or UsageError: It is no vocabulary.
        """
        kind, symbols = content["kind"], content["symbols"]
        return cls(kind, [bytes([s]) for s in symbols] if kind == "byte" else symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.kind, self.symbols) == (other.kind, other.symbols)

    def __hash__(self) -> int:
        return hash((self.kind, self.symbols))

    @functools.cached_property
    def id_of_code(self) -> np.ndarray:
        """int32 id of every code point (`"char"`) or of every byte (`"byte"`); 0 for those it does not hold."""
        table = np.zeros(256 if self.kind == "byte" else _CODE_POINTS, np.int32)
        if self.kind == "byte":
            codes = np.frombuffer(b"".join(self.symbols), np.uint8)
        else:
            codes = code_points(b"".join(self.symbols).decode("utf-8"))
        table[codes] = np.arange(1, self.size, dtype=np.int32)
        return table

    @functools.cached_property
    def _id_of_symbol(self) -> dict[bytes, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, start=1)}

    @functools.cached_property
    def _pieces(self) -> np.ndarray:
        return np.array([UNSEEN.encode("utf-8"), *self.symbols], dtype=object)


class StreamDecoder:
    """Text of ids that arrive a few at a time: a character cut in two waits for its other bytes."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text that is complete after these ids."""
        return self._decoder.decode(self._vocabulary.decode_bytes(ids))

    def finish(self) -> str:
        """What is left: U+FFFD if the last character never became complete, else nothing."""
        return self._decoder.decode(b"", final=True)


def check_kind(kind: str) -> None:
    """Raises `UsageError` unless `kind` is a kind of token."""
    if kind not in KINDS:
        raise UsageError(f"tokens must be one of {', '.join(KINDS)}, not {kind!r}")


def code_points(text: str) -> np.ndarray:
    """Unicode code points of a text, `(len(text),)` uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def describe(error: Exception) -> str:
    """What went wrong, in a few words, for use inside a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _is_symbol(kind: str, symbol: bytes) -> bool:
    if kind == "byte":
        return len(symbol) == 1
    try:
        text = symbol.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return len(text) == 1 if kind == "char" else len(text) > 0
