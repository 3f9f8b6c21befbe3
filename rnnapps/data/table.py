"""Tables of numbers over time: CSV and Parquet files, read a block of rows at a time, with every value checked."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from rnnapps.errors import RunError, UsageError

BLOCK_ROWS = 100_000
_SNIFFED = 64 * 1024  # characters of a file in which the time column is looked for


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
        times: int64 seconds since 1970; None where there is no such column.
        values: Column to float64 (NaN where missing) or, if categorical, to object (None where missing).
    """

    first_row: int
    series: np.ndarray | None
    times: np.ndarray | None
    values: dict[str, np.ndarray]


class Table:
    """A CSV file (comma, semicolon or tab, with a header) or a Parquet file.

    Args:
        path: The file. Parquet is told by its suffix `.parquet`.
        missing: What stands for a missing value beside an empty field, `NA`, `NaN` and `null`.
        pandas_options: Further arguments of `pandas.read_csv`.

    Raises:
        UsageError: The file is missing or empty, or its header cannot be read.
    """

    def __init__(self, path: Path, missing: Sequence[str] = (), **pandas_options: Any):
        self.path, self.missing, self._options = path, list(missing), pandas_options
        self._is_parquet = path.suffix.lower() == ".parquet"
        if not path.is_file():
            raise UsageError(f"--csv {path} {'is a folder' if path.is_dir() else 'does not exist'}: wanted a file")
        if not self._is_parquet and "sep" not in pandas_options:
            self._options["sep"] = _separator(path)
        self.columns: list[str] = self._header()

    def time_columns(self) -> tuple[str, ...]:
        """The first column of dates, most of which can be read; nothing where there is none."""
        head = next(self._frames(self.columns, 100), pd.DataFrame())
        for name in self.columns:
            values = head[name].dropna()
            if len(values) and not pd.api.types.is_numeric_dtype(values) and _parse(values).notna().mean() > 0.5:
                return (name,)
        return ()

    def numeric_columns(self) -> list[str]:
        """The columns whose first values are numbers."""
        head = next(self._frames(self.columns, 100), pd.DataFrame(columns=self.columns))
        return [name for name in self.columns if pd.api.types.is_numeric_dtype(head[name])]

    def blocks(self, columns: Columns, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """Yields the rows in order.

        Raises:
            UsageError: A column is missing, or a value is not what its column wants, by row and column.
        """
        for name in columns.all:
            if name not in self.columns:
                raise UsageError(f"{self.path} has no column {name!r}: wanted one of {', '.join(self.columns)}")
        first, yielded = 1, False
        for frame in self._frames(columns.all, rows, columns.categorical):
            yielded = yielded or len(frame) > 0
            yield self._block(frame, columns, first)
            first += len(frame)
        if not yielded:
            raise UsageError(f"{self.path} has a header and no rows: wanted at least one")

    def _block(self, frame: pd.DataFrame, columns: Columns, first: int) -> Block:
        series = None
        if columns.series is not None:
            self._refuse_first(frame[columns.series].isna(), frame[columns.series], first, "the name of a series")
            series = frame[columns.series].astype(str).to_numpy(object)
        times = self._times(frame, columns.time, first) if columns.time else None
        further = {*columns.past, *columns.future, *columns.static}
        values = {
            name: self._numbers(frame[name], first, "a number, or --categorical" if name in further else "a number")
            for name in columns.numeric
        }
        for name in columns.categorical:
            values[name] = frame[name].astype(object).where(frame[name].notna(), None).to_numpy()
        return Block(first, series, times, values)

    def _numbers(self, column: pd.Series, first: int, wanted: str) -> np.ndarray:
        if column.dtype == bool or not pd.api.types.is_numeric_dtype(column):
            numbers = pd.to_numeric(column, errors="coerce")
            self._refuse_first(numbers.isna() & column.notna(), column, first, wanted)
            column = numbers
        numbers = column.to_numpy(np.float64, na_value=np.nan)
        self._refuse_first(pd.Series(np.isinf(numbers)), column, first, "a finite number")
        return numbers

    def _times(self, frame: pd.DataFrame, names: tuple[str, ...], first: int) -> np.ndarray:
        if len(names) > 1:
            written = frame[list(names)].agg(lambda row: " ".join(map(str, row)), axis=1)
            parts = frame[list(names)].rename(columns=str.lower)
            try:
                stamps = pd.to_datetime(parts, errors="coerce")
            except (ValueError, TypeError) as error:
                wanted = "columns named year, month, day (and hour, minute, second)"
                raise UsageError(f"--time {' '.join(names)}: wanted one column of dates, or {wanted}") from error
        else:
            written = frame[names[0]]
            stamps = _parse(written)
        written = written.rename(" ".join(names))
        self._refuse_first(stamps.isna(), written, first, "a date or time, as in 2024-01-31 18:00")
        if stamps.dt.tz is not None:
            stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
        return stamps.to_numpy("datetime64[s]").astype(np.int64)

    def _refuse_first(self, bad: pd.Series, column: pd.Series, first: int, wanted: str) -> None:
        """Raises with the first row that is bad."""
        marks = bad.to_numpy(bool)
        if marks.any():
            at = int(marks.argmax())
            value = column.iloc[at]
            shown = "nothing" if pd.isna(value) else repr(str(value))
            raise UsageError(f"{self.path}, row {first + at}: {column.name!r} holds {shown}, wanted {wanted}")

    def _frames(self, columns: Sequence[str], rows: int, names: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
        if self._is_parquet:
            with _parquet(self.path) as file:
                for batch in file.iter_batches(rows, columns=list(dict.fromkeys(columns))):
                    yield batch.to_pandas()
            return
        try:
            reader = pd.read_csv(
                self.path, usecols=list(dict.fromkeys(columns)), chunksize=rows, dtype=dict.fromkeys(names, "string"),
                na_values=self.missing, skipinitialspace=True, low_memory=False, **self._options,
            )  # fmt: skip
            with reader:
                yield from reader
        except pd.errors.ParserError as error:
            reason = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
            raise UsageError(f"{self.path} is no table ({reason})") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.path} is not UTF-8 text at byte {error.start}") from None
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read ({error.strerror})") from None

    def _header(self) -> list[str]:
        if self._is_parquet:
            with _parquet(self.path) as file:
                return list(file.schema_arrow.names)
        try:
            names = pd.read_csv(self.path, skipinitialspace=True, **{**self._options, "nrows": 0}).columns
        except pd.errors.EmptyDataError:
            raise UsageError(f"{self.path} is empty: wanted a header and rows") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.path} is not UTF-8 text at byte {error.start}") from None
        return [str(name) for name in names]


def _parse(column: pd.Series) -> pd.Series:
    """Dates and times, NaT where there is none. All have the form of the first one, or are ISO 8601."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    first = next((str(value) for value in column if not pd.isna(value)), "")
    form = "ISO8601" if len(first) >= 7 and first[:4].isdecimal() else guess_datetime_format(first)
    if form is None:
        return pd.Series(pd.NaT, column.index)
    return pd.to_datetime(column.astype("string"), errors="coerce", format=form)


def _separator(path: Path) -> str:
    """Of comma, semicolon and tab the one that stands most often in the header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline(_SNIFFED)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text at byte {error.start}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None
    counts = {separator: len(next(csv.reader([header], delimiter=separator), [])) for separator in ",;\t"}
    return max(counts, key=lambda separator: counts[separator])


def _parquet(path: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise RunError(f"{path} is Parquet, which pyarrow reads: pip install 'rnnapps[parquet]'")
    from pyarrow import lib, parquet

    try:
        return parquet.ParquetFile(path)
    except (lib.ArrowException, OSError) as error:
        raise UsageError(f"{path} is no Parquet file ({error})") from None
