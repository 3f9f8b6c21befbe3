"""Times as whole numbers of steps."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd
from pandas.tseries import offsets

from rnnapps.data.date_formats import SECOND
from rnnapps.data.time_form import to_local, to_utc
from rnnapps.errors import UsageError

ROWS = "rows"
BUSINESS_DAYS = "B"
_DAY = 86_400 * SECOND
_OLD_UNITS = {"T": "min", "H": "h", "S": "s", "L": "ms", "U": "us"}  # names that pandas once had
_MONTHS = {"M": 1, "Q": 3, "Y": 12, "A": 12}
_PERIODS = {1: "M", 3: "Q", 12: "Y"}
_CALENDAR = re.compile(r"(\d*)(B?)([MQYA])([SE]?)(-[A-Z]{3})?")
_UNITS = (("D", _DAY), ("h", 3600 * SECOND), ("min", 60 * SECOND), ("s", SECOND), ("ms", 1000), ("us", 1))


class TimeGrid:
    """Counts the steps of a frequency: time to step number, and back.

    Times are int64 microseconds since 1970. Months, quarters and years are counted by the calendar, from whatever month
    they begin in: "MS" keeps the day of the first time, "ME" ends each month, "BMS" and "BME" begin and end it on days
    from Monday to Friday.

    Args:
        frequency: Of pandas: "100ms", "10min", "h", "D", "W", "B" (Monday to Friday), "MS" (months), "QE-JAN", "YS"; or
            "rows", where each row is a step whatever its time is.
        zone: In which days begin, as in `TimeForm`; times are then UTC.

    Attributes:
        seconds: Of a step; None where steps differ in length, or are no whole seconds.
        period: "M", "Q" or "Y" of months, quarters and years.

    Raises:
        UsageError: It is none.
    """

    def __init__(self, frequency: str, zone: str | None = None):
        self.frequency, self._zone = frequency, zone
        self.period: str | None = None
        self.seconds: int | None = None
        self._months = self._size = 0
        self._rule = ""
        if frequency in (ROWS, BUSINESS_DAYS):
            return
        if found := _CALENDAR.fullmatch(frequency):
            self._months = int(found[1] or 1) * _MONTHS[found[3]]
            self._rule = found[2] + ("S" if found[4] == "S" else "E")
            self.period = _PERIODS.get(self._months)
        if self._months:
            return
        self._size = _microseconds(frequency)
        if self._size % SECOND == 0:
            self.seconds = self._size // SECOND

    @property
    def is_calendar(self) -> bool:
        """Whether steps are days or longer, so that a zone's clocks count."""
        return not self._size or self._size % _DAY == 0

    def steps(self, times: np.ndarray) -> np.ndarray:
        """Step numbers int64 of times, counted from 1970."""
        local = self._local(times)
        if self.frequency == BUSINESS_DAYS:
            return np.busday_count(np.datetime64(0, "D"), _days(local))
        if self._months:
            return _month(local) // self._months
        return local // self._fixed()

    def is_on(self, times: np.ndarray, anchor: int | np.ndarray) -> np.ndarray:
        """Whether times are whole numbers of steps away from `anchor`."""
        local = self._local(times)
        if self.frequency == BUSINESS_DAYS:
            return np.is_busday(_days(local))
        if self._months:
            return np.ones(len(times), bool)
        return (local - self._local(np.asarray(anchor))) % self._fixed() == 0

    def floor(self, times: np.ndarray) -> np.ndarray:
        """What stands for the steps that times lie in: their beginning, or their last day."""
        local = self._local(times)
        if self.frequency == BUSINESS_DAYS:
            days = np.busday_offset(_days(local), 0, roll="backward")
            return self._utc(_of_days(days))
        if self._months:
            start = self.steps(times) * self._months
            months = start.astype("datetime64[M]") + (0 if self._rule.endswith("S") else self._months - 1)
            return self._utc(_of_days(self._ruled(months.astype("datetime64[D]"), np.ones(len(months), np.int64))))
        # Weeks begin on Mondays, and 1970 on a Thursday.
        shift = 3 * _DAY if self._fixed() % (7 * _DAY) == 0 else 0
        return self._utc((local + shift) // self._fixed() * self._fixed() - shift)

    def times(self, first: int, count: int) -> np.ndarray:
        """The times of `count` steps in a row, the first of them `first`."""
        return self.shifted(first, np.arange(count, dtype=np.int64))

    def shifted(self, first: int, steps: np.ndarray) -> np.ndarray:
        """The times that are whole numbers of steps, which may be negative, after `first`."""
        if self.frequency != BUSINESS_DAYS and not self._months:
            return self._utc(self._local(np.array([first]))[0] + self._fixed() * steps)
        start = self._local(np.array([first]))
        days = _days(start)
        if self.frequency == BUSINESS_DAYS:
            found = np.busday_offset(days, steps, roll="forward")
        else:
            months = (days.astype("datetime64[M]").astype(np.int64) + self._months * steps).astype("datetime64[M]")
            day = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
            found = self._ruled(months.astype("datetime64[D]"), np.repeat(day, len(months)))
        return self._utc(_of_days(found) + (start - _of_days(days)))

    def _ruled(self, firsts: np.ndarray, day: np.ndarray) -> np.ndarray:
        """The day of each month that the frequency means; of "S", the given one where the month has it."""
        ends = (firsts.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
        if self._rule == "BS":
            return np.busday_offset(firsts, 0, roll="forward")
        if self._rule == "BE":
            return np.busday_offset(ends, 0, roll="backward")
        return ends if self._rule == "E" else np.minimum(firsts + (day - 1), ends)

    def _local(self, times: np.ndarray) -> np.ndarray:
        if self._zone is None or not self.is_calendar:
            return times
        return to_local(np.atleast_1d(times), self._zone)

    def _utc(self, times: np.ndarray) -> np.ndarray:
        return times if self._zone is None or not self.is_calendar else to_utc(times, self._zone)

    def _fixed(self) -> int:
        if not self._size:
            raise ValueError(f"steps of frequency {self.frequency!r} have no times")
        return self._size


def infer(times: np.ndarray, zone: str | None = None) -> str:
    """The frequency of the sorted times of one series: the step that comes most often.

    Args:
        times: int64 microseconds since 1970.
        zone: As in `TimeGrid`.

    Raises:
        UsageError: There are fewer than two different times.
    """
    unique = np.unique(times)
    if len(unique) < 2:
        raise UsageError("a frequency cannot be read off fewer than two times: wanted --frequency, such as D")
    step = _most_common_step(unique)
    if step * 2 > _DAY and zone is not None:  # days have 23 and 25 hours too
        unique = np.unique(to_local(unique, zone))
        step = _most_common_step(unique)
    if step == _DAY and len(unique) > 10 and not np.any(pd.DatetimeIndex(_days(unique)).day_of_week >= 5):
        return BUSINESS_DAYS
    if step >= 28 * _DAY and (rule := _rule_of(unique)):
        months = _most_common_step(_month(unique))
        return rule.replace("M", _PERIODS[months]) if months in _PERIODS else f"{months}{rule}"
    for name, size in _UNITS:
        if step % size == 0:
            count = step // size
            return name if count == 1 else f"{count}{name}"
    raise AssertionError("a microsecond divides every step")


def usual_step(times: np.ndarray) -> str:
    """A frequency that people use, at least as long as the median step between the sorted times of a series."""
    median = float(np.median(np.diff(np.unique(times)))) if len(times) > 1 else _DAY
    for name in ("1s", "10s", "1min", "5min", "10min", "30min", "h", "D", "W"):
        if _microseconds(name) >= median:
            return name
    return "MS"


def adapted(frequency: str, times: np.ndarray, zone: str | None = None) -> str:
    """A frequency of months, quarters or years with the days of a table: those that end its months where all do.

    A person writes "M" for months whatever days stand for them.

    Args:
        frequency, zone: As in `TimeGrid`.
        times: As in `infer`.
    """
    found = _CALENDAR.fullmatch(frequency)
    if found is None or not len(times):
        return frequency
    local = np.unique(times if zone is None else to_local(times, zone))
    given = found[2] + "M" + found[4]
    rule = (
        given if found[4] and np.array_equal(_of_days(_days(local)), TimeGrid(given).floor(local)) else _rule_of(local)
    )
    rule = rule or "MS"
    return found[1] + rule.replace("M", found[3].replace("A", "Y"))


def _rule_of(times: np.ndarray) -> str:
    """ "MS" where times have one day of the month, "ME", "BMS" or "BME" where all begin or end months; else nothing."""
    days = _days(times)
    firsts = days.astype("datetime64[M]").astype("datetime64[D]")
    ends = (days.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    day, length = (days - firsts).astype(np.int64) + 1, (ends - firsts).astype(np.int64) + 1
    if len(set(day)) == 1 and not (len(days) == 1 and day[0] == length[0]) and not (day == length).all():
        return "MS"
    if (day == length).all():
        return "ME"
    if (days == np.busday_offset(firsts, 0, roll="forward")).all():
        return "BMS"
    if (days == np.busday_offset(ends, 0, roll="backward")).all():
        return "BME"
    return "MS" if (day == np.minimum(day.max(), length)).all() else ""


def _most_common_step(times: np.ndarray) -> int:
    return int(Counter(np.diff(times).tolist()).most_common(1)[0][0])


def _days(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[us]").astype("datetime64[D]")


def _of_days(days: np.ndarray) -> np.ndarray:
    return days.astype("datetime64[us]").astype(np.int64)


def _month(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def _microseconds(frequency: str) -> int:
    week = re.fullmatch(r"(\d*)W(-[A-Z]{3})?", frequency)
    old = re.fullmatch(r"(\d*)([THSLU])", frequency)
    name = f"{7 * int(week[1] or 1)}D" if week else old[1] + _OLD_UNITS[old[2]] if old else frequency
    try:
        offset = pd.tseries.frequencies.to_offset(name)
        nanoseconds = offset.n * _DAY * 1000 if isinstance(offset, offsets.Day) else pd.Timedelta(offset).value
    except (ValueError, TypeError, AttributeError):
        nanoseconds = 0
    if nanoseconds < 1000 or nanoseconds % 1000:
        raise UsageError(
            f"--frequency {frequency}: wanted a name of pandas, as in 100ms, 10min, h, D, W, B, MS, ME, QE-JAN, YS, or "
            f"{ROWS}"
        )
    return nanoseconds // 1000
