"""How a table writes its times: kept with what was learnt, so that later tables are read and answers written alike."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from rnnapps.data.date_formats import CLOCK, SECOND, parse

_DAYS = re.compile(r"%[djuUWwDxF]")  # what a format of weeks, months, quarters or years has not
# Looked at before all other zones, of which many have the same offsets.
_USUAL = ("Europe/Berlin", "Europe/London", "America/New_York", "America/Chicago", "America/Los_Angeles")


@dataclass(frozen=True)
class TimeForm:
    """How times are written.

    Attributes:
        columns: That hold them together; empty where rows have no times.
        date_format: As in `rnnapps.data.date_formats`; None where columns hold years, months, days... each.
        zone: An offset as `+02:00`, or the name of a zone whose offsets those are; None where times have none.
    """

    columns: tuple[str, ...] = ()
    date_format: str | None = None
    zone: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> TimeForm:
        """What `to_dict` gave; of a run from before there was one, nothing is known."""
        return cls() if values is None else cls(tuple(values["columns"]), values["date_format"], values["zone"])

    def written(self, times: np.ndarray) -> list[str]:
        """Times int64 (microseconds since 1970, UTC where there is a zone) as text: as the table has weeks, months,
        quarters or years, else as 2024-01-31 18:00:00, with the offset of the zone."""
        named = _labels(times, self.date_format) if self.zone is None else None
        if named is not None:
            return named
        local, unit = times, "s" if not (times % SECOND).any() else "ms" if not (times % 1000).any() else "us"
        offsets = np.zeros(len(times), np.int64)
        if self.zone is not None:
            local = to_local(times, self.zone)
            offsets = (local - times) // (60 * SECOND)
        texts = [str(stamp).replace("T", " ") for stamp in local.astype("datetime64[us]").astype(f"datetime64[{unit}]")]
        if self.zone is None:
            return texts
        return [text + _offset(int(minutes)) for text, minutes in zip(texts, offsets, strict=True)]


def _labels(times: np.ndarray, date_format: str | None) -> list[str] | None:
    """Times as a format of weeks, months, quarters or years names them; None where it is none, or cannot."""
    if date_format is None or "%" not in date_format or CLOCK.search(date_format) or _DAYS.search(date_format):
        return None
    stamps = pd.DatetimeIndex(times.astype("datetime64[us]"))
    found = [stamp.strftime(date_format.replace("%q", str(stamp.quarter))) for stamp in stamps]
    back = parse(pd.Series(found, dtype="string"), date_format).times
    return found if np.array_equal(back, times) else None


def find_zone(seen: Iterable[tuple[int, int]], learnt: str | None = None) -> str | None:
    """A zone with the offsets that times have: that offset where there is one, else the name of a zone.

    Args:
        seen: Offsets in seconds, each with a time in microseconds since 1970 that has it; empty for no zone.
        learnt: A zone that counts before all others, where it has those offsets.
    """
    pairs = sorted(set(seen), key=lambda pair: pair[1])
    if not pairs:
        return None
    offsets, times = (np.array(part, np.int64) for part in zip(*pairs, strict=True))
    names = [] if learnt is None else [learnt]
    if len(set(offsets)) > 1:
        known = zoneinfo.available_timezones()
        names += [*(name for name in _USUAL if name in known), *sorted(known)]
    for name in names:
        if np.array_equal(to_local(times, name) - times, offsets * SECOND):
            return name
    return _offset(pairs[-1][0] // 60)


def to_local(times: np.ndarray, zone: str) -> np.ndarray:
    """What clocks show in a zone: int64 microseconds, of int64 microseconds UTC."""
    stamps = pd.DatetimeIndex(times.astype("datetime64[us]")).tz_localize("UTC").tz_convert(_zone(zone))
    return np.array(stamps.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64))


def to_utc(times: np.ndarray, zone: str) -> np.ndarray:
    """The way back: of an hour that clocks show twice the first, of one that they leave out the next."""
    stamps = pd.DatetimeIndex(times.astype("datetime64[us]"))
    stamps = stamps.tz_localize(_zone(zone), ambiguous=np.ones(len(times), bool), nonexistent="shift_forward")
    return np.array(stamps.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]").astype(np.int64))


def _zone(name: str) -> datetime.tzinfo:
    if name[0] not in "+-":
        return zoneinfo.ZoneInfo(name)
    hours, minutes = name[1:].split(":")
    found = datetime.timedelta(hours=int(hours), minutes=int(minutes))
    return datetime.timezone(-found if name[0] == "-" else found)


def _offset(minutes: int) -> str:
    sign, minutes = "-" if minutes < 0 else "+", abs(minutes)
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
