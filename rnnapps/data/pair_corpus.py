"""Sentence pairs as a folder of token ids, written in bounded memory and mapped from disk."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from rnnapps.data.held_out import PARTS, Splits
from rnnapps.data.pair_files import Pair
from rnnapps.data.prepared import META, opened
from rnnapps.data.vocabulary import describe
from rnnapps.errors import RunError, UsageError

SIDES = ("source", "target")

# From sentences to an array of int32 ids each.
Encode = Callable[[list[str]], Sequence[np.ndarray]]

_FORMAT = 1
_PAIRS = 2_000  # that are encoded at a time
_IDS, _OFFSETS = np.dtype("<i4"), np.dtype("<i8")


class PairCorpus:
    """Token ids of sentence pairs on disk, in three parts, beside the text of what is held out.

    For each part and side the folder holds `PART.SIDE.ids` (ids of all sentences in their order, little-endian int32)
    and `PART.SIDE.offsets` (where each begins and the last ends, int64); for validation and test also `PART.jsonl`, the
    two sentences of a pair a line; and `meta.json`, which is written last. Whoever made the ids keeps
    `source_vocabulary.json` and `target_vocabulary.json` there too; this class reads neither.

    Attributes:
        folder: Where it is.
        max_length: Tokens of a side, at most, in the training part.
        notes: What was found amiss in the pairs, a sentence each.
    """

    def __init__(self, folder: Path, content: dict[str, Any]):
        self.folder = folder
        self.max_length: int = content["max_length"]
        self.notes: list[str] = content["notes"]
        self._pairs: dict[str, int] = {part: content["pairs"][part] for part in PARTS}
        self._ids: dict[tuple[str, str], np.ndarray] = {}
        self._offsets: dict[tuple[str, str], np.ndarray] = {}
        for part, side in itertools.product(PARTS, SIDES):
            tokens, name = content["tokens"][part][side], f"{part}.{side}"
            self._ids[part, side] = _mapped(folder / f"{name}.ids", _IDS, tokens)
            offsets = _mapped(folder / f"{name}.offsets", _OFFSETS, self._pairs[part] + 1)
            if offsets[0] != 0 or offsets[-1] != tokens:
                raise ValueError(f"{name}.offsets does not end at the {tokens} tokens of {name}.ids")
            self._offsets[part, side] = offsets

    @classmethod
    def prepare(
        cls,
        splits: Splits[Pair],
        folder: str | os.PathLike[str],
        encode_source: Encode,
        encode_target: Encode,
        max_length: int,
    ) -> PairCorpus:
        """Reads each part once and writes it; until all is written the folder holds no corpus.

        Args:
            splits: The pairs.
            folder: Where to put them; a corpus that is there already is replaced.
            encode_source, encode_target: From sentences to their ids.
            max_length: Training pairs that have more tokens on a side are left out, and so are those that have none;
                validation and test keep all.

        Returns:
            The corpus, open.

        Raises:
            UsageError: `max_length` is below 1, or no pair is left for training.
            RunError: The folder cannot be written.
        """
        if max_length < 1:
            raise UsageError(f"max_length must be at least 1, not {max_length}")
        folder = Path(folder)
        encode = {"source": encode_source, "target": encode_target}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / META).unlink(missing_ok=True)
            written = {part: _write(folder, part, splits[part](), encode, max_length) for part in PARTS}
            content = {
                "format": _FORMAT,
                "max_length": max_length,
                "pairs": {part: one.pairs for part, one in written.items()},
                "tokens": {part: one.tokens for part, one in written.items()},
                "notes": [*splits.notes, *written["train"].notes(max_length)],
            }
            if not written["train"].pairs:
                raise UsageError(f"no pair has 1 to {max_length} tokens on both sides: wanted one to learn from")
            (folder / META).write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            raise RunError(f"pairs cannot be written to {folder} ({describe(error)})") from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> PairCorpus:
        """Opens what `prepare` wrote.

        Raises:
            RunError: The folder is missing or damaged.
        """
        folder = Path(folder)
        with opened(folder, "corpus of pairs", _FORMAT) as content:
            return cls(folder, content)

    def pairs_in(self, split: str) -> int:
        """Number of pairs of a part.

        Raises:
            UsageError: There is no such part.
        """
        return self._pairs[_known(split)]

    def tokens_in(self, split: str) -> tuple[int, int]:
        """Number of tokens of a part, of its sources and of its targets; errors as of `pairs_in`."""
        source, target = (int(self._offsets[_known(split), side][-1]) for side in SIDES)
        return source, target

    def lengths(self, split: str) -> np.ndarray:
        """Tokens of the source and of the target of each pair, int32 `(pairs, 2)`; errors as of `pairs_in`."""
        return np.stack([np.diff(self._offsets[_known(split), side]) for side in SIDES], 1).astype(np.int32)

    def read(self, split: str, numbers: Sequence[int] | np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Source and target ids, int32 `(tokens,)`, of the pairs of these numbers; errors as of `pairs_in`."""
        sides = []
        for side in SIDES:
            ids, offsets = self._ids[_known(split), side], self._offsets[split, side]
            sides.append([np.array(ids[offsets[i] : offsets[i + 1]], np.int32) for i in numbers])
        return list(zip(*sides, strict=True))

    def padded(self, split: str, side: str, numbers: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """One side of some pairs as a block.

        Args:
            split, side: The part, and `"source"` or `"target"`.
            numbers: Of the pairs, `(rows,)`.
            width: Columns of the block; at least as many as any of the sentences has tokens.

        Returns:
            Ids int32 `(rows, width)`, 0 behind the end of a sentence; number of tokens of each, int64 `(rows,)`.
        """
        ids, offsets = self._ids[_known(split), side], self._offsets[split, side]
        starts = offsets[numbers]
        lengths = offsets[np.asarray(numbers) + 1] - starts
        there = np.arange(width) < lengths[:, None]
        block = np.zeros((len(starts), width), np.int32)
        block[there] = ids[(starts[:, None] + np.arange(width))[there]]
        return block, lengths

    def texts(self, split: str) -> tuple[list[str], list[str]]:
        """The sentences of the validation or test part as they were given: sources, targets.

        Raises:
            UsageError: The part's text is not kept.
            RunError: The file is damaged.
        """
        if _known(split) == "train":
            raise UsageError("the text of the part train is not kept: wanted validation or test")
        path = self.folder / f"{split}.jsonl"
        try:
            with path.open(encoding="utf-8") as file:
                pairs = [Pair(*json.loads(line)) for line in file]
            if len(pairs) != self._pairs[split]:
                raise ValueError(f"it holds {len(pairs)} pairs in place of {self._pairs[split]}")
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{path} is not readable ({describe(error)})") from error
        return [pair.source for pair in pairs], [pair.target for pair in pairs]


class _Written:
    """How much of a part was written, and how much left out."""

    def __init__(self) -> None:
        self.pairs = self.too_long = self.without_tokens = 0
        self.tokens = dict.fromkeys(SIDES, 0)

    def notes(self, max_length: int) -> list[str]:
        """What was left out of the training part."""
        found = []
        if self.too_long:
            found.append(f"{self.too_long:,} training pairs have more than {max_length} tokens on a side: left out")
        if self.without_tokens:
            found.append(f"{self.without_tokens:,} training pairs have no token on a side: left out")
        return found

    def keeps(self, pair: Sequence[np.ndarray], max_length: int) -> bool:
        """Whether a training pair is written; counts it if not."""
        longest, shortest = max(map(len, pair)), min(map(len, pair))
        self.too_long += longest > max_length
        self.without_tokens += longest <= max_length and not shortest
        return 0 < shortest and longest <= max_length


def _write(folder: Path, part: str, pairs: Iterator[Pair], encode: dict[str, Encode], max_length: int) -> _Written:
    written = _Written()
    with contextlib.ExitStack() as stack:
        files = {}
        for side in SIDES:
            files[side] = [stack.enter_context((folder / f"{part}.{side}.{name}").open("wb"))
                           for name in ("ids", "offsets")]  # fmt: skip
            files[side][1].write(np.zeros(1, _OFFSETS).tobytes())
        texts: TextIO | None = None
        if part != "train":
            texts = stack.enter_context((folder / f"{part}.jsonl").open("w", encoding="utf-8", newline="\n"))
        while some := list(itertools.islice(pairs, _PAIRS)):
            encoded = list(zip(*(_encoded(encode[side], [pair[i] for pair in some]) for i, side in enumerate(SIDES)),
                               strict=True))  # fmt: skip
            if texts is not None:
                texts.writelines(f"{json.dumps(pair, ensure_ascii=False)}\n" for pair in some)
            else:
                encoded = [pair for pair in encoded if written.keeps(pair, max_length)]
            written.pairs += len(encoded)
            for i, side in enumerate(SIDES):
                rows = [pair[i] for pair in encoded]
                ends = written.tokens[side] + np.cumsum([len(row) for row in rows], dtype=np.int64)
                if rows:
                    files[side][0].write(np.concatenate(rows).astype(_IDS).tobytes())
                    files[side][1].write(ends.astype(_OFFSETS).tobytes())
                    written.tokens[side] = int(ends[-1])
    return written


def _encoded(encode: Encode, sentences: list[str]) -> Sequence[np.ndarray]:
    rows = encode(sentences)
    if len(rows) != len(sentences):
        raise ValueError(f"{len(sentences)} sentences were encoded as {len(rows)}")
    return rows


def _mapped(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    size, wanted = path.stat().st_size, count * dtype.itemsize
    if size != wanted:
        raise ValueError(f"{path.name} holds {size} bytes in place of {wanted}")
    return np.memmap(path, dtype, "r") if count else np.zeros(0, dtype)  # an empty file cannot be mapped


def _known(split: str) -> str:
    if split not in PARTS:
        raise UsageError(f"split must be one of {', '.join(PARTS)}, not {split!r}")
    return split
