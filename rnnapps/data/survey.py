"""The first pass over tables: their series, spans, times and categories."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rnnapps.data.panel import Series
from rnnapps.data.table import Block, Columns, Table
from rnnapps.data.time_form import find_zone
from rnnapps.data.time_grid import ROWS, TimeGrid
from rnnapps.errors import UsageError

_TIMES_READ = 10_000  # of a series, to infer the frequency from
_SERIES_READ = 64  # so many of them
_LARGEST_GROWTH = 50  # times as many steps as rows: more is a wrong frequency or a wrong date
_OFFSETS_APART = 10**13  # microseconds: in each so long time, each offset from UTC is looked at once


@dataclass
class Survey:
    """What the first pass learns."""

    columns: Columns
    names: dict[str, int] = field(default_factory=dict)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    # Of the last row with a target: its time, and its place among the rows of its series.
    last_target: list[tuple[int, int]] = field(default_factory=list)
    read_times: dict[int, list[int]] = field(default_factory=dict)
    offsets: dict[tuple[int, int], int] = field(default_factory=dict)
    without_offset: str = ""
    categories: dict[str, dict[str, int]] = field(default_factory=dict)
    static: list[dict[str, object]] = field(default_factory=list)
    labels: list[set[str]] = field(default_factory=list)

    def read(self, block: Block, table: Table) -> None:
        index = self.index(block)
        times = np.zeros(len(index), np.int64) if block.times is None else block.times
        targets = [pd.notna(block.values[name]) for name in self.columns.targets]
        has_target = np.any(targets, axis=0) if targets else np.ones(len(index), bool)
        for i in np.unique(index):
            own = times[index == i]
            self.first[i], self.last[i] = min(self.first[i], int(own.min())), max(self.last[i], int(own.max()))
            there = np.flatnonzero(has_target[index == i])
            if len(there):
                time, row = self.last_target[i]
                self.last_target[i] = max(time, int(own[there].max())), max(row, self.rows[i] + int(there[-1]))
            self.rows[i] += len(own)
        self._read_times(block, index, table)
        for name in self.columns.categorical:
            codes = self.categories.setdefault(name, {})
            for value in dict.fromkeys(block.values[name].tolist()):
                if value is not None:
                    codes.setdefault(str(value), len(codes) + 1)
        for name in self.columns.static:
            self._read_static(name, block, index, table)
        if self.columns.label is not None:
            pairs = zip(index.tolist(), block.values[self.columns.label].tolist(), strict=True)
            for i, value in {pair for pair in pairs if pair[1] is not None}:
                self.labels[i].add(str(value))

    def _read_times(self, block: Block, index: np.ndarray, table: Table) -> None:
        if block.times is None:
            return
        for i in np.unique(index[index < _SERIES_READ]).tolist():
            found = self.read_times.setdefault(i, [])
            found += block.times[index == i][: _TIMES_READ - len(found)].tolist()
        if block.offsets is None:
            self.without_offset = self.without_offset or f"{table.path}, row {block.first_row}"
        else:
            pairs, places = np.unique(
                np.stack([block.offsets, block.times // _OFFSETS_APART]), axis=1, return_index=True
            )
            for pair, place in zip(pairs.T.tolist(), places, strict=True):
                self.offsets.setdefault((pair[0], pair[1]), int(block.times[place]))

    @property
    def times(self) -> np.ndarray:
        """The first times of the series that has most of them."""
        return np.array(max(self.read_times.values(), key=len, default=[]), np.int64)

    def zone(self, learnt: str | None) -> str | None:
        """The zone of the times, as `find_zone` names it.

        Raises:
            UsageError: Some times have an offset from UTC, and some none.
        """
        if self.offsets and self.without_offset:
            raise UsageError(
                f"{self.without_offset}: a time without an offset from UTC, wanted one, as other rows have"
            )
        return find_zone(((offset, time) for (offset, _), time in self.offsets.items()), learnt)

    def round_down(self, grid: TimeGrid) -> None:
        """Takes the steps that the first and last times lie in."""
        for ends in (self.first, self.last):
            ends[:] = grid.floor(np.array(ends)).tolist()
        there = [i for i, (_, row) in enumerate(self.last_target) if row >= 0]
        times = grid.floor(np.array([self.last_target[i][0] for i in there], np.int64))
        for i, time in zip(there, times.tolist(), strict=True):
            self.last_target[i] = time, self.last_target[i][1]

    def classes(self) -> list[str | None] | None:
        """The class of each series, None for one without; None where one has several, or is alone."""
        if self.columns.label is None or len(self.labels) < 2 or max(map(len, self.labels)) > 1:
            return None
        return [next(iter(found), None) for found in self.labels]

    def index(self, block: Block) -> np.ndarray:
        """The number of each row's series."""
        if block.series is None:
            rows = len(next(iter(block.values.values())))
            self._add("")
            return np.zeros(rows, np.int64)
        for name in dict.fromkeys(block.series.tolist()):
            self._add(name)
        return np.array([self.names[name] for name in block.series], np.int64)

    def _add(self, name: str) -> None:
        if name not in self.names:
            self.names[name] = len(self.names)
            self.first.append(np.iinfo(np.int64).max)
            self.last.append(np.iinfo(np.int64).min)
            self.rows.append(0)
            self.last_target.append((np.iinfo(np.int64).min, -1))
            self.static.append({})
            self.labels.append(set())

    def _read_static(self, name: str, block: Block, index: np.ndarray, table: Table) -> None:
        values = block.values[name]
        for row, (i, value) in enumerate(zip(index.tolist(), values.tolist(), strict=True)):
            if value is None or value != value:
                continue
            before = self.static[i].setdefault(name, value)
            if before != value:
                raise UsageError(
                    f"{table.path}, row {block.first_row + row}: {name!r} holds {value!r}, after {before!r} for the "
                    "same series: a --static column wants one value for each"
                )

    def series(self, grid: TimeGrid) -> list[Series]:
        found, start = [], 0
        for name, i in self.names.items():
            if grid.frequency == ROWS:
                length = self.rows[i]
            else:
                ends = grid.steps(np.array([self.first[i], self.last[i]]))
                length = int(ends[1] - ends[0]) + 1
            if length > _LARGEST_GROWTH * self.rows[i] + 1000:
                raise UsageError(
                    f"--frequency {grid.frequency}: {self.rows[i]:,} rows would become {length:,} steps, so the "
                    "frequency or a date must be wrong: wanted another --frequency, --resample, or --frequency rows"
                )
            # Rows without a label are read as any others, and only those with one are judged.
            end = self._observed(i, grid) if self.columns.label is None else None
            found.append(Series(name, start, length, end=end))
            start += length
        return found

    def _observed(self, i: int, grid: TimeGrid) -> int:
        """Steps of a series up to its last target."""
        time, row = self.last_target[i]
        if row < 0 or grid.frequency == ROWS:
            return row + 1
        ends = grid.steps(np.array([self.first[i], time]))
        return int(ends[1] - ends[0]) + 1
