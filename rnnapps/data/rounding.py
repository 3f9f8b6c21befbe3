"""Whether float32 keeps what a column does from row to row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_TOLERATED = 0.05  # of the mean step


class Rounding:
    """What float32 takes of the columns of a table: the error of its values beside their steps.

    A counter of 48,123,456.7 that grows by 0.5 an hour is kept to a multiple of 4: its steps are gone, and whatever is
    learnt of them would be made up.

    Args:
        names: Of the columns.
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._steps, self._errors = np.zeros(len(self.names)), np.zeros(len(self.names))
        self._counts, self._largest = np.zeros((2, len(self.names))), np.zeros(len(self.names))

    def read(self, values: np.ndarray, places: np.ndarray, series: np.ndarray) -> None:
        """Adds rows `(rows, columns)` float64, NaN where missing, which stand in these places of the panel; steps are
        between rows that are neighbours there, and of one series."""
        order = np.argsort(places, kind="stable")
        values, places, series = values[order], places[order], series[order]
        error = np.abs(values - values.astype(np.float32))
        steps = np.abs(np.diff(values, axis=0))[(np.diff(places) == 1) & (np.diff(series) == 0)]
        self._steps += np.nansum(steps, 0)
        self._errors += np.nansum(error, 0)
        self._counts += np.sum(steps > 0, 0), np.sum(~np.isnan(error), 0)
        self._largest = np.fmax(self._largest, np.nan_to_num(np.abs(values)).max(0, initial=0))

    def lost(self) -> dict[str, str]:
        """A sentence for each column whose steps are lost, without what is wanted instead."""
        found = {}
        for i, name in enumerate(self.names):
            step, error = self._steps[i] / max(self._counts[0, i], 1), self._errors[i] / max(self._counts[1, i], 1)
            if step and error > _TOLERATED * step:
                kept = np.spacing(np.float32(self._largest[i]))
                found[name] = (
                    f"column {name!r} has steps of {step:.3g} at values of {self._largest[i]:,.0f}, of which float32 "
                    f"keeps multiples of {kept:g}"
                )
        return found
