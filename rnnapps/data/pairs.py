"""Sentence pairs as padded batches of alike lengths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.sentences import END, PAD
from rnnapps.data.share import ALL_ROWS, Share
from rnnapps.errors import UsageError

_POOL = 100  # batches that are sorted by length together


def batches(
    corpus: PairCorpus,
    split: str,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    bucket: int = 8,
    seed: int | None = None,
    position: int = 0,
    epochs: int | None = 1,
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Batches of pairs that have about the same lengths; each pair is there once an epoch.

    S and T are multiples of `bucket`, so that there are few shapes. With `batch_tokens` the number of rows is
    `max(1, batch_tokens // max(S, T))`, down to a multiple of 8 where it is above 8; once an epoch and for each
    `max(S, T)` a batch has fewer. With `batch_size` the last one has fewer.

    Args:
        corpus: Where the pairs are.
        split: "train", "validation" or "test".
        batch_size: Pairs of a batch; or
        batch_tokens: Rows times columns of the longer side, padding counted.
        bucket: What S and T are multiples of.
        seed: Of the order, another in each epoch; None: in order of length, see `order`.
        position: Batches to leave out, counted from the start of the first epoch.
        epochs: The dataset ends after so many passes, those in `position` included; None: never.
        share: Of the pairs of each batch; the others are not read. Where it is empty, there is a row of weights 0.

    Returns:
        Dataset of `({"source": int32 (B, S), "target": int32 (B, T)}, targets int32 (B, T), weights float32 (B, T))`.
        `target` is what a decoder reads, 0 and the sentence; `targets` what it is to say, the sentence and `END`;
        weights are 1 for that and 0 for padding, which is 0.

    Raises:
        UsageError: A number is out of range, both or neither of `batch_size` and `batch_tokens` are given, or the
            part holds no pair.
    """
    plan = _Plan(corpus, split, batch_size, batch_tokens, bucket)
    if position < 0:
        raise UsageError(f"position must be at least 0, not {position}")

    def generate() -> Iterator[Any]:
        now, rows, of_epoch = position, [np.empty(0, np.int64)], -1
        while epochs is None or now < epochs * len(plan):
            epoch, batch = divmod(now, len(plan))
            if epoch != of_epoch:
                rows, of_epoch = plan.epoch(seed, epoch), epoch
            yield plan.read(rows[batch], share)
            now += 1

    ids = tf.TensorSpec((None, None), tf.int32)
    weights = tf.TensorSpec((None, None), tf.float32)
    signature = ({"source": ids, "target": ids}, ids, weights)
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)


def order(
    corpus: PairCorpus, split: str, batch_size: int | None = None, batch_tokens: int | None = None, bucket: int = 8
) -> np.ndarray:
    """Which pair each row is, int64 `(pairs,)`, batch after batch, in what `batches` gives without a seed."""
    return np.concatenate(_Plan(corpus, split, batch_size, batch_tokens, bucket).epoch(None, 0))


def batches_per_epoch(
    corpus: PairCorpus, split: str, batch_size: int | None = None, batch_tokens: int | None = None, bucket: int = 8
) -> int:
    """Number of batches of each epoch, whatever the seed; arguments as of `batches`."""
    return len(_Plan(corpus, split, batch_size, batch_tokens, bucket))


class _Plan:
    """Which pairs are in one batch. Arguments and errors as of `batches`.

    Pairs are dealt into groups, all batches of which but the last have as many rows; so each epoch has as many batches.
    """

    def __init__(self, corpus: PairCorpus, split: str, batch_size: int | None, batch_tokens: int | None, bucket: int):
        given = {"batch_size": batch_size, "batch_tokens": batch_tokens}
        if (batch_size is None) == (batch_tokens is None):
            raise UsageError(f"one of batch_size and batch_tokens is wanted, not {batch_size} and {batch_tokens}")
        for name, value in {**given, "bucket": bucket}.items():
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if not corpus.pairs_in(split):
            raise UsageError(f"the {split} part of {corpus.folder} holds no pair, and at least one is wanted")
        self._corpus, self._split, self._bucket = corpus, split, bucket
        self._lengths = corpus.lengths(split).astype(np.int64) + (0, 1)  # what a decoder says has an end
        self._groups: list[tuple[np.ndarray, int]] = []  # numbers of pairs, rows of a batch
        if batch_size is not None:
            self._groups.append((np.arange(len(self._lengths)), batch_size))
        elif batch_tokens is not None:
            widths = self._width(self._lengths.max(1))
            numbers = np.argsort(widths, kind="stable")
            found, starts = np.unique(widths[numbers], return_index=True)
            for width, some in zip(found.tolist(), np.split(numbers, starts[1:]), strict=True):
                self._groups.append((some, _rows(batch_tokens, width)))

    def __len__(self) -> int:
        return sum(-(-len(numbers) // rows) for numbers, rows in self._groups)

    def epoch(self, seed: int | None, epoch: int) -> list[np.ndarray]:
        """The numbers of the pairs of each batch."""
        if seed is None:
            return [batch for numbers, rows in self._groups for batch in self._sorted(numbers, rows)]
        rng = np.random.default_rng([seed, epoch])
        found: list[np.ndarray] = []
        for numbers, rows in self._groups:
            numbers = rng.permutation(numbers)
            pool = _POOL * rows
            for start in range(0, len(numbers), pool):
                found += self._sorted(numbers[start : start + pool], rows)
        return [found[i] for i in rng.permutation(len(found))]

    def read(
        self, numbers: np.ndarray, share: Share = ALL_ROWS
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """A batch as `batches` gives it."""
        source_width, width = self._width(self._lengths[numbers].max(0)).tolist()  # the same for all readers
        mine = numbers[share.rows(len(numbers))]
        numbers = mine if len(mine) else numbers[:1]
        source, _ = self._corpus.padded(self._split, "source", numbers, source_width)
        targets, lengths = self._corpus.padded(self._split, "target", numbers, width)
        read = np.full_like(targets, PAD)
        read[:, 1:] = targets[:, :-1]
        targets[np.arange(len(numbers)), lengths] = END
        weights = (np.arange(width) <= lengths[:, None]).astype(np.float32) * bool(len(mine))
        return {"source": source, "target": read}, targets, weights

    def _sorted(self, numbers: np.ndarray, rows: int) -> list[np.ndarray]:
        lengths = self._lengths[numbers]
        numbers = numbers[np.lexsort((lengths[:, 0], lengths[:, 1]))]
        return [numbers[start : start + rows] for start in range(0, len(numbers), rows)]

    def _width(self, lengths: np.ndarray) -> np.ndarray:
        return self._bucket * np.maximum(1, -(-lengths // self._bucket))


def _rows(batch_tokens: int, width: int) -> int:
    rows = max(1, batch_tokens // width)
    return rows - rows % 8 if rows > 8 else rows
