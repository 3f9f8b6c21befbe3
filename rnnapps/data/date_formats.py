"""How people write dates: the format of a column, decided over all of its values, and the moments that they mean.

A format is `ISO8601`, a count (`s`, `ms`, `us`, `ns` since 1970, or `excel`, days as spreadsheets count them), or
strptime's directives, with `%q` for a quarter. One without hours says the date alone; a time of the day, AM or PM and
an offset from UTC may follow it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rnnapps.errors import UsageError

ISO, EXCEL = "ISO8601", "excel"
COUNTS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}  # microseconds of one
EXAMPLES = "2024-01-31 18:00, 31/01/2024, 31-Jan-24, 20240131, 2024Q1, 2024-W05 or seconds since 1970"
NONE = np.iinfo(np.int64).min  # no time; NaT is the same number
NAIVE = np.iinfo(np.int32).min  # a time without an offset from UTC
SECOND = 1_000_000
_EXCEL_1970 = 25_569
CLOCK = re.compile(r"%[HIXcfMSTp]")  # what a format of dates alone has not
_TIME = (
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_WEEKDAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*[,.]? +)?"
_SPLIT = rf"^{_WEEKDAY}(?P<date>.+?)(?:(?:T|,|\s)\s*{_TIME})?$"
_ZONED = r":\d{2}(?:\.\d+)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$"
_MONTHS = {name for i in range(1, 13) for name in (f"{pd.Timestamp(2000, i, 1):%b}", f"{pd.Timestamp(2000, i, 1):%B}")}
# By the shape of a value: formats with a rank. Of several that fit a column, the lowest rank counts. "{}" is what
# stands between the parts; with dots, days come first wherever that is the custom.
_SHAPES: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    (r"\d{4}(-)\d{2}", (("%Y-%m", 0),)),
    (r"\d{4}(-)\d{1,2}\1\d{1,2}|\d{8}T\d{4,6}", ((ISO, 0),)),
    (r"\d{4}([/. ])\d{1,2}\1\d{1,2}", (("%Y{}%m{}%d", 0),)),
    (r"\d{1,2}(\.)\d{1,2}\.\d{4}", (("%d.%m.%Y", 0), ("%m.%d.%Y", 1))),
    (r"\d{1,2}([/ -])\d{1,2}\1\d{4}", (("%d{}%m{}%Y", 0), ("%m{}%d{}%Y", 0))),
    (r"\d{1,2}(\.)\d{1,2}\.\d{2}", (("%d.%m.%y", 0), ("%m.%d.%y", 1), ("%y.%m.%d", 1))),
    (r"\d{1,2}([/ -])\d{1,2}\1\d{2}", (("%d{}%m{}%y", 0), ("%m{}%d{}%y", 0), ("%y{}%m{}%d", 0))),
    (r"\d{1,2}([/.-])\d{4}", (("%m{}%Y", 0),)),
    (r"\d{4}([/.])\d{2}", (("%Y{}%m", 0),)),
    (r"\d{4}([- ]?)Q[1-4]", (("%Y{}Q%q", 0),)),
    (r"Q[1-4]([- /]?)\d{4}", (("Q%q{}%Y", 0),)),
    (r"Q[1-4]([- /])\d{2}", (("Q%q{}%y", 0),)),
    (r"[1-4]Q([- /]?)\d{4}", (("%qQ{}%Y", 0),)),
    (r"[1-4]Q([- /]?)\d{2}", (("%qQ{}%y", 0),)),
    (r"\d{4}(-?)W\d{2}", (("%G{}W%V", 0),)),
    (r"\d{4}(-?)W\d{2}\1[1-7]", (("%G{}W%V{}%u", 0),)),
    (r"\d{4}([- ]?)M\d{1,2}", (("%Y{}M%m", 0),)),
    (r"(1[5-9]|2\d)\d{2}", (("%Y", 0),)),
    (r"\d{6}", (("%Y%m", 0), ("%y%m%d", 1))),
    (r"\d{8}", (("%Y%m%d", 0),)),
    # Digits that read as a date in every row are one: counts hardly do.
    (r"\d{10}", (("%Y%m%d%H", 0),)),
    (r"\d{12}", (("%Y%m%d%H%M", 0),)),
    (r"\d{14}", (("%Y%m%d%H%M%S", 0),)),
    (r"[2-7]\d{4}(\.\d+)?", ((EXCEL, 2),)),
    (r"\d{9,10}(\.\d+)?", (("s", 2),)),
    (r"\d{12,13}(\.\d+)?", (("ms", 2),)),
    (r"\d{15,16}", (("us", 2),)),
    (r"\d{18,19}", (("ns", 2),)),
)


@dataclass(frozen=True)
class Moments:
    """What values mean.

    Attributes:
        times: int64 microseconds since 1970, UTC where there is an offset; `NONE` where a value is no time.
        offsets: int32 seconds from UTC, `NAIVE` where a value has none; None where none has.
    """

    times: np.ndarray
    offsets: np.ndarray | None = None


def check(date_format: str) -> None:
    """Raises UsageError where a text is no format."""
    if date_format in (ISO, EXCEL, *COUNTS):
        return
    try:
        if "%" in date_format:
            written = pd.Timestamp(2024, 1, 1).strftime(date_format.replace("%q", "1"))
            if parse(pd.Series([written], dtype="string"), date_format).times[0] != NONE:
                return
    except (ValueError, TypeError):
        pass
    names = ", ".join((ISO, *COUNTS, EXCEL))
    raise UsageError(f"--date-format {date_format}: wanted strptime's directives, as in %d/%m/%Y, or one of {names}")


def decide(blocks: Iterable[pd.Series], column: str, preferred: str | None = None) -> str | None:
    """The one format that fits a column; None where its first hundred values fit none.

    Args:
        blocks: All values of the column, as text. Read until one format is left.
        column: Its name, for a person.
        preferred: Counts before all others, where it fits.

    Raises:
        UsageError: Several formats fit every value, and mean different times.
    """
    alive: dict[str, int] = {}
    misfits: dict[str, int] = {}
    clashes: dict[frozenset[str], str] = {}
    for block in blocks:
        values = _cleaned(block.dropna().drop_duplicates())
        alive = alive or _first_candidates(values, preferred)
        if len(alive) < 2:
            break
        times = {form: parse(values, form).times for form in alive}
        fits = np.any([found != NONE for found in times.values()], axis=0)
        for form, found in times.items():
            misfits[form] = misfits.get(form, 0) + int((fits & (found == NONE)).sum())
        alive = {form: rank for form, rank in alive.items() if not misfits[form]} or alive
        for pair in itertools.combinations(alive, 2):
            left, right = (times[form] for form in pair)
            differ = fits & (left != right)
            if differ.any():
                clashes.setdefault(frozenset(pair), str(values.iloc[int(differ.argmax())]))
    if not alive:
        return None
    best = min(alive, key=lambda one: (misfits.get(one, 0), alive[one]))
    for other, rank in alive.items():
        value = clashes.get(frozenset((best, other)))
        if value is not None and rank == alive[best] and not misfits.get(other, 0):
            meant = [np.datetime_as_string(np.array(_of(value, one), "M8[us]"), "D") for one in (best, other)]
            told = f"{column!r} holds {value!r}, which is {meant[0]} as {best} and {meant[1]} as {other}"
            raise UsageError(f"{told}, and both fit all rows: wanted --date-format {best} or --date-format {other}")
    return best


def is_plain(date_format: str) -> bool:
    """Whether dates of a format are read in one way by everybody, so that nobody need be told."""
    return date_format == ISO or ("%y" not in date_format and bool(re.search(r"%[bBqV]|%Y[/.-]", date_format)))


def candidates(value: str) -> dict[str, int]:
    """The formats that a value may have, with their ranks."""
    date = _date_of(value)
    found = {
        form.replace("{}", match[1] or "") if "{}" in form else form: rank
        for shape, forms in _SHAPES
        for text in ((value,) if shape.startswith((r"\d{8}T", "[2-7]")) else (date,))
        if (match := re.fullmatch(shape, text))
        for form, rank in forms
    } or _named_months(date)
    return {form: rank for form, rank in found.items() if _of(value, form) != NONE}


def parse(values: pd.Series, date_format: str) -> Moments:
    """The times of texts."""
    values = _cleaned(values)
    if date_format in COUNTS or date_format == EXCEL:
        return Moments(_counted(values, date_format))
    if date_format != ISO and CLOCK.search(date_format):
        stamps = pd.to_datetime(values, format=date_format, errors="coerce", utc=True)
        return Moments(_micro(stamps), _offsets(values) if "%z" in date_format else None)
    whole = np.full(len(values), NONE)
    if date_format == ISO:
        if (naive := _naive(values)) is not None:
            return Moments(naive)
        whole = _micro(pd.to_datetime(values, format=ISO, errors="coerce", utc=True))
        if not ((whole == NONE) & values.notna().to_numpy()).any():
            return Moments(whole, _offsets(values))
    parts = values.str.extract(_SPLIT)
    dates, clock, offsets = _micro(_dates(parts["date"], date_format)), _clock(parts), _seconds_off(parts["zone"])
    there = (dates != NONE) & (clock != NONE)
    off = 0 if offsets is None else np.where(offsets == NAIVE, 0, offsets).astype(np.int64) * SECOND
    times = np.where(there, np.where(there, dates, 0) + np.where(there, clock, 0) - off, NONE)
    return Moments(np.where(whole != NONE, whole, times), _offsets(values) if date_format == ISO else offsets)


def _cleaned(values: pd.Series) -> pd.Series:
    return values.astype("string").str.strip()


def _date_of(value: str) -> str:
    found = re.match(_SPLIT, value)
    return found["date"] if found else value


def _of(value: str, date_format: str) -> int:
    return int(parse(pd.Series([value], dtype="string"), date_format).times[0])


def _first_candidates(values: pd.Series, preferred: str | None) -> dict[str, int]:
    for value in values.iloc[:100]:
        found = candidates(value)
        if preferred is not None and _of(value, preferred) != NONE:
            found[preferred] = -1
        if found:
            return found
    return {}


def _named_months(date: str) -> dict[str, int]:
    """Formats of a date whose month is a word."""
    tokens = re.findall(r"[A-Za-z]+|\d+|[^A-Za-z\d]+", date)
    words = [token for token in tokens if token.isalpha()]
    numbers = [token for token in tokens if token.isdigit()]
    if len(words) != 1 or words[0].capitalize() not in _MONTHS or not 1 <= len(numbers) <= 2:
        return {}
    years = [i for i, number in enumerate(numbers) if len(number) == 4]
    if len(years) > 1 or any(len(number) not in (1, 2, 4) for number in numbers):
        return {}
    if years:
        orders = [(["%Y" if i in years else "%d" for i in range(len(numbers))], 0)]
    elif len(numbers) == 2:
        orders = [(["%d", "%y"], 0), (["%y", "%d"], 1)]
    elif tokens[0] == words[0]:
        orders = [(["%y"], 0)]  # "Jan-22" is a month, and "22-Jan" a day without a year
    else:
        return {}
    found = {}
    for order, rank in orders:
        for month in ("%b", "%B"):
            parts = iter(order)
            form = "".join(month if t.isalpha() else next(parts) if t.isdigit() else t for t in tokens)
            found[form] = rank
    return found


def _micro(stamps: pd.Series) -> np.ndarray:
    if getattr(stamps.dtype, "tz", None) is not None:
        stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    return np.array(stamps.to_numpy("datetime64[us]").astype(np.int64))


def _naive(values: pd.Series) -> np.ndarray | None:
    """The times of ISO 8601 without an offset; None where one has any, or is none: soon told for many values."""
    try:
        stamps = pd.to_datetime(values, format=ISO, errors="coerce")
    except ValueError:  # some have an offset
        return None
    is_naive = getattr(stamps.dtype, "tz", None) is None and stamps.isna().sum() == values.isna().sum()
    return _micro(stamps) if is_naive else None


def _counted(values: pd.Series, unit: str) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    there = np.isfinite(numbers)
    numbers = np.where(there, numbers, 0.0)
    if unit == EXCEL:  # of which decimals give seconds, at most
        found = np.round((numbers - _EXCEL_1970) * 86_400) * SECOND
    else:
        found = np.round(numbers * COUNTS[unit])
    there &= np.abs(found) < 2**62
    return np.where(there, np.where(there, found, 0).astype(np.int64), NONE)


def _dates(texts: pd.Series, form: str) -> pd.Series:
    if "%q" in form:
        shape = re.escape(form).replace("%Y", r"(?P<year>\d{4})").replace("%y", r"(?P<year>\d{2})")
        parts = texts.str.extract("^" + shape.replace("%q", "(?P<quarter>[1-4])") + "$")
        month = (pd.to_numeric(parts["quarter"]) * 3 - 2).astype("string")
        return pd.to_datetime(parts["year"] + "-" + month, format="%Y-%m" if "%Y" in form else "%y-%m", errors="coerce")
    if "%V" in form and "%u" not in form:
        texts, form = texts + "-1", form + "-%u"
    return pd.to_datetime(texts, format=form, errors="coerce")


def _clock(parts: pd.DataFrame) -> np.ndarray:
    """Microseconds since midnight; 0 where there is no time of the day, NONE where it is none."""
    hour, minute, second = (
        pd.to_numeric(parts[name]).fillna(0).to_numpy(np.int64) for name in ("hour", "minute", "second")
    )
    fraction = parts["fraction"].fillna("0").str.slice(0, 6).str.pad(6, "right", "0").to_numpy(str).astype(np.int64)
    half = parts["half"].str.slice(0, 1).str.lower().fillna("").to_numpy(str)
    bad = (minute > 59) | (second > 59) | np.where(half == "", hour > 24, (hour < 1) | (hour > 12))
    hour = np.where(half == "", hour, hour % 12 + 12 * (half == "p"))
    return np.where(bad, NONE, ((hour * 60 + minute) * 60 + second) * SECOND + fraction)


def _offsets(values: pd.Series) -> np.ndarray | None:
    if not values.str.contains(_ZONED.replace("?P<zone>", "?:"), na=False).any():
        return None
    return _seconds_off(values.str.extract(_ZONED)["zone"])


def _seconds_off(zones: pd.Series) -> np.ndarray | None:
    """Seconds from UTC, `NAIVE` where no offset is given; None where none is."""
    if not zones.notna().any():
        return None
    found = {zone: _seconds_of(zone) for zone in zones.dropna().unique()}
    return zones.map(found).fillna(NAIVE).to_numpy(np.int64).astype(np.int32)


def _seconds_of(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    digits, unit = zone[1:].replace(":", "").ljust(4, "0"), -60 if zone[0] == "-" else 60
    return unit * (int(digits[:2]) * 60 + int(digits[2:]))
