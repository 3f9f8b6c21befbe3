"""Raw text as numbers, before there is a vocabulary."""

from __future__ import annotations

import codecs
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from rnnapps.data.sources import Document
from rnnapps.data.vocabulary import Vocabulary, code_points
from rnnapps.errors import UsageError
from rnnapps.ops.strings import split

_WORD_BLOCK = 1 << 17  # Characters split at a time: pieces take far more memory than their text.


class Coder:
    """Turns text into codes: a code point, a byte, or the number of a word in order of first appearance.

    Since codes need no vocabulary, a text has to be read only once: its codes go to disk, the vocabulary is counted
    from them, and `ids` then says what they become.

    Args:
        kind: `"char"`, `"byte"` or `"word"`.

    Attributes:
        dtype: Unsigned integer type of the codes.
    """

    def __init__(self, kind: str):
        self.dtype = np.dtype(np.uint8 if kind == "byte" else np.uint32)
        self._kind = kind
        self._words: defaultdict[bytes, int] = defaultdict()
        self._words.default_factory = self._words.__len__

    def codes(self, document: Document) -> Iterator[np.ndarray]:
        """Codes of a document in blocks; words are kept in memory, the text is not.

        Raises:
            UsageError: The document is not UTF-8 (`"char"` and `"word"`).
        """
        if self._kind == "byte":
            return (np.frombuffer(chunk, np.uint8) for chunk in document.chunks())
        texts = decoded(document)
        return map(code_points, texts) if self._kind == "char" else self._word_codes(texts)

    def counts(self, used: np.ndarray) -> dict[bytes, int]:
        """How often each symbol was used, from how often each code was; those never used are left out."""
        codes = np.flatnonzero(used)
        words = list(self._words)
        return {self._symbol(code, words): int(used[code]) for code in codes.tolist()}

    def ids(self, vocabulary: Vocabulary) -> np.ndarray:
        """int32 id of every code, 0 for those whose symbol the vocabulary does not hold."""
        if self._kind != "word":
            return vocabulary.id_of_code
        known = {symbol: i for i, symbol in enumerate(vocabulary.symbols, start=1)}
        return np.fromiter((known.get(word, 0) for word in self._words), np.int32, len(self._words))

    def _symbol(self, code: int, words: list[bytes]) -> bytes:
        if self._kind == "word":
            return words[code]
        return bytes([code]) if self._kind == "byte" else chr(code).encode("utf-8")

    def _word_codes(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        rest = b""
        for text in texts:
            for start in range(0, len(text), _WORD_BLOCK):
                block = rest + text[start : start + _WORD_BLOCK].encode("utf-8")
                pieces = split([block], "word").flat_values.numpy()
                rest = pieces[-1]  # It may go on in the next block.
                yield self._numbers(pieces[:-1])
        if rest:
            yield self._numbers([rest])

    def _numbers(self, pieces: Iterable[bytes]) -> np.ndarray:
        return np.fromiter(map(self._words.__getitem__, pieces), np.uint32)


def decoded(document: Document) -> Iterator[str]:
    """Text of a document in chunks, without the byte-order mark that may stand at its start.

    Raises:
        UsageError: It is not UTF-8.
    """
    pending, offset = b"", 0  # Bytes of a character that is cut in two, and where they stand in the document.
    for chunk in itertools.chain(document.chunks(), [None]):
        data = pending + (chunk or b"")
        try:
            text, used = codecs.utf_8_decode(data, "strict", chunk is None)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{document.name} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {offset + error.start} "
                "cannot be read, and --tokens byte takes any file"
            ) from error
        yield text.removeprefix("\ufeff") if offset == 0 else text
        pending, offset = data[used:], offset + used
