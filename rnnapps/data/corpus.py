"""A text as a folder of token ids, made in one pass and in bounded memory."""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rnnapps.data.coding import Coder
from rnnapps.data.sources import Document
from rnnapps.data.vocabulary import MAX_VOCABULARY, Vocabulary, check_kind, describe
from rnnapps.errors import RunError, UsageError

SPLITS = ("train", "validation", "test")
Span = tuple[int, int]

_FORMAT = 1
_BLOCK = 1 << 20  # Tokens in memory at a time.


class Corpus:
    """Token ids on disk, in three parts, with the vocabulary of the training part.

    The folder holds `tokens.bin` (ids of all documents in their order, little-endian, in the smallest unsigned type
    that holds them), `vocabulary.json` and `corpus.json`. Get one from `prepare` or `open`.

    Attributes:
        folder: Where it is.
        vocabulary: What the ids mean.
        num_tokens: Number of tokens of all parts.
        documents: `(name, tokens)` of each document that holds a token.
        splits: For `"train"`, `"validation"` and `"test"` the spans `(start, stop)` of tokens: documents, or what a
            border between two parts left of one.
        unseen: For each part, the number of its tokens that the vocabulary does not hold.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary, content: dict[str, Any]):
        self.folder = folder
        self.vocabulary = vocabulary
        self.num_tokens: int = content["num_tokens"]
        self.documents: list[tuple[str, int]] = [(name, tokens) for name, tokens in content["documents"]]
        self.splits: dict[str, list[Span]] = {
            name: [(start, stop) for start, stop in content["splits"][name]] for name in SPLITS
        }
        self.unseen: dict[str, int] = {name: content["unseen"][name] for name in SPLITS}
        self._dtype = _id_dtype(vocabulary)
        size, wanted = (folder / "tokens.bin").stat().st_size, self.num_tokens * self._dtype.itemsize
        if size != wanted:
            raise ValueError(f"tokens.bin holds {size} bytes in place of {wanted}")
        # A file object would warn when it is left to the garbage collector; a number does not.
        self._file = os.open(folder / "tokens.bin", os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    @classmethod
    def prepare(
        cls,
        documents: Iterable[Document],
        folder: str | os.PathLike[str],
        tokens: str = "char",
        validation_fraction: float = 0.02,
        test_fraction: float = 0.1,
        max_vocabulary: int = MAX_VOCABULARY,
    ) -> Corpus:
        """Reads documents once and writes them as a corpus, all or nothing.

        The parts are cut by tokens: the last `test_fraction` of all of them is the test part, the
        `validation_fraction` before it the validation part, the rest is for training. A byte-order mark at the start
        of a document is dropped, unless tokens are bytes.

        Args:
            documents: The text, in order.
            folder: Where to put the corpus; one that is there already is replaced.
            tokens: `"char"`, `"byte"` or `"word"`.
            validation_fraction: At least 0.
            test_fraction: At least 0; the two together are below 1.
            max_vocabulary: Number of words that get an id (`"word"` only).

        Returns:
            The corpus, open.

        Raises:
            UsageError: An option is out of range, the text is empty or not UTF-8, or `folder` holds something else.
            RunError: The folder cannot be written.
        """
        check_kind(tokens)
        if not (validation_fraction >= 0 and test_fraction >= 0 and validation_fraction + test_fraction < 1):
            raise UsageError(
                "validation_fraction and test_fraction must be at least 0 and together below 1, "
                f"not {validation_fraction} and {test_fraction}"
            )
        folder = Path(folder)
        _check_replaceable(folder)
        # Rounded, since 1 - 0.05 - 0.05 is a little less than 0.9.
        borders = round(1 - test_fraction - validation_fraction, 9), round(1 - test_fraction, 9)
        scratch = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir(parents=True)
            _write(scratch, documents, tokens, borders, max_vocabulary)
            _replace(scratch, folder)
        except OSError as error:
            raise RunError(f"corpus {folder} cannot be written ({describe(error)})") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Corpus:
        """Opens what `prepare` wrote.

        Raises:
            RunError: The folder is missing or damaged.
        """
        folder = Path(folder)
        try:
            content = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']} in place of {_FORMAT}")
            return cls(folder, Vocabulary.load(folder / "vocabulary.json"), content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{folder} holds no readable corpus ({describe(error)})") from error

    def read(self, start: int, stop: int) -> np.ndarray:
        """Ids of the tokens from `start` up to `stop`, `(stop - start,)` int32.

        Raises:
            ValueError: The range is not inside the corpus.
            RunError: The file has become shorter.
        """
        if not 0 <= start <= stop <= self.num_tokens:
            raise ValueError(f"tokens {start} to {stop} are not within 0 to {self.num_tokens}")
        count, width = stop - start, self._dtype.itemsize
        data = os.pread(self._file, count * width, start * width)
        if len(data) != count * width:
            raise RunError(f"{self.folder / 'tokens.bin'} ends before token {stop}: the file was changed")
        return np.frombuffer(data, self._dtype).astype(np.int32)

    def tokens_in(self, split: str) -> int:
        """Number of tokens in a part.

        Raises:
            UsageError: There is no such part.
        """
        return sum(stop - start for start, stop in self.spans(split))

    def spans(self, split: str) -> list[Span]:
        """`splits[split]`.

        Raises:
            UsageError: There is no such part.
        """
        if split not in self.splits:
            raise UsageError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        return self.splits[split]


def _write(folder: Path, documents: Iterable[Document], kind: str, borders: tuple[float, float], words: int) -> None:
    """Writes a corpus into an empty folder: codes first, since the vocabulary comes from the training part alone."""
    coder = Coder(kind)
    code_file = folder / "codes.bin"
    lengths = _write_codes(code_file, documents, coder)
    total = sum(tokens for _, tokens in lengths)
    if not total:
        raise UsageError("the text is empty, and at least one character is wanted")
    train_stop, validation_stop = (int(total * border) for border in borders)
    if not train_stop:
        raise UsageError(f"of a text of {total} tokens none is left for training, so a longer text is wanted")
    ranges = {"train": (0, train_stop), "validation": (train_stop, validation_stop), "test": (validation_stop, total)}
    used = _count(_blocks(code_file, coder.dtype, *ranges["train"]))
    vocabulary = Vocabulary.from_counts(kind, coder.counts(used), words)
    vocabulary.save(folder / "vocabulary.json")
    id_of_code = coder.ids(vocabulary).astype(_id_dtype(vocabulary))
    with (folder / "tokens.bin").open("wb") as file:
        unseen = {name: _write_ids(file, _blocks(code_file, coder.dtype, *ranges[name]), id_of_code) for name in SPLITS}
    code_file.unlink()
    content = {
        "format": _FORMAT,
        "num_tokens": total,
        "documents": lengths,
        "splits": {name: _spans(lengths, *ranges[name]) for name in SPLITS},
        "unseen": unseen,
    }
    # The folder is a scratch one, renamed when it is whole.
    (folder / "corpus.json").write_text(json.dumps(content), encoding="utf-8")


def _write_codes(path: Path, documents: Iterable[Document], coder: Coder) -> list[tuple[str, int]]:
    """Writes the codes of all documents; gives the name and number of tokens of those that hold any."""
    lengths = []
    with path.open("wb") as file:
        for document in documents:
            tokens = 0
            for codes in coder.codes(document):
                file.write(codes.astype(coder.dtype, copy=False).tobytes())
                tokens += codes.size
            if tokens:
                lengths.append((document.name, tokens))
    return lengths


def _write_ids(file: BinaryIO, blocks: Iterable[np.ndarray], id_of_code: np.ndarray) -> int:
    """Appends the ids of codes to a file; gives the number of those that are 0."""
    unseen = 0
    for codes in blocks:
        ids = id_of_code[codes]
        unseen += ids.size - int(np.count_nonzero(ids))
        file.write(ids.tobytes())
    return unseen


def _blocks(path: Path, dtype: np.dtype, start: int, stop: int) -> Iterator[np.ndarray]:
    """Numbers `start` to `stop` of a file, a block at a time."""
    with path.open("rb") as file:
        file.seek(start * dtype.itemsize)
        for first in range(start, stop, _BLOCK):
            yield np.frombuffer(file.read(min(_BLOCK, stop - first) * dtype.itemsize), dtype)


def _count(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """How often each code occurs; as long as the largest code needs."""
    total = np.zeros(0, np.int64)
    for codes in blocks:
        counts = np.bincount(codes, minlength=total.size)
        counts[: total.size] += total
        total = counts
    return total


def _spans(lengths: list[tuple[str, int]], start: int, stop: int) -> list[Span]:
    """The documents, or the parts of them, that lie in a range of tokens."""
    spans, first = [], 0
    for _, tokens in lengths:
        last = first + tokens
        if max(first, start) < min(last, stop):
            spans.append((max(first, start), min(last, stop)))
        first = last
    return spans


def _id_dtype(vocabulary: Vocabulary) -> np.dtype:
    """The smallest little-endian unsigned type that holds every id."""
    if vocabulary.size <= 1 << 8:
        return np.dtype("u1")
    return np.dtype("<u2") if vocabulary.size <= 1 << 16 else np.dtype("<u4")


def _check_replaceable(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()) and not (folder / "corpus.json").is_file():
            raise UsageError(f"{folder} holds other files, and a corpus wants a folder of its own")
    elif folder.exists():
        raise UsageError(f"{folder} is a file, and a corpus wants a folder")


def _replace(scratch: Path, folder: Path) -> None:
    """Moves a finished folder into place; whatever happens, the old one or the new one is left."""
    old = scratch.with_name(f"{scratch.name}.old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(scratch, folder)
    shutil.rmtree(old, ignore_errors=True)
