"""The windows after the end of series: what a forecast of the future reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnapps.data.date_formats import SECOND
from rnnapps.data.panel import Layout, Panel, has_times
from rnnapps.errors import UsageError


@dataclass(frozen=True)
class Ends:
    """The last window of each series of a panel.

    Attributes:
        names: Of the series.
        inputs: As `rnnapps.data.series.windows` gives them, one row a series, but for `series`.
        times: int64 `(series, horizon)`: of the steps to be forecast, as `Panel.stamps` gives them.
        known_times: int64 `(series, history)`.
    """

    names: list[str]
    inputs: dict[str, np.ndarray]
    times: np.ndarray
    known_times: np.ndarray


def ends(panel: Panel, learnt: Layout, history: int, horizon: int) -> Ends:
    """The windows that end with the last value of each series.

    Where columns of the future are read, the rows after the last value must hold them. A history that is too short is
    filled with missing values.

    Args:
        panel: The series to go on from.
        learnt: The layout of what the model learnt: its categories.
        history, horizon: Steps.

    Raises:
        UsageError: A series has no value, or columns of the future are not known far enough.
    """
    layout = panel.layout
    targets, past = len(layout.targets), len(layout.targets) + len(layout.past)
    windows, times = [], []
    for i, one in enumerate(panel.series):
        values = np.array(panel.values[one.start : one.start + one.length])
        for name in layout.varying:
            recode(values[:, panel.column(name)], name, panel, learnt)
        there = np.flatnonzero(~np.isnan(values[:, :targets]).all(1))
        called = f"series {one.name!r}" if one.name else "the series"
        if not len(there):
            raise UsageError(f"{called} has no value of {' or '.join(layout.targets)}: wanted one to go on from")
        origin = int(there[-1]) + 1
        ahead = np.isnan(values[origin : origin + horizon, past:]).any(1)
        if layout.future and (len(ahead) < horizon or ahead.any()):
            found = int(ahead.argmax()) if ahead.any() else len(ahead)
            raise UsageError(
                f"{called} holds {', '.join(layout.future)} for {found} steps after its last value: wanted {horizon}, "
                "in rows without a target"
            )
        windows.append(_window(values, origin, history, horizon))
        times.append(panel.stamps(i, np.arange(origin - history, origin + horizon)))
    rows, stamps = np.stack(windows), np.stack(times)
    inputs = {"history": rows[:, :history, :targets]}
    if layout.past:
        inputs["past"] = rows[:, :history, targets:past]
    if layout.future:
        inputs["future"] = rows[:, :, past:]
    if has_times(panel):
        inputs["times"] = stamps // SECOND
    if layout.static:
        inputs["static"] = np.array(panel.static)
        for j, name in enumerate(layout.static):
            recode(inputs["static"][:, j], name, panel, learnt)
    names = [one.name for one in panel.series]
    return Ends(names, inputs, stamps[:, history:], stamps[:, :history])


def _window(values: np.ndarray, origin: int, history: int, horizon: int) -> np.ndarray:
    """`history + horizon` rows around `origin`, NaN where there are none."""
    found = np.full((history + horizon, values.shape[1]), np.nan, np.float32)
    first, last = max(0, origin - history), min(len(values), origin + horizon)
    found[first - origin + history : last - origin + history] = values[first:last]
    return found


def recode(column: np.ndarray, name: str, panel: Panel, learnt: Layout) -> None:
    """Gives the codes of a categorical column, in place, the numbers that the model learnt."""
    if panel.layout.is_categorical(name):
        names = (panel.layout.categories or {})[name]
        table = np.concatenate([[0.0], learnt.codes(name, names)])
        there = ~np.isnan(column)
        column[there] = table[column[there].astype(int)]
