"""Values written out in two languages: the same value on both sides, one answer for each source."""

from __future__ import annotations

import datetime
import re
import sys

import pytest

from rnnapps.data.dates import FIRST_YEAR, LAST_YEAR, date_pairs
from rnnapps.errors import RunError, UsageError

MONTHS = {
    "en": ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"],
    "de": ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober",
           "November", "Dezember"],
}  # fmt: skip


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others() -> None:
    first = date_pairs("en", "de", 3, 400)
    assert first == date_pairs("en", "de", 3, 400) and len(first) == 400
    assert first == date_pairs("en", "de", 3, 500)[:400]
    assert len(set(first) & set(date_pairs("en", "de", 4, 400))) < 100


@pytest.mark.parametrize("languages", [("en", "de"), ("de", "en"), ("fr", "en"), ("ja", "pt-BR"), ("zh_Hant", "ar")])
def test_a_source_has_one_target_and_no_space_is_special(languages: tuple[str, str]) -> None:
    pairs = date_pairs(*languages, seed=0, count=3_000)
    assert len({" ".join(pair.source.lower().split()) for pair in pairs}) == len(pairs)
    assert not re.search("[\xa0\u202f]", "".join(text for pair in pairs for text in pair))
    assert all(text.strip() for pair in pairs for text in pair)
    assert not [text for pair in pairs for text in pair if "length-" in text or "volume-" in text]


def test_both_sides_mean_the_same_day() -> None:
    pairs = date_pairs("en", "de", 1, 6_000)
    years = set()
    for source, target in pairs:
        found = re.fullmatch(rf"(?:\w+day, )?({'|'.join(MONTHS['en'])}) (\d+), (\d{{4}})", source)
        if found:
            month, day, year = MONTHS["en"].index(found[1]), int(found[2]), int(found[3])
            assert re.search(rf"(?:^|, ){day}\. {MONTHS['de'][month]} {year}$", target), (source, target)
            weekday = datetime.date(year, month + 1, day).strftime("%A")
            assert ("day," not in source) or (source.startswith(weekday) and "," in target)
            years.add(year)
    assert len(years) > 190 and FIRST_YEAR <= min(years) and max(years) <= LAST_YEAR


def test_every_kind_of_value_is_there() -> None:
    pairs = date_pairs("en", "de", 0, 3_000)
    for source, target in (
        (r"(?!May)\w{3} \d+, \d{4}", r"\d\d\.\d\d\.\d{4}"),
        (r"\w{3} \d+, \d{4}, \d+:\d\d:\d\d [AP]M", r"\d\d\.\d\d\.\d{4}, \d\d:\d\d:\d\d"),
        (r"\d+:\d\d [AP]M", r"\d\d:\d\d"),
        (r"\d+ hours? ago", r"vor \d+ Stunden?"),
        (r"in \d+ days?", r"in \d+ Tag(en)?"),
        (r"-?[\d,]+\.\d{3}", r"-?[\d.]+,\d{3}"),
        (r"[\d,.]+%", r"[\d.,]+ %"),
        (r"[\d,.]+ US dollars?", r"[\d.,]+ US-Dollar"),
        (r"[\d,.]+ liters?", r"[\d.,]+ Liter"),
    ):
        found = [pair for pair in pairs if re.fullmatch(source, pair.source)]
        assert found, source
        assert all(re.fullmatch(target, pair.target) for pair in found), (source, found[:3])


def test_where_two_forms_look_alike_the_longer_one_is_meant() -> None:
    """May is as short as it is long: "May 5, 2020" has two German forms, of which one must be right."""
    targets = [pair.target for pair in date_pairs("en", "de", 0, 6_000) if re.fullmatch(r"May \d+, \d+", pair.source)]
    assert len(targets) > 20 and all(" Mai " in target for target in targets)


def test_numbers_are_the_same_in_both_languages() -> None:
    for source, target in date_pairs("en", "de", 5, 3_000):
        if re.fullmatch(r"-?[\d,.]+", source):
            assert target == source.translate(str.maketrans(",.", ".,"))


def test_wrong_languages_and_counts_get_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for languages, sentence in (
        (("en", "klingon"), "dates knows no language 'klingon': wanted a locale such as de, en"),
        (("", "de"), "dates knows no language ''"),
        (("en", "../de"), "dates knows no language"),
        (("en_US", "en-US"), "the languages are en_US and en-US: wanted two different ones"),
    ):
        with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
            date_pairs(*languages, seed=0, count=10)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr("rnnapps.data.dates._DRAWS_PER_PAIR", 1)
    with pytest.raises(UsageError, match="dates has fewer than 5,000 different pairs"):
        date_pairs("en", "de", 0, 5_000)
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(RunError, match="dates needs babel: pip install babel"):
        date_pairs("en", "de", 0, 10)
