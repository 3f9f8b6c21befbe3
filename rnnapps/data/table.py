"""Tables of numbers over time: CSV and Parquet files, read a block of rows at a time, with every value checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnnapps.data import date_formats, time_columns
from rnnapps.data.date_formats import EXAMPLES, NONE
from rnnapps.data.table_file import TableFile
from rnnapps.errors import UsageError

BLOCK_ROWS = 100_000


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are.

    Attributes:
        targets: Numbers that are forecast; or the label alone, a categorical column that says the class of a row. None
            only where a model reads `past` and is asked.
        time: The columns that together say when: one of dates, or numbers named year, month, day, hour...; empty where
            rows have no times.
        series: Names the series that a row belongs to; None where all rows are one.
        past: Known up to the forecast only.
        future: Known over the horizon too.
        static: The same in all rows of a series.
        categorical: Those of the label, `past`, `future` and `static` that hold names, and no numbers.
    """

    targets: tuple[str, ...]
    time: tuple[str, ...] = ()
    series: str | None = None
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.targets and not self.past:
            raise UsageError("no --target: wanted the name of a column to forecast")
        roles = [*self.targets, *self.time, *([self.series] if self.series else [])]
        roles += [*self.past, *self.future, *self.static]
        if twice := next((name for name in roles if roles.count(name) > 1), None):
            raise UsageError(f"column {twice!r} was named twice: wanted one role for each column")
        label = self.targets if len(self.targets) == 1 else ()
        if stray := set(self.categorical) - {*label, *self.past, *self.future, *self.static}:
            raise UsageError(f"--categorical {stray.pop()}: wanted a column of --past, --future or --static")

    @property
    def label(self) -> str | None:
        """The column that says the class of a row; None where numbers are forecast."""
        return next((name for name in self.targets if name in self.categorical), None)

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        series = [] if self.series is None else [self.series]
        return [*self.time, *series, *self.targets, *self.past, *self.future, *self.static]

    @property
    def numeric(self) -> list[str]:
        """The columns whose values must be numbers."""
        return [n for n in (*self.targets, *self.past, *self.future, *self.static) if n not in self.categorical]


@dataclass(frozen=True)
class Block:
    """Some rows of a table, checked.

    Attributes:
        first_row: Number of the first one, counted from 1 after the header.
        series: Object array of names; None where there is no such column.
        times: int64 microseconds since 1970, UTC where there are offsets; None where there is no such column.
        offsets: int32 seconds from UTC, as in `Moments`.
        values: Column to float64 (NaN where missing) or, if categorical, to object (None where missing).
    """

    first_row: int
    series: np.ndarray | None
    times: np.ndarray | None
    values: dict[str, np.ndarray]
    offsets: np.ndarray | None = None


class Table:
    """A table whose values are checked as they are read.

    Args:
        path, missing: As in `TableFile`.
        pandas_options: Further arguments of `pandas.read_csv`, such as `decimal`.

    Attributes:
        columns: Names.
        date_format: Of the columns that say when; None: as their own values say.

    Raises:
        UsageError: The file is missing or empty, or its header cannot be read.
    """

    def __init__(self, path: Path, missing: Sequence[str] = (), **pandas_options: Any):
        self.path, self._file = path, TableFile(path, missing, pandas_options)
        self.columns = self._file.columns
        self.date_format: str | None = None
        self._decimal, self._thousands = pandas_options.get("decimal", "."), pandas_options.get("thousands")

    def head(self, rows: int = 100) -> pd.DataFrame:
        """The first rows, as text but for Parquet's own dates."""
        return next(self._file.frames(self.columns, rows, texts=self.columns), pd.DataFrame(columns=self.columns))

    def time_columns(self, taken: Collection[str] = ()) -> tuple[str, ...]:
        """The columns that together say when, as `time_columns.find` finds them; nothing where there are none."""
        return time_columns.find(self.head(), taken)[0]

    def numeric_columns(self) -> list[str]:
        """The columns whose first values are numbers."""
        head = next(self._file.frames(self.columns, 100), pd.DataFrame(columns=self.columns))
        return [name for name in self.columns if pd.api.types.is_numeric_dtype(head[name])]

    def time_texts(self, names: tuple[str, ...], rows: int = BLOCK_ROWS) -> Iterator[pd.Series]:
        """What rows say of their time, as `time_columns.texts` gives it, where it is text."""
        if time_columns.are_parts(names) or not set(names) <= set(self.columns):
            return
        for frame in self._file.frames(names, rows, texts=names):
            if not any(pd.api.types.is_datetime64_any_dtype(frame[name]) for name in names):
                yield time_columns.texts(frame, names)

    def blocks(self, columns: Columns, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """Yields the rows in order.

        Raises:
            UsageError: A column is missing, or a value is not what its column wants, by row and column.
        """
        absent = self._absent(columns)
        if columns.time and self.date_format is None:
            self.date_format = date_formats.decide(self.time_texts(columns.time), " ".join(columns.time))
        texts = [*columns.time, *([columns.series] if columns.series else [])]
        if time_columns.are_parts(columns.time):
            texts = texts[len(columns.time) :]
        there = [name for name in columns.all if name not in absent]
        first, yielded = 1, False
        for frame in self._file.frames(there, rows, columns.categorical, texts):
            yielded = yielded or len(frame) > 0
            for name in absent:
                frame[name] = None if name in columns.categorical else np.nan
            yield self._block(frame, columns, first)
            first += len(frame)
        if not yielded:
            raise UsageError(f"{self.path} has a header and no rows: wanted at least one")

    def _absent(self, columns: Columns) -> list[str]:
        """The columns that this table need not have: one that says what is known of the future says nothing else."""
        known = {*columns.time, *([columns.series] if columns.series else []), *columns.future}
        is_future = bool(columns.future) and not set(columns.targets) & set(self.columns)
        absent = [name for name in columns.all if name not in self.columns]
        for name in absent:
            if not is_future or name in known:
                raise UsageError(f"{self.path} has no column {name!r}: wanted one of {', '.join(self.columns)}")
        return absent

    def _block(self, frame: pd.DataFrame, columns: Columns, first: int) -> Block:
        series = None
        if columns.series is not None:
            self._refuse_first(frame[columns.series].isna(), frame[columns.series], first, "the name of a series")
            series = frame[columns.series].astype(str).to_numpy(object)
        moments = self._times(frame, columns.time, first) if columns.time else None
        further = {*columns.past, *columns.future, *columns.static}
        values = {
            name: self._numbers(frame[name], first, "a number, or --categorical" if name in further else "a number")
            for name in columns.numeric
        }
        for name in columns.categorical:
            values[name] = frame[name].astype(object).where(frame[name].notna(), None).to_numpy()
        if moments is None:
            return Block(first, series, None, values)
        return Block(first, series, moments.times, values, moments.offsets)

    def _numbers(self, column: pd.Series, first: int, wanted: str) -> np.ndarray:
        if not pd.api.types.is_numeric_dtype(column):
            texts = column.astype("string").str.strip().replace({"True": "1", "False": "0"})
            if self._thousands:
                texts = texts.str.replace(self._thousands, "", regex=False)
            if self._decimal != ".":
                texts = texts.str.replace(".", "?", regex=False).str.replace(self._decimal, ".", regex=False)
            numbers = pd.to_numeric(texts, errors="coerce")
            bad = (numbers.isna() & column.notna()).to_numpy(bool)
            hint = _hint(str(column.iloc[int(bad.argmax())])) if bad.any() else ""
            self._refuse_first(pd.Series(bad), column, first, wanted + hint)
            column = numbers
        numbers = column.to_numpy(np.float64, na_value=np.nan)
        self._refuse_first(pd.Series(np.isinf(numbers)), column, first, "a finite number")
        return numbers

    def _times(self, frame: pd.DataFrame, names: tuple[str, ...], first: int) -> date_formats.Moments:
        found, written = time_columns.read(frame, names, self.date_format)
        bad = pd.Series(found.times == NONE)
        self._refuse_first(bad, written, first, f"a date or time, as in {EXAMPLES}, or --date-format")
        if found.offsets is not None:
            naive = pd.Series(found.offsets == date_formats.NAIVE)
            self._refuse_first(naive, written, first, "an offset from UTC, as other rows have")
        return found

    def _refuse_first(self, bad: pd.Series, column: pd.Series, first: int, wanted: str) -> None:
        """Raises with the first row that is bad."""
        marks = bad.to_numpy(bool)
        if marks.any():
            at = int(marks.argmax())
            value = column.iloc[at]
            shown = "nothing" if pd.isna(value) else repr(str(value))
            raise UsageError(f"{self.path}, row {first + at}: {column.name!r} holds {shown}, wanted {wanted}")


def _hint(value: str) -> str:
    """How a value may be read that is no number as it is."""
    shapes = (
        (r"[+-]?\d+,\d+", "--decimal ,"),
        (r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", "--thousands ,"),
        (r"[+-]?\d{1,3}(\.\d{3})+,\d+|[+-]?\d{1,3}(\.\d{3}){2,}", "--decimal , --thousands ."),
        (r"[+-]?\d{1,3}( \d{3})+(,\d+)?", "--decimal , --thousands ' '"),
    )
    options = [option for shape, option in shapes if re.fullmatch(shape, value.strip())]
    return f", which it is with {' or with '.join(options)}" if options else ""
