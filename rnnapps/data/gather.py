"""From tables to a panel: each row to its series and its step, in two passes and in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rnnapps.data import date_formats, doubles
from rnnapps.data import panel as panels
from rnnapps.data.date_formats import SECOND
from rnnapps.data.panel import Layout, Panel, Series
from rnnapps.data.resample import Steps
from rnnapps.data.rounding import Rounding
from rnnapps.data.survey import Survey
from rnnapps.data.table import Block, Columns, Table
from rnnapps.data.time_form import TimeForm
from rnnapps.data.time_grid import ROWS, TimeGrid, adapted, infer, usual_step
from rnnapps.errors import UsageError

_DOUBLES_ALLOWED = (5, 0.05)  # so many rows, and this part of all, may contradict an earlier row of their time


@dataclass(frozen=True)
class Reading:
    """How tables are read.

    Attributes:
        frequency: As in `TimeGrid`; None: read off the longest series.
        date_format: As in `rnnapps.data.date_formats`; None: as the times say.
        learnt: How the tables that a model learnt write times: counts where it fits.
        resample: A frequency: the rows of each of its steps become one row.
        aggregate: Which, of numbers; names keep the last.
    """

    frequency: str | None = None
    date_format: str | None = None
    learnt: TimeForm = TimeForm()
    resample: str | None = None
    aggregate: Literal["mean", "sum", "last"] = "mean"


def prepare(
    tables: Sequence[Table],
    columns: Columns,
    folder: Path,
    frequency: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    reading: Reading | None = None,
    notes: Sequence[str] = (),
) -> Panel:
    """Writes the rows of tables as a panel.

    A row goes to the step of its time, in whatever order rows come. Steps without a row are missing values; of rows
    with one time the first counts, and the next gives what it lacks; both are told in `Panel.notes`. Rows without times
    are steps in their order.

    Args:
        tables: With the same columns; rows of a series may be spread over them.
        columns: What the columns are.
        folder: An empty one.
        frequency: As in `Reading`, which it changes.
        validation_fraction: Of each series, before the test part.
        test_fraction: Of each series, at its end.
        seed: Of the lot by which whole series go to the parts: where there is a label, and each of several series has
            one class throughout, so that a series is one sample. The fractions are then of the series of a class.
        reading: How the tables are read.
        notes: What was found amiss already.

    Raises:
        UsageError: A value, a time or a column is not usable; the sentence names the row. Too many rows contradict an
            earlier one of the same time and series.
    """
    reading = reading or Reading()
    reading = replace(reading, frequency=reading.resample or frequency or reading.frequency)
    _settle_dates(tables, columns, reading)
    survey = Survey(columns)
    for table in tables:
        for block in table.blocks(columns):
            survey.read(block, table)
    form = TimeForm(columns.time, tables[0].date_format, survey.zone(reading.learnt.zone))
    grid = _grid(survey, reading, form)
    if reading.resample is not None:
        survey.round_down(grid)
    series, classes = survey.series(grid), survey.classes()
    if classes is None:
        series = [panels.cut(one, validation_fraction, test_fraction) for one in series]
    else:
        series = panels.deal(series, classes, validation_fraction, test_fraction, seed)
    writer = _Writer(folder, survey, series, grid, form, reading)
    for table in tables:
        for block in table.blocks(columns):
            writer.write(block, table)
    if writer.contradictions > max(_DOUBLES_ALLOWED[0], _DOUBLES_ALLOWED[1] * sum(survey.rows)):
        raise doubles.refusal(tables[0], columns, grid.frequency, writer.contradictions, sum(survey.rows))
    return writer.finish(notes)


def _settle_dates(tables: Sequence[Table], columns: Columns, reading: Reading) -> None:
    """One format for the dates of all tables, decided over all of their rows."""
    if not columns.time:
        return
    form = reading.date_format
    if form is None:
        blocks = itertools.chain.from_iterable(table.time_texts(columns.time) for table in tables)
        form = date_formats.decide(blocks, " ".join(columns.time), reading.learnt.date_format)
    for table in tables:
        table.date_format = form


def _grid(survey: Survey, reading: Reading, form: TimeForm) -> TimeGrid:
    frequency = reading.frequency
    if not survey.columns.time:
        if frequency not in (None, ROWS):
            option = "--frequency" if reading.resample is None else "--resample"
            raise UsageError(f"{option} {frequency} wants times: wanted --time with a column of dates")
        return TimeGrid(ROWS)
    if frequency is None:
        frequency = infer(survey.times, form.zone)
    elif reading.resample is None:
        frequency = adapted(frequency, survey.times, form.zone)
    return TimeGrid(frequency, form.zone)


class _Writer:
    """The second pass."""

    def __init__(
        self, folder: Path, survey: Survey, series: list[Series], grid: TimeGrid, form: TimeForm, reading: Reading
    ):
        self.folder, self.survey, self.all, self.grid, self.form = folder, survey, series, grid, form
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
            self.times[rows] = panels.row_times(one.length) if by_rows else grid.times(first, one.length) // SECOND
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
        self.doubles = self.contradictions = 0
        self.first_double = ""
        self.steps = Steps(self.values, reading.aggregate, folder) if reading.resample is not None else None

    def write(self, block: Block, table: Table) -> None:
        index = self.survey.index(block)
        places = self._places(block, index, table)
        rows = np.empty((len(places), len(self.varying)))
        for j, name in enumerate(self.varying):
            column = block.values[name]
            rows[:, j] = self._codes(name, column, places < self.train_ends[index]) if name in self.learnt else column
        if self.steps is not None:
            self.steps.add(places, rows, [name in self.learnt for name in self.varying])
        else:
            self._put(places, index, rows, block, table)
        self.filled[places] = True

    def _put(self, places: np.ndarray, index: np.ndarray, rows: np.ndarray, block: Block, table: Table) -> None:
        """Writes rows; of those with one place the first counts, and the next gives what it lacks."""
        order = np.argsort(places, kind="stable")
        rank = np.empty(len(places), np.int64)
        rank[order] = np.arange(len(places)) - np.searchsorted(places[order], places[order])
        is_double = self.filled[places] | (rank > 0)
        self.rounding.read(rows[~is_double], places[~is_double], index[~is_double])
        for now in (rank == 0, rank == 1, rank > 1):
            before, again = self.values[places[now]], rows[now].astype(self.values.dtype)
            lacks = np.isnan(before)
            self.contradictions += int((~lacks & ~np.isnan(again) & (before != again)).any(1).sum())
            if not (now & (rank > 1)).any():  # places are different
                self.values[places[now]] = np.where(lacks, again, before)
        if is_double.any():
            if not self.doubles:
                self.first_double = f"row {block.first_row + int(np.argmax(is_double))} of {table.path}"
            self.doubles += int(is_double.sum())

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
        if self.steps is not None:
            return self.starts[index] + self.grid.steps(self.grid.floor(block.times)) - self.firsts[index]
        off = ~self.grid.is_on(block.times, np.array(self.survey.first)[index])
        if off.any():
            row = int(off.argmax())
            time, step = self.form.written(block.times[row : row + 1])[0], usual_step(self.survey.times)
            raise UsageError(
                f"{table.path}, row {block.first_row + row}: {time} is no whole number of steps of "
                f"{self.grid.frequency} after the series' first time: wanted --resample {step} for the means of such "
                "steps, another --frequency, or rows"
            )
        return self.starts[index] + self.grid.steps(block.times) - self.firsts[index]

    def _codes(self, name: str, values: np.ndarray, is_training: np.ndarray) -> np.ndarray:
        known = self.survey.categories[name]
        codes = np.array([np.nan if value is None else known[str(value)] for value in values], np.float32)
        seen = codes[is_training & ~np.isnan(codes)].astype(int)
        self.learnt[name][seen] = True
        return codes

    def finish(self, notes: Sequence[str]) -> Panel:
        columns = self.survey.columns
        if self.steps is not None:
            self.steps.finish()
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
        frequency, notes = self.grid.frequency, [*notes, *self._notes()]
        firsts = [0] * len(self.all) if frequency == ROWS else self.survey.first
        static = self._static(categories)
        return panels.write(self.folder, layout, self.all, frequency, static, notes, self.form, firsts)

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
        label, form = self.survey.columns.label, self.form.date_format
        if form is not None and not date_formats.is_plain(form):
            start = TimeForm().written(np.array([min(self.survey.first)]))[0]
            notes.append(f"times of {' '.join(self.form.columns)!r} are read as {form}, the first as {start}")
        if label is not None:
            unseen = [value for value, code in self.survey.categories[label].items() if not self.learnt[label][code]]
            if unseen:
                named = ", ".join(map(repr, unseen[:5])) + (", ..." if unseen[5:] else "")
                notes.append(f"no training part has {label} {named}: windows of a class never seen count as wrong")
        if missing:
            first = int(np.argmin(self.filled))
            of = int(np.searchsorted(self.starts, first, side="right")) - 1
            step = np.array([first - self.starts[of]])
            when = self.form.written(self.grid.shifted(int(self.survey.first[of]), step))[0]
            notes.append(
                f"{missing:,} of {len(self.filled):,} steps have no row, the first at {when}: their values are missing"
            )
        if self.doubles:
            times = "1 row has" if self.doubles == 1 else f"{self.doubles:,} rows have"
            notes.append(
                f"{times} the time of an earlier row of its series, the first in {self.first_double}: the earlier row "
                "counts"
            )
        notes += [f"{sentence}: its differences would say more" for sentence in self.rounding.lost().values()]
        for j, name in enumerate(self.varying):
            if np.isnan(self.values[:, j]).all():
                notes.append(f"column {name!r} has no value in any row: it is read as missing")
        return notes
