"""A panel as batches of windows: what came before, and what is to be forecast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from rnnapps.data.panel import Panel, has_times
from rnnapps.data.share import ALL_ROWS, Share
from rnnapps.errors import UsageError


class Index(Protocol):
    """Windows by number."""

    def __len__(self) -> int: ...

    def read(self, numbers: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The inputs of these windows by name, and their targets."""


def windows(
    panel: Panel,
    part: str,
    history: int,
    horizon: int,
    batch_size: int,
    seed: int | None = None,
    position: int = 0,
    epochs: int | None = 1,
    every: int = 1,
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Batches of windows in raw units; nothing is left out at the end.

    A window is a forecast from one moment: its `horizon` steps lie in the part, its `history` steps may lie in the part
    before. What is missing is NaN.

    Args:
        panel: Where the series are.
        part: "train", "validation" or "test".
        history: Steps before the forecast.
        horizon: Steps that are forecast.
        batch_size: Windows of a batch; the last one of an epoch may have fewer.
        seed: Of the order, another in each epoch; None: in order of series and time.
        position: Batches to leave out, counted from the start of the first epoch.
        epochs: The dataset ends after so many passes, those in `position` included; None: never.
        every: Steps between the moments of two forecasts of a series.
        share: Of the windows of each batch; the others are not read. Where it is empty, there is a window whose targets
            are all missing.

    Returns:
        Dataset of `({"history": (B, history, targets), "past": (B, history, past columns), "future": (B, history +
        horizon, future columns), "times": int64 (B, history + horizon), "static": (B, static columns), "series": int32
        (B,)}, targets (B, horizon, targets))`, float32 where nothing else is said; without inputs that the panel has
        not.

    Raises:
        UsageError: No series of the part is long enough.
    """
    index = WindowIndex(panel, part, history, horizon, every)
    layout = panel.layout
    steps = history + horizon
    shapes = {
        "history": ((history, len(layout.targets)), tf.float32),
        "past": ((history, len(layout.past)), tf.float32),
        "future": ((steps, len(layout.future)), tf.float32),
        "times": ((steps,), tf.int64),
        "static": ((len(layout.static),), tf.float32),
        "series": ((), tf.int32),
    }
    inputs = {name: tf.TensorSpec((None, *shapes[name][0]), shapes[name][1]) for name in index.names}
    targets = tf.TensorSpec((None, horizon, len(layout.targets)), tf.float32)
    return batches(index, (inputs, targets), batch_size, seed, position, epochs, share)


def batches(
    index: Index,
    signature: Any,
    batch_size: int,
    seed: int | None,
    position: int,
    epochs: int | None,
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """The windows of an index as a dataset; arguments as in `windows`."""
    per_epoch = -(-len(index) // batch_size)

    def generate() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        now, order, of_epoch = position, np.empty(0, np.int64), -1
        while epochs is None or now < epochs * per_epoch:
            epoch, batch = divmod(now, per_epoch)
            if epoch != of_epoch:
                order, of_epoch = _order(len(index), seed, epoch), epoch
            numbers = order[batch * batch_size : (batch + 1) * batch_size]
            mine = numbers[share.rows(len(numbers))]
            if len(mine):
                yield index.read(mine)
            else:
                inputs, targets = index.read(numbers[:1])
                yield inputs, np.full_like(targets, np.nan)
            now += 1

    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)


def _order(count: int, seed: int | None, epoch: int) -> np.ndarray:
    if seed is None:
        return np.arange(count)
    return np.random.default_rng([seed, epoch]).permutation(count)


class WindowIndex:
    """All windows of a part, by number: series after series, in order of time.

    Args:
        panel, part, history, horizon, every: As in `windows`.

    Attributes:
        names: Of the inputs that the panel has.

    Raises:
        UsageError: There is no window.
    """

    def __init__(self, panel: Panel, part: str, history: int, horizon: int, every: int = 1):
        self.panel, self.history, self.horizon, self.every = panel, history, horizon, every
        bounds = np.array([one.part(part) for one in panel.series])
        self._first = np.maximum(bounds[:, 0], history)  # the first moment of a forecast, by series
        counts = np.maximum(0, (bounds[:, 1] - horizon - self._first) // every + 1)
        self._ends = np.cumsum(counts)
        self._starts = np.array([one.start for one in panel.series])
        layout = panel.layout
        there = {"past": layout.past, "future": layout.future, "times": has_times(panel), "static": layout.static}
        self.names = ["history", *(name for name, some in there.items() if some), "series"]
        if self._ends[-1] == 0:
            longest = max(panel.series, key=lambda one: one.part(part)[1] - one.part(part)[0])
            first, end = longest.part(part)
            called = f"series {longest.name!r}" if longest.name else "the series"
            raise UsageError(
                f"the {part} part of {called} has {end - first} steps after {min(first, history)} of history: wanted "
                f"--history {history} before and --horizon {horizon} in it, or smaller ones"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def origins(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The series of windows, and the row of the panel that is the first to be forecast."""
        series = np.searchsorted(self._ends, numbers, side="right")
        before = np.concatenate([[0], self._ends[:-1]])
        return series, self._starts[series] + self._first[series] + self.every * (numbers - before[series])

    def read(self, numbers: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The windows of these numbers, as `windows` gives them."""
        series, origins = self.origins(numbers)
        rows = origins[:, None] + np.arange(-self.history, self.horizon)
        values = self.panel.values[rows]
        layout, known = self.panel.layout, self.history
        past = len(layout.targets) + len(layout.past)
        inputs = {
            "history": values[:, :known, : len(layout.targets)],
            "past": values[:, :known, len(layout.targets) : past],
            "future": values[:, :, past:],
            "times": self.panel.times[rows],
            "static": self.panel.static[series],
            "series": series.astype(np.int32),
        }
        return {name: inputs[name] for name in self.names}, values[:, known:, : len(layout.targets)]
