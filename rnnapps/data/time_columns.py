"""Which columns of a table say when, and what they say."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import pandas as pd

from rnnapps.data.date_formats import COUNTS, EXAMPLES, NONE, Moments, candidates, parse
from rnnapps.errors import UsageError

_MICRO = "datetime64[us]"
_PARTS = ("year", "month", "day", "hour", "minute", "second")
# Words of a column's name that mean a time.
_WORDS = {
    "date", "dates", "datetime", "time", "times", "timestamp", "ds", "ts", "dt", "epoch", "unix", "unixtime", "year",
    "month", "week", "quarter", "period", "datum", "zeit", "zeitstempel", "jahr", "monat", "fecha", "tiempo", "annee",
}  # fmt: skip


def find(head: pd.DataFrame, taken: Collection[str] = ()) -> tuple[tuple[str, ...], str]:
    """The columns that together say when, and a sentence for a person where one that should cannot be read.

    A column of dates as text, with another of times of the day where it has none; else columns named year, month...;
    else a column of numbers that is named as a time and counts seconds or days, or writes dates in digits.

    Args:
        head: The first rows, as text.
        taken: Columns that are something else.

    Raises:
        UsageError: A column that is named as a time holds text that is none.
    """
    free = [name for name in head.columns if name not in taken and head[name].notna().any()]
    numeric = [name for name in free if pd.to_numeric(head[name].dropna(), errors="coerce").notna().all()]
    for name in free:
        if name not in numeric and _is_date(head[name]):
            return (name, *_clock(head, name, free)), ""
    parts = {name.lower(): name for name in numeric}
    if {"year", "month"} <= set(parts):
        return tuple(parts[part] for part in _PARTS if part in parts), ""
    named = [name for name in free if _means_time(name)]
    for name in named:
        if name in numeric and _is_date(head[name]):
            return (name,), ""
    for name in named:
        value = head[name].dropna().iloc[0]
        if name not in numeric and not is_time_of_day(head[name]):
            raise UsageError(
                f"column {name!r} holds {value!r}, which is no date or time that can be read, as in {EXAMPLES}: wanted "
                "--time COLUMN, --date-format, or --frequency rows to number the rows"
            )
        return (), f"column {name!r} holds {value!r}, which is no date: rows are numbered"
    for name in numeric:
        if _counts_time(head[name]):
            return (), f"column {name!r} may say when, and is not read: rows are numbered (--time {name} reads it)"
    return (), ""


def is_time_of_day(values: pd.Series) -> bool:
    """Whether all values are times of the day, as in 18:00 or 18.00.00."""
    values = values.dropna().astype("string").str.strip()
    shape = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?|\d{2}\.\d{2}\.\d{2}"
    return len(values) > 0 and bool(values.str.fullmatch(shape).all())


def texts(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.Series:
    """What rows say of their time, as one text each: a column of dates, or one of dates and one of times of the day."""
    if len(names) == 1:
        return frame[names[0]].rename(names[0])
    joined = frame[names[0]].astype("string")
    for name in names[1:]:
        joined = joined + " " + frame[name].astype("string")
    return joined.rename(" ".join(names))


def are_parts(names: tuple[str, ...]) -> bool:
    """Whether columns hold years, months, days... each."""
    return len(names) > 1 and {name.lower() for name in names} <= set(_PARTS)


def read(frame: pd.DataFrame, names: tuple[str, ...], date_format: str | None) -> tuple[Moments, pd.Series]:
    """The times of rows, and what was written there.

    Raises:
        UsageError: Several columns are not to be read together.
    """
    written = texts(frame, names)
    if are_parts(names):
        return Moments(_assembled(frame, names)), written
    if pd.api.types.is_datetime64_any_dtype(written):
        local = written.dt.tz_localize(None)
        times = (local if written.dt.tz is None else written.dt.tz_convert("UTC").dt.tz_localize(None)).to_numpy(_MICRO)
        offsets = (local.to_numpy(_MICRO) - times).astype("timedelta64[s]").astype(np.int32)
        return Moments(times.astype(np.int64), None if written.dt.tz is None else offsets), written
    if date_format is None:
        wanted = "columns named year, month, day (and hour, minute, second)"
        if len(names) > 1:
            wanted = f"{wanted}, or a column of dates and one of times of the day"
            raise UsageError(f"--time {' '.join(names)}: wanted one column of dates, or {wanted}")
        return Moments(np.full(len(frame), NONE)), written
    return parse(written, date_format), written


def _assembled(frame: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    parts = frame[list(names)].rename(columns=str.lower).apply(pd.to_numeric, errors="coerce")
    for part in ("month", "day"):
        if part not in parts:
            parts[part] = 1
    stamps = pd.to_datetime(parts, errors="coerce")
    return np.array(stamps.to_numpy(_MICRO).astype(np.int64))


def _is_date(column: pd.Series) -> bool:
    """Whether most values are dates."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    values = column.dropna().astype("string")
    return sum(bool(candidates(value.strip())) for value in values) > len(values) / 2


def _counts_time(column: pd.Series) -> bool:
    """Whether numbers grow, and each could be of one count since 1970 or a date in digits."""
    values = column.dropna()
    found = [set(candidates(value)) & {*COUNTS, "%Y%m%d"} for value in values]
    return bool(set.intersection(*found)) and pd.to_numeric(values).is_monotonic_increasing and values.is_unique


def _clock(head: pd.DataFrame, date: str, free: list[str]) -> tuple[str, ...]:
    """The column of times of the day that belongs to one of dates alone."""
    if pd.api.types.is_datetime64_any_dtype(head[date]) or head[date].astype("string").str.contains(":").any():
        return ()
    return next(((name,) for name in free if name != date and is_time_of_day(head[name])), ())


def _means_time(name: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return any(word in _WORDS for word in re.split(r"[^a-z]+", words))
