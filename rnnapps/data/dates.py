"""Dates, times, numbers, money and units written out in two languages: pairs whose right answer is known."""

from __future__ import annotations

import datetime
import functools
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from rnnapps.data.pair_files import Pair
from rnnapps.errors import RunError, UsageError

FIRST_YEAR, LAST_YEAR = 1900, 2099

# From a locale to text; the forms of one value go from the longest to the shortest.
Form = Callable[[Any], str]

_CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "CNY", "INR", "BRL", "SEK", "MXN")
_UNITS = (
    "length-kilometer", "length-meter", "length-centimeter", "length-mile", "mass-kilogram", "mass-gram",
    "volume-liter", "temperature-celsius", "speed-kilometer-per-hour", "area-square-meter", "digital-megabyte",
    "duration-second", "duration-minute", "duration-hour", "duration-day", "duration-week", "duration-month",
    "duration-year",
)  # fmt: skip
_INTERVALS = ("seconds", "minutes", "hours", "days", "weeks")
# Both stand for a plain space that may not end a line, and look like one.
_SPACES = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " "})
_SOME_LOCALES = "de, en, es, fr, it, ja, nl, pl, pt_BR, ru, sv, tr, zh"
_DRAWS_PER_PAIR = 50


def date_pairs(source_language: str, target_language: str, seed: int, count: int) -> list[Pair]:
    """Values drawn by lot and written in the same form in two languages, as CLDR says through `babel`.

    Among them are dates of the years 1900 to 2099 in three forms, times, dates with times, intervals, decimal numbers,
    percentages, amounts of money and measures with their units. Where a language writes two forms of a value alike,
    the longer one is meant. No-break spaces are plain spaces.

    Args:
        source_language, target_language: Locales that babel knows, such as `"en"` or `"pt_BR"`.
        seed: Of the lot; the same pairs for the same seed and version of babel.
        count: Number of pairs.

    Returns:
        Pairs in the order of the lot; no two have sources that differ in capitals and spaces alone.

    Raises:
        UsageError: A locale is unknown, both are the same, or there are not so many pairs.
        RunError: babel is not there.
    """
    source, target = _locale(source_language), _locale(target_language)
    if source == target:
        raise UsageError(f"the languages are {source_language} and {target_language}: wanted two different ones")
    rng = random.Random(f"{seed}")
    found: dict[str, Pair] = {}
    for _ in range(_DRAWS_PER_PAIR * count):
        if len(found) == count:
            break
        kind = rng.choices(_KINDS, _WEIGHTS)[0]
        forms = kind(rng)
        pair = _written(forms, rng.randrange(len(forms)), source, target)
        if pair is not None:
            found.setdefault(" ".join(pair.source.lower().split()), pair)
    if len(found) < count:
        raise UsageError(f"dates has fewer than {count:,} different pairs: wanted at most {len(found):,}")
    return list(found.values())


def _written(forms: Sequence[Form], number: int, source: Any, target: Any) -> Pair | None:
    """A value in one of its forms; None where a locale has no words for it."""
    try:
        text = forms[number](source)
        # Such as "May 5, 2020", which is both the long and the medium form in English, but in no other language.
        form = next(form for form in forms if form(source) == text)
        pair = Pair(text.translate(_SPACES), form(target).translate(_SPACES))
    except (_NoWords, KeyError, IndexError, AttributeError):  # babel's, for a locale that lacks a table
        return None
    return pair if pair.source.strip() and pair.target.strip() else None


class _NoWords(Exception):
    pass


def _locale(language: str) -> Any:
    try:
        from babel import Locale, UnknownLocaleError
    except ImportError as error:
        raise RunError("the data set dates needs babel: pip install babel") from error
    try:
        return Locale.parse(language.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        raise UsageError(f"dates knows no language {language!r}: wanted a locale such as {_SOME_LOCALES}") from None


def _day(rng: random.Random) -> datetime.date:
    first, last = datetime.date(FIRST_YEAR, 1, 1), datetime.date(LAST_YEAR, 12, 31)
    return datetime.date.fromordinal(rng.randint(first.toordinal(), last.toordinal()))


def _clock(rng: random.Random) -> datetime.time:
    return datetime.time(rng.randrange(24), rng.randrange(60), rng.randrange(60))


def _number(rng: random.Random, places: int) -> Decimal:
    """Of one to seven digits before the point, each count as likely, and at most `places` behind it."""
    whole = rng.randrange(10 ** rng.randint(1, 7))
    behind = rng.randint(0, places)
    return Decimal(whole) + Decimal(rng.randrange(10**behind)).scaleb(-behind)


def _date(rng: random.Random) -> list[Form]:
    from babel.dates import format_date

    day = _day(rng)
    return [functools.partial(format_date, day, form) for form in ("full", "long", "medium")]


def _date_time(rng: random.Random) -> list[Form]:
    from babel.dates import format_datetime

    moment = datetime.datetime.combine(_day(rng), _clock(rng))
    return [functools.partial(format_datetime, moment, form, None) for form in ("long", "medium")]


def _time(rng: random.Random) -> list[Form]:
    from babel.dates import format_time

    clock = _clock(rng)
    return [functools.partial(format_time, clock, form, None) for form in ("medium", "short")]


def _interval(rng: random.Random) -> list[Form]:
    from babel.dates import format_timedelta

    delta = datetime.timedelta(**{rng.choice(_INTERVALS): rng.choice((-1, 1)) * rng.randint(1, 500)})
    return [lambda locale: format_timedelta(delta, add_direction=True, format="long", locale=locale)]


def _decimal(rng: random.Random) -> list[Form]:
    from babel.numbers import format_decimal

    value = _number(rng, 3) * rng.choice((1, 1, 1, -1))
    return [lambda locale: format_decimal(value, locale=locale)]


def _percent(rng: random.Random) -> list[Form]:
    from babel.numbers import format_percent

    value = Decimal(rng.randrange(10 ** rng.randint(1, 5))).scaleb(-rng.randint(2, 4))
    return [lambda locale: format_percent(value, locale=locale, decimal_quantization=False)]


def _money(rng: random.Random) -> list[Form]:
    from babel.numbers import format_currency

    value, currency = _number(rng, 2), rng.choice(_CURRENCIES)
    return [lambda locale: format_currency(value, currency, locale=locale, format_type="name")]


def _measure(rng: random.Random) -> list[Form]:
    from babel.units import format_unit

    unit = rng.choice(_UNITS)
    value = _number(rng, 1) if rng.random() < 0.5 else Decimal(rng.randint(1, 100))

    def written(locale: Any) -> str:
        text = format_unit(value, unit, "long", locale=locale)
        if unit in text:  # What babel does with a unit that the locale does not have.
            raise _NoWords
        return str(text)

    return [written]


_KINDS = (_date, _date_time, _time, _interval, _decimal, _percent, _money, _measure)
_WEIGHTS = (8, 3, 1, 1, 2, 1, 2, 2)
