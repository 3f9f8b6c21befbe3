"""From tables to a panel: each row to its series and its step, in two passes and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from rnnapps.data import panel as panels
from rnnapps.data.panel import Layout, Panel, Series
from rnnapps.data.rounding import Rounding
from rnnapps.data.table import Block, Columns, Table
from rnnapps.data.time_grid import ROWS, TimeGrid, infer
from rnnapps.errors import UsageError

_TIMES_READ = 10_000  # of the first series, to infer the frequency from
_LARGEST_GROWTH = 50  # times as many steps as rows: more is a wrong frequency or a wrong date


def prepare(
    tables: Sequence[Table],
    columns: Columns,
    folder: Path,
    frequency: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Panel:
    """Writes the rows of tables as a panel.

    A row goes to the step of its time, in whatever order rows come. Steps without a row are missing values; of rows
    with one time the first counts; both are told in `Panel.notes`. Rows without times are steps in their order.

    Args:
        tables: With the same columns; rows of a series may be spread over them.
        columns: What the columns are.
        folder: An empty one.
        frequency: As in `TimeGrid`; None: read off the first series.
        validation_fraction: Of each series, before the test part.
        test_fraction: Of each series, at its end.
        seed: Of the lot by which whole series go to the parts: where there is a label, and each of several series has
            one class throughout, so that a series is one sample. The fractions are then of the series of a class.

    Raises:
        UsageError: A value, a time or a column is not usable; the sentence names the row.
    """
    survey = _Survey(columns)
    for table in tables:
        for block in table.blocks(columns):
            survey.read(block, table)
    if frequency is None:
        frequency = infer(np.array(survey.first_times)) if columns.time else ROWS
    if not columns.time and frequency != ROWS:
        raise UsageError(f"--frequency {frequency} wants times: wanted --time with a column of dates")
    series, classes = survey.series(TimeGrid(frequency)), survey.classes()
    if classes is None:
        series = [panels.cut(one, validation_fraction, test_fraction) for one in series]
    else:
        series = panels.deal(series, classes, validation_fraction, test_fraction, seed)
    writer = _Writer(folder, survey, series, TimeGrid(frequency))
    for table in tables:
        for block in table.blocks(columns):
            writer.write(block, table)
    return writer.finish()


@dataclass
class _Survey:
    """What the first pass learns."""

    columns: Columns
    names: dict[str, int] = field(default_factory=dict)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    # Of the last row with a target: its time, and its place among the rows of its series.
    last_target: list[tuple[int, int]] = field(default_factory=list)
    first_times: list[int] = field(default_factory=list)
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
        self.first_times += times[index == 0][: _TIMES_READ - len(self.first_times)].tolist()
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
                    "frequency or a date must be wrong: wanted another --frequency, or rows"
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


class _Writer:
    """The second pass."""

    def __init__(self, folder: Path, survey: _Survey, series: list[Series], grid: TimeGrid):
        self.folder, self.survey, self.all, self.grid = folder, survey, series, grid
        columns = survey.columns
        self.varying = [*columns.targets, *columns.past, *columns.future]
        total = sum(one.length for one in series)
        shape = (total, len(self.varying))
        self.values = np.lib.format.open_memmap(folder / "values.npy", "w+", np.float32, shape)
        self.times = np.lib.format.open_memmap(folder / "times.npy", "w+", np.int64, (total,))
        self.filled = np.zeros(total, bool)
        for one, first in zip(series, survey.first, strict=True):
            rows = slice(one.start, one.start + one.length)
            by_rows = grid.frequency == ROWS
            self.times[rows] = panels.row_times(one.length) if by_rows else grid.times(first, one.length)
            self.values[rows] = np.nan
        self.starts = np.array([one.start for one in series])
        self.firsts = np.zeros(len(series), np.int64)
        if grid.frequency != ROWS:
            self.firsts = grid.steps(np.array(survey.first))
        self.next = self.starts.copy()
        self.rounding = Rounding(self.varying)
        # Whether a category occurs in a training part.
        self.learnt = {name: np.zeros(len(codes) + 1, bool) for name, codes in survey.categories.items()}
        # Where nothing is held out, as where a model goes on from these rows, categories of the rows ahead count.
        ends = [one.length if one.train_end == one.observed else one.train_end for one in series]
        self.train_ends = np.array([one.start for one in series]) + ends
        self.doubles = 0
        self.first_double = ""

    def write(self, block: Block, table: Table) -> None:
        index = self.survey.index(block)
        places = self._places(block, index, table)
        _, firsts = np.unique(places, return_index=True)
        fresh = np.zeros(len(places), bool)
        fresh[firsts] = True
        fresh &= ~self.filled[places]
        if not fresh.all():
            if not self.doubles:
                self.first_double = f"row {block.first_row + int(np.argmin(fresh))} of {table.path}"
            self.doubles += int((~fresh).sum())
        places, index = places[fresh], index[fresh]
        self.filled[places] = True
        rows = np.empty((len(places), len(self.varying)))
        for j, name in enumerate(self.varying):
            column = block.values[name][fresh]
            rows[:, j] = self._codes(name, column, places < self.train_ends[index]) if name in self.learnt else column
        self.rounding.read(rows, places, index)
        self.values[places] = rows

    def _places(self, block: Block, index: np.ndarray, table: Table) -> np.ndarray:
        """The row of the panel for each row of the block."""
        if self.grid.frequency == ROWS:
            places = np.empty(len(index), np.int64)
            for i in np.unique(index):
                own = index == i
                places[own] = self.next[i] + np.arange(own.sum())
                self.next[i] += own.sum()
            return places
        assert block.times is not None
        off = ~self.grid.is_on(block.times, np.array(self.survey.first)[index])
        if off.any():
            row = int(off.argmax())
            time = np.datetime64(int(block.times[row]), "s")
            raise UsageError(
                f"{table.path}, row {block.first_row + row}: {str(time).replace('T', ' ')} is no whole number of steps "
                f"of {self.grid.frequency} after the series' first time: wanted another --frequency, or rows"
            )
        return self.starts[index] + self.grid.steps(block.times) - self.firsts[index]

    def _codes(self, name: str, values: np.ndarray, is_training: np.ndarray) -> np.ndarray:
        known = self.survey.categories[name]
        codes = np.array([np.nan if value is None else known[str(value)] for value in values], np.float32)
        seen = codes[is_training & ~np.isnan(codes)].astype(int)
        self.learnt[name][seen] = True
        return codes

    def finish(self) -> Panel:
        columns = self.survey.columns
        for name in columns.targets:
            if np.isnan(self.values[:, self.varying.index(name)]).all():
                wanted = "names of classes" if name == columns.label else "numbers to forecast"
                raise UsageError(f"column {name!r} has no value in any row: wanted {wanted}")
        lost = self.rounding.lost()
        for name in columns.targets:
            if name in lost:
                raise UsageError(f"{lost[name]}: wanted its differences, or the column less a constant")
        categories = {}
        for name, codes in self.survey.categories.items():
            kept = [value for value, code in codes.items() if name in columns.static or self.learnt[name][code]]
            categories[name] = tuple(kept)
            if name not in columns.static:
                self._renumber(name, codes, kept)
        self.values.flush()
        self.times.flush()
        layout = Layout(columns.targets, columns.past, columns.future, columns.static, categories)
        frequency = self.grid.frequency
        return panels.write(self.folder, layout, self.all, frequency, self._static(categories), self._notes())

    def _renumber(self, name: str, codes: dict[str, int], kept: list[str]) -> None:
        """Gives the categories of the training part the codes from 1, and all others code 0."""
        table = np.zeros(len(codes) + 1, np.float32)
        for new, value in enumerate(kept, 1):
            table[codes[value]] = new
        column = self.values[:, self.varying.index(name)]
        there = ~np.isnan(column)
        column[there] = table[column[there].astype(int)]

    def _static(self, categories: dict[str, tuple[str, ...]]) -> np.ndarray:
        names = self.survey.columns.static
        found = np.full((len(self.all), len(names)), np.nan, np.float32)
        for i, values in enumerate(self.survey.static):
            for j, name in enumerate(names):
                if name in values:
                    value = values[name]
                    found[i, j] = categories[name].index(str(value)) + 1 if name in categories else float(value)  # type: ignore[arg-type]
        return found

    def _notes(self) -> list[str]:
        notes, missing = [], int((~self.filled).sum())
        label = self.survey.columns.label
        if label is not None:
            unseen = [value for value, code in self.survey.categories[label].items() if not self.learnt[label][code]]
            if unseen:
                named = ", ".join(map(repr, unseen[:5])) + (", ..." if unseen[5:] else "")
                notes.append(f"no training part has {label} {named}: windows of a class never seen count as wrong")
        if missing:
            first = int(np.argmin(self.filled))
            when = str(np.datetime64(int(self.times[first]), "s")).replace("T", " ")
            notes.append(
                f"{missing:,} of {len(self.filled):,} steps have no row, the first at {when}: their values are missing"
            )
        if self.doubles:
            times = "1 row has" if self.doubles == 1 else f"{self.doubles:,} rows have"
            notes.append(
                f"{times} the time of an earlier row of its series, the first in {self.first_double}: the earlier row "
                "counts"
            )
        lost = self.rounding.lost()
        notes += [f"{sentence}: its differences would say more" for sentence in lost.values()]
        for j, name in enumerate(self.varying):
            if np.isnan(self.values[:, j]).all():
                notes.append(f"column {name!r} has no value in any row: it is read as missing")
        return notes
