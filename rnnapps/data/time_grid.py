"""Times as whole numbers of steps."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from rnnapps.errors import UsageError

ROWS = "rows"
BUSINESS_DAYS = "B"
# Steps that differ in length: pandas counts them as periods. By every name that such a step has.
_PERIODS = {"M": "M", "MS": "M", "ME": "M", "Q": "Q", "QS": "Q", "QE": "Q", "Y": "Y", "YS": "Y", "YE": "Y"}
_SECONDS_A_DAY = 86_400


class TimeGrid:
    """Counts the steps of a frequency: time to step number, and back.

    Args:
        frequency: Of pandas: "10min", "h", "D", "W", "B" (Monday to Friday), "MS" (months), "QS", "YS"; or "rows",
            where each row is a step whatever its time is.

    Raises:
        UsageError: It is none.
    """

    def __init__(self, frequency: str):
        self.frequency = frequency
        self.period: str | None = None
        self.seconds: int | None = None
        if frequency in (ROWS, BUSINESS_DAYS):
            return
        self.period = _PERIODS.get(frequency)
        if self.period is None:
            self.seconds = _seconds(frequency)

    def steps(self, times: np.ndarray) -> np.ndarray:
        """Step numbers int64 of times int64 (seconds since 1970), counted from 1970."""
        if self.frequency == BUSINESS_DAYS:
            return np.busday_count(np.datetime64(0, "D"), _days(times))
        if self.period is not None:
            stamps = pd.DatetimeIndex(times.astype("datetime64[s]"))
            return np.asarray(stamps.to_period(self.period).asi8, np.int64)
        return times // self._fixed()

    def is_on(self, times: np.ndarray, anchor: int | np.ndarray) -> np.ndarray:
        """Whether times are whole numbers of steps away from `anchor`."""
        if self.frequency == BUSINESS_DAYS:
            return np.is_busday(_days(times))
        if self.period is not None:
            return np.ones(len(times), bool)
        return (times - anchor) % self._fixed() == 0

    def times(self, first: int, count: int) -> np.ndarray:
        """The times of `count` steps in a row, the first of them `first`: int64 seconds since 1970."""
        return self.shifted(first, np.arange(count, dtype=np.int64))

    def shifted(self, first: int, steps: np.ndarray) -> np.ndarray:
        """The times that are whole numbers of steps, which may be negative, after `first`."""
        if self.frequency == BUSINESS_DAYS:
            days = np.busday_offset(_days(np.array(first)), steps, roll="forward")
            return days.astype("datetime64[s]").astype(np.int64)
        if self.period is None:
            return first + self._fixed() * steps
        start = int(self.steps(np.array([first]))[0])
        periods = pd.PeriodIndex.from_ordinals(start + steps, freq=self.period)
        return np.asarray(periods.to_timestamp().values.astype("datetime64[s]").astype(np.int64))

    def _fixed(self) -> int:
        if self.seconds is None:
            raise ValueError(f"steps of frequency {self.frequency!r} have no times")
        return self.seconds


def infer(times: np.ndarray) -> str:
    """The frequency of the sorted times of one series: the step that comes most often.

    Raises:
        UsageError: There are fewer than two different times.
    """
    unique = np.unique(times)
    if len(unique) < 2:
        raise UsageError("a frequency cannot be read off fewer than two times: wanted --frequency, such as D")
    seconds = Counter(np.diff(unique).tolist()).most_common(1)[0][0]
    stamps = pd.DatetimeIndex(unique.astype("datetime64[s]"))
    days = seconds / _SECONDS_A_DAY
    if days == 1 and len(unique) > 10 and not np.any(stamps.day_of_week >= 5):
        return BUSINESS_DAYS
    for name, low, high in (("MS", 28, 31), ("QS", 90, 92), ("YS", 365, 366)):
        if low <= days <= high and len(set(stamps.day)) == 1:
            return name
    for name, size in (("D", _SECONDS_A_DAY), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds % size == 0:
            count = seconds // size
            return name if count == 1 else f"{count}{name}"
    raise AssertionError("a second divides every number of seconds")


def _days(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[s]").astype("datetime64[D]")


def _seconds(frequency: str) -> int:
    try:
        step = pd.Timedelta(pd.tseries.frequencies.to_offset("7D" if frequency == "W" else frequency))
        seconds = step.total_seconds()
    except (ValueError, TypeError):
        seconds = 0
    if seconds < 1 or seconds != int(seconds):
        raise UsageError(
            f"--frequency {frequency}: wanted whole seconds or more, as in 10min, h, D, W, B, MS, QS, YS, or {ROWS}"
        )
    return int(seconds)
