"""A corpus as batches: parallel streams of text, cut into windows of a few steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from rnnapps.data.corpus import Corpus
from rnnapps.data.share import ALL_ROWS, Share
from rnnapps.errors import UsageError

_BLOCK = 1 << 18  # Tokens read at a time, over all rows of a batch.
_Batches = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


def windows(
    corpus: Corpus,
    split: str,
    batch_size: int,
    steps: int,
    position: int = 0,
    epochs: int | None = None,
    share: Share = ALL_ROWS,
    cold_starts: float = 0.0,
    seed: int = 0,
) -> tf.data.Dataset:
    """Batches of consecutive windows, for training with states carried from batch to batch.

    Each span of the part is cut into windows of `steps` tokens, the last of which is padded. The windows of all spans
    in order are cut into `batch_size` equally long streams, one per row: row `b` of a batch goes on where row `b` of
    the batch before it ended. Fewer than `batch_size` windows at the end of the part are left out, so with a
    batch size of 1 every token is a target once an epoch.

    Args:
        corpus: Where the tokens are.
        split: `"train"`, `"validation"` or `"test"`.
        batch_size: Rows `B` of a batch.
        steps: Tokens `T` of a window.
        position: Number of batches to leave out, counted from the start of the first epoch: the rest is exactly what
            would have come after that many batches.
        epochs: The stream ends after so many passes, those in `position` included; None: never.
        share: Of the rows of each batch; the others are not read.
        cold_starts: Share of the windows, drawn at random, that begin as a span does although none begins there.
        seed: Of that draw; each batch of an epoch has its own by its number, and every epoch the same.

    Returns:
        Dataset of `({"tokens": int32 (B, T), "reset": bool (B,)}, targets int32 (B, T), weights float32 (B, T))`.
        `reset` says that the row's states start at zero: a span begins, or the row's stream does, or a cold start was
        drawn. `tokens` is `targets` one step later: 0 in the first place of a row with `reset`, else the token before.
        `weights` is 1 for a token and 0 for padding, where tokens and targets are 0.

    Raises:
        UsageError: There is no such part, it is too short, or a number is out of range.
    """
    index = _Index(corpus, split, batch_size, steps, share, cold_starts, seed)
    rows = len(index.rows)
    if position < 0:
        raise UsageError(f"position must be at least 0, not {position}")
    if not 0 <= cold_starts <= 1:
        raise UsageError(f"cold_starts must be from 0 to 1, not {cold_starts}")

    def blocks() -> Iterator[_Batches]:
        now = position
        while epochs is None or now < epochs * index.length:
            first = now % index.length
            count = min(index.batches_per_block, index.length - first)
            yield index.batches(first, count)
            now += count

    signature = (
        {
            "tokens": tf.TensorSpec((None, rows, steps), tf.int32),
            "reset": tf.TensorSpec((None, rows), tf.bool),
        },
        tf.TensorSpec((None, rows, steps), tf.int32),
        tf.TensorSpec((None, rows, steps), tf.float32),
    )
    # A block holds many batches, so that Python and the file are asked rarely.
    return tf.data.Dataset.from_generator(blocks, output_signature=signature).prefetch(1).unbatch().prefetch(2)


def windows_per_epoch(corpus: Corpus, split: str, batch_size: int, steps: int) -> int:
    """Number of batches that `windows` gives in one pass.

    Raises:
        UsageError: As for `windows`.
    """
    return _Index(corpus, split, batch_size, steps).length


class _Index:
    """Where each window of each row lies. Its size grows with the number of spans, not of tokens.

    Attributes:
        rows: The numbers of the rows that are read.
        length: Windows in a row's stream, which is batches in an epoch.
        batches_per_block: How many batches to make at a time.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        batch_size: int,
        steps: int,
        share: Share = ALL_ROWS,
        cold_starts: float = 0.0,
        seed: int = 0,
    ):
        for name, value in (("batch_size", batch_size), ("steps", steps)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        self._corpus, self._steps = corpus, steps
        self._batch_size, self._cold_starts, self._seed = batch_size, cold_starts, seed
        self.rows = np.arange(batch_size)[share.rows(batch_size)]
        spans = np.array(corpus.spans(split), np.int64).reshape(-1, 2)
        self._starts, self._stops = spans[:, 0], spans[:, 1]
        counts = -(-(self._stops - self._starts) // steps)
        self._first_windows = np.cumsum(counts) - counts  # Of each span.
        total = int(counts.sum())
        self.length = total // batch_size
        if not self.length:
            raise UsageError(
                f"the {split} part is shorter than one window per row: its {corpus.tokens_in(split)} tokens give "
                f"{total} windows of {steps} steps and a batch of {batch_size} wants at least {batch_size}, so use "
                "more text, a smaller batch size or fewer steps"
            )
        self.batches_per_block = max(1, min(self.length, _BLOCK // (batch_size * steps)))

    def batches(self, first: int, count: int) -> _Batches:
        """Batches `first` to `first + count` of an epoch, stacked along a new first axis."""
        numbers = np.arange(first, first + count)[:, None] + self.rows * self.length  # (count, B)
        spans = np.searchsorted(self._first_windows, numbers, side="right") - 1
        starts = self._starts[spans] + (numbers - self._first_windows[spans]) * self._steps
        stops = np.minimum(starts + self._steps, self._stops[spans])
        reset = (starts == self._starts[spans]) | (numbers % self.length == 0)  # (count, B)
        if self._cold_starts:
            reset |= np.stack([self._drawn(number) for number in range(first, first + count)])

        ids = self._read(starts[0] - 1, stops[-1])  # (B, read)
        steps = np.arange(self._steps)
        column = (starts - starts[0] + 1)[:, :, None] + steps  # (count, B, T), of each target in `ids`
        real = steps < (stops - starts)[:, :, None]
        flat = np.where(real, column + (np.arange(len(self.rows)) * ids.shape[1])[:, None], 1)
        targets = np.where(real, ids.ravel()[flat], 0)
        tokens = np.where(real, ids.ravel()[flat - 1], 0)
        tokens[:, :, 0][reset] = 0
        return {"tokens": tokens, "reset": reset}, targets, real.astype(np.float32)

    def _drawn(self, number: int) -> np.ndarray:
        """Which rows of a batch, by its number in an epoch, are chosen to begin anew: `(B,)` bool."""
        chances = np.random.default_rng((self._seed, number)).random(self._batch_size)
        return chances[self.rows] < self._cold_starts

    def _read(self, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
        """Tokens of each row from `starts` (-1 is allowed) to `stops`, `(B, longest)`.

        The spans of a part lie one after the other, so what a row reads in a block is one stretch of the file.
        """
        ids = np.zeros((len(starts), int((stops - starts).max())), np.int32)
        for row, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            skipped = max(0, -start)
            ids[row, skipped : stop - start] = self._corpus.read(start + skipped, stop)
        return ids
