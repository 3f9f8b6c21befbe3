"""Many rows of a step as one, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

_BLOCK = 1 << 18  # rows in memory at a time


class Steps:
    """Rows that are added up step by step.

    Args:
        values: `(steps, columns)`, NaN, to be filled.
        aggregate: What becomes of the numbers of a step; what is missing does not count. Names keep the last.
        folder: For what is kept between.
    """

    def __init__(self, values: np.ndarray, aggregate: Literal["mean", "sum", "last"], folder: Path):
        self._values, self._aggregate, self._files = values, aggregate, (folder / "sums.npy", folder / "counts.npy")
        self._sums = np.lib.format.open_memmap(self._files[0], "w+", np.float64, values.shape)
        self._counts = np.lib.format.open_memmap(self._files[1], "w+", np.int32, values.shape)
        self._are_last = np.ones(values.shape[1], bool)

    def add(self, places: np.ndarray, rows: np.ndarray, are_names: Sequence[bool]) -> None:
        """Adds rows `(rows, columns)` to the steps `places`."""
        self._are_last = np.array(are_names) | (self._aggregate == "last")
        for j, is_last in enumerate(self._are_last):
            there = ~np.isnan(rows[:, j])
            at, column = places[there], rows[there, j]
            if is_last:
                self._values[at, j] = column  # of equal places the last one stays
            else:
                np.add.at(self._sums[:, j], at, column.astype(np.float64))
                np.add.at(self._counts[:, j], at, 1)

    def finish(self) -> None:
        """Writes the values."""
        columns = np.flatnonzero(~self._are_last)
        for start in range(0, len(self._values), _BLOCK):
            rows = slice(start, start + _BLOCK)
            counts, sums = self._counts[rows, columns], self._sums[rows, columns]
            found = sums / np.maximum(counts, 1) if self._aggregate == "mean" else sums
            self._values[rows, columns] = np.where(counts > 0, found, np.nan)
        del self._sums, self._counts
        for file in self._files:
            file.unlink()
