"""A panel as batches of windows that end with a labelled row: what came until then, and its class."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rnnapps.data.horizon import recode
from rnnapps.data.panel import Layout, Panel, moments
from rnnapps.data.series import batches
from rnnapps.data.share import ALL_ROWS, Share
from rnnapps.errors import UsageError

MOST_CLASSES = 1_000


def check_classes(panel: Panel) -> None:
    """Raises UsageError unless the label of a panel has classes that can be told apart."""
    label = panel.layout.targets[0]
    classes = (panel.layout.categories or {})[label]
    if len(classes) < 2:
        found = f"one class, {classes[0]!r}" if classes else "no value"
        raise UsageError(f"--label {label} has {found} in the training part: wanted two classes or more")
    if len(classes) > MOST_CLASSES:
        raise UsageError(
            f"--label {label} has {len(classes):,} different values: wanted at most {MOST_CLASSES:,} classes, or "
            "--target for numbers"
        )


def labelled_windows(
    panel: Panel,
    part: str,
    history: int,
    batch_size: int,
    seed: int | None = None,
    position: int = 0,
    epochs: int | None = 1,
    every: int = 1,
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Batches of windows in raw units, and the classes of their last rows; nothing is left out at the end.

    Args:
        panel: Where the series are; its only target is the label.
        part: "train", "validation" or "test".
        history: Rows of a window.
        batch_size, seed, position, epochs, share: As in `rnnapps.data.series.windows`.
        every: 2 leaves out every other window of a series, and so on.

    Returns:
        Dataset of `({"past": (B, history, past columns), "static": (B, static columns)}, classes (B,))`, float32,
        without `static` where there is none. A class is its place among the label's categories; NaN is one that
        training never saw.

    Raises:
        UsageError: The part has no window.
    """
    index = LabelIndex(panel, part, history, every)
    layout = panel.layout
    shapes = {"past": (history, len(layout.past)), "static": (len(layout.static),)}
    inputs = {name: tf.TensorSpec((None, *shapes[name]), tf.float32) for name in index.names}
    return batches(index, (inputs, tf.TensorSpec((None,), tf.float32)), batch_size, seed, position, epochs, share)


class LabelIndex:
    """All windows of a part, by number: series after series, in order of time.

    A window ends with a row that has a label, that row included, and begins in the same series, be it in an earlier
    part. A series that is shorter than a window has one, which ends with its last label and begins with missing values.

    Args:
        panel, part, history, every: As in `labelled_windows`.

    Attributes:
        names: Of the inputs.
        ends: int64: the row of the panel after each window.

    Raises:
        UsageError: There is no window.
    """

    def __init__(self, panel: Panel, part: str, history: int, every: int = 1):
        self.panel, self.history = panel, history
        self._starts = np.array([one.start for one in panel.series])
        lengths = np.array([one.length for one in panel.series])
        bounds = np.array([one.part(part) for one in panel.series])
        rows = np.flatnonzero(~np.isnan(panel.values[:, 0]))
        series = np.searchsorted(self._starts, rows, side="right") - 1
        place = rows - self._starts[series]
        is_last = np.append(series[1:] != series[:-1], True)[: len(rows)]
        fits = np.where(lengths[series] < history, is_last, place + 1 >= history)
        fits &= (bounds[series, 0] <= place) & (place < bounds[series, 1])
        rows, series = rows[fits], series[fits]
        rank = np.arange(len(rows)) - np.searchsorted(series, series)
        self.ends = rows[rank % every == 0] + 1
        self.names = ["past", *(["static"] if panel.layout.static else [])]
        if not len(self.ends):
            label = panel.layout.targets[0]
            raise UsageError(
                f"the {part} part has no row with a {label!r} that ends --history {history} rows of its series: wanted "
                "more labels, a shorter history, or another --validation-fraction or --test-fraction"
            )

    def __len__(self) -> int:
        return len(self.ends)

    def read(self, numbers: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The windows of these numbers, as `labelled_windows` gives them."""
        inputs = _inputs(self.panel, self._starts, self.ends[numbers], self.history)
        codes = self.panel.values[self.ends[numbers] - 1, 0]
        return {name: inputs[name] for name in self.names}, np.where(codes > 0, codes - 1, np.nan).astype(np.float32)

    def counts(self) -> np.ndarray:
        """How many windows there are of each class that training saw."""
        codes = self.panel.values[self.ends - 1, 0].astype(int)
        layout = self.panel.layout
        return np.bincount(codes, minlength=len((layout.categories or {})[layout.targets[0]]) + 1)[1:]


def _inputs(panel: Panel, starts: np.ndarray, ends: np.ndarray, history: int) -> dict[str, np.ndarray]:
    rows = ends[:, None] + np.arange(-history, 0)
    series = np.searchsorted(starts, ends - 1, side="right") - 1
    is_before = rows < starts[series][:, None]
    first = len(panel.layout.targets)
    past = panel.values[np.where(is_before, ends[:, None] - 1, rows)][..., first : first + len(panel.layout.past)]
    past[is_before] = np.nan
    return {"past": past, "static": panel.static[series]}


def last_windows(panel: Panel, learnt: Layout, history: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The last window of each series.

    It ends with the last row that has a label; where the panel has no label, or the series none, with its last row.

    Args:
        panel: The series, with the columns that the model learnt; it may lack the label.
        learnt: The layout of what the model learnt: its categories.
        history: Rows of a window.

    Returns:
        Inputs as `labelled_windows` gives them, one row a series, and the row of the panel that each ends with.
    """
    layout, ends = panel.layout, []
    for one in panel.series:
        labels = panel.values[one.start : one.start + one.length, 0] if layout.targets else np.empty(0)
        there = np.flatnonzero(~np.isnan(labels))
        ends.append(one.start + (int(there[-1]) + 1 if len(there) else one.length))
    inputs = _inputs(panel, np.array([one.start for one in panel.series]), np.array(ends), history)
    for kind, names in (("past", layout.past), ("static", layout.static)):
        for j, name in enumerate(names):
            recode(inputs[kind][..., j], name, panel, learnt)
    if not layout.static:
        del inputs["static"]
    return inputs, np.array(ends) - 1


def scales(panel: Panel) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation of each column of "past" and "static" over the training rows of all series together;
    0 and 1 for categories."""
    layout = panel.layout
    learnt = [(i, one) for i, one in enumerate(panel.series) if one.train_end]
    varying = moments(panel.values, [(one.start, one.start + one.train_end) for _, one in learnt])
    places = [panel.column(name) for name in layout.past]
    found = {"past": (varying[0][places], varying[1][places])}
    if layout.static:
        found["static"] = moments(panel.static, [(i, i + 1) for i, _ in learnt])
    for kind, (center, scale) in found.items():
        is_category = [layout.is_categorical(name) for name in getattr(layout, kind)]
        center[is_category], scale[is_category] = 0, 1
    return found
