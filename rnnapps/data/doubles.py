"""Rows that contradict an earlier one of the same time and series: what is likely to be missing."""

from __future__ import annotations

import pandas as pd

from rnnapps.data import time_columns
from rnnapps.data.table import Columns, Table
from rnnapps.errors import UsageError

_ROWS = 10_000  # that are looked at


def refusal(table: Table, columns: Columns, frequency: str, count: int, rows: int) -> UsageError:
    """The error, with the column that tells such rows apart.

    Args:
        table: In which to look for one.
        columns: What its columns are.
        frequency: Of the steps.
        count: Rows that contradict an earlier one.
        rows: All rows.
    """
    head = table.head(_ROWS)
    key = [*columns.time, *([columns.series] if columns.series else [])]
    doubles = int(head.duplicated(key).sum())
    seen = f"{count:,} of {rows:,} rows have the time of an earlier row of their series, and other values"
    if doubles < count / rows * len(head) / 2:
        return UsageError(
            f"{seen}, in steps of {frequency}: wanted --resample {frequency}, which takes the means of its steps, or a "
            "shorter --frequency"
        )
    free = [name for name in table.columns if name not in columns.all or name in columns.categorical]
    found = sorted((int(head[name].nunique()), name) for name in free if _tells_apart(head, key, name, doubles))
    clock = next((name for _, name in found if time_columns.is_time_of_day(head[name])), None)
    if clock is not None and len(columns.time) == 1 and not time_columns.are_parts(columns.time):
        return UsageError(
            f"{seen}: wanted --time {_quoted(columns.time[0])} {_quoted(clock)}, as {clock!r} holds times of the day"
        )
    if found:
        return UsageError(f"{seen}: wanted --series {_quoted(found[0][1])}, which tells them apart")
    return UsageError(f"{seen}: wanted --series COLUMN, a --time that tells them apart, or --frequency rows")


def _tells_apart(head: pd.DataFrame, key: list[str], name: str, doubles: int) -> bool:
    """Whether a column of names, or of times of the day, leaves hardly a double."""
    if head[name].nunique() > len(head) / 2 and not time_columns.is_time_of_day(head[name]):
        return False
    return int(head.duplicated([*key, name]).sum()) <= doubles / 20


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name
