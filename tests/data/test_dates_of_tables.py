"""Dates as people write them: one reading of a whole column, kept for the next table, or a sentence."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from rnnapps.data import date_formats, time_columns
from rnnapps.data.date_formats import candidates, check, decide, parse
from rnnapps.data.gather import Reading, prepare
from rnnapps.data.panel import Panel
from rnnapps.data.table import Columns, Table
from rnnapps.data.time_form import TimeForm, find_zone
from rnnapps.errors import UsageError

Y = Columns(("y",), ("date",))
MONTHS = pd.date_range("2010-01-01", periods=160, freq="MS")


def texts(*values):
    return pd.Series(values, dtype="string")


def moment(value, date_format):
    return str(np.datetime64(int(parse(texts(value), date_format).times[0]), "us").astype("datetime64[ms]"))


def panel_of(tmp_path, dates, columns=Y, name="x.csv", **reading):
    path, folder = tmp_path / name, tmp_path / f"{name}.panel"
    folder.mkdir()
    path.write_text("date,y\n" + "".join(f"{date},{i}\n" for i, date in enumerate(dates)), encoding="utf-8")
    return prepare([Table(path)], columns, folder, reading=Reading(**reading))


def ahead(panel, count=2):
    """The times after the end of a panel's first series, as they are printed."""
    length = panel.series[0].length
    return panel.written(panel.stamps(0, np.arange(length, length + count)))


# === One value ===


@pytest.mark.parametrize(
    ("value", "date_format", "meant"),
    [
        ("2024-01-31", "ISO8601", "2024-01-31T00:00"),
        ("2024-01-31 18:00:00.250", "ISO8601", "2024-01-31T18:00:00.250"),
        ("2024-01-31T18:00+02:00", "ISO8601", "2024-01-31T16:00"),
        ("2024-01-31 18:00:00 UTC", "ISO8601", "2024-01-31T18:00"),
        ("2024-01-31 06:00 PM", "ISO8601", "2024-01-31T18:00"),
        ("20240131T1800", "ISO8601", "2024-01-31T18:00"),
        ("2024-01", "%Y-%m", "2024-01-01T00:00"),
        ("31.01.2024", "%d.%m.%Y", "2024-01-31T00:00"),
        ("31/1/2024 18:00", "%d/%m/%Y", "2024-01-31T18:00"),
        ("31/01/2024 18.00.30", "%d/%m/%Y", "2024-01-31T18:00:30"),
        ("1/31/2024 12:05 AM", "%m/%d/%Y", "2024-01-31T00:05"),
        ("2024/01/31", "%Y/%m/%d", "2024-01-31T00:00"),
        ("31-Jan-24", "%d-%b-%y", "2024-01-31T00:00"),
        ("January 31, 2024", "%B %d, %Y", "2024-01-31T00:00"),
        ("Wed, 31 Jan 2024 18:00:00 GMT", "%d %b %Y", "2024-01-31T18:00"),
        ("Jan-24", "%b-%y", "2024-01-01T00:00"),
        ("01/2024", "%m/%Y", "2024-01-01T00:00"),
        ("2024Q3", "%YQ%q", "2024-07-01T00:00"),
        ("Q3 2024", "Q%q %Y", "2024-07-01T00:00"),
        ("2024-W05", "%G-W%V", "2024-01-29T00:00"),
        ("2024M02", "%YM%m", "2024-02-01T00:00"),
        ("2024", "%Y", "2024-01-01T00:00"),
        ("202402", "%Y%m", "2024-02-01T00:00"),
        ("20240131", "%Y%m%d", "2024-01-31T00:00"),
        ("1706724000", "s", "2024-01-31T18:00"),
        ("1706724000250", "ms", "2024-01-31T18:00:00.250"),
        ("1706724000250000", "us", "2024-01-31T18:00:00.250"),
        ("1706724000250000000", "ns", "2024-01-31T18:00:00.250"),
        ("45322.75", "excel", "2024-01-31T18:00"),
    ],
)
def test_a_date_is_known_by_its_shape(value, date_format, meant):
    assert date_format in candidates(value)
    assert moment(value, date_format) == str(np.datetime64(meant, "ms"))


@pytest.mark.parametrize("value", ["foo", "2024-13-01", "31/31/2024", "22-Jan", "100", "2024-01-31 25:00", "12:30", ""])
def test_what_is_no_date_is_none(value):
    assert not candidates(value)


def test_a_format_is_checked():
    for form in ("%d/%m/%Y", "%YQ%q", "%d.%m.%Y %H:%M", "s", "excel", "ISO8601"):
        check(form)
    for form in ("dd/mm/yyyy", "%", "%k", "day"):
        with pytest.raises(UsageError, match=re.escape(f"--date-format {form}: wanted strptime's directives")):
            check(form)


# === A column ===


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_order_of_day_and_month_is_decided_over_the_whole_column(rows):
    days = pd.date_range("2022-01-01", periods=60, freq="D")
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        column = texts(*days.strftime(form))
        blocks = [column[start : start + rows] for start in range(0, 60, rows)]
        assert decide(blocks, "date") == form


def test_where_both_orders_fit_a_sentence_asks():
    sentence = (
        "'date' holds '01/02/2010', which is 2010-02-01 as %d/%m/%Y and 2010-01-02 as %m/%d/%Y, and both fit all rows: "
        "wanted --date-format %d/%m/%Y or --date-format %m/%d/%Y"
    )
    with pytest.raises(UsageError, match=re.escape(sentence)):
        decide([texts(*MONTHS.strftime("%d/%m/%Y"))], "date")
    assert decide([texts("01/01/2010", "02/02/2010")], "date") == "%d/%m/%Y"  # both mean the same
    assert decide([texts(*MONTHS.strftime("%d.%m.%Y"))], "date") == "%d.%m.%Y"  # with dots, days come first


def test_what_was_learnt_decides_where_it_fits():
    both, month_first = texts("01/02/2010", "01/03/2010"), texts("01/02/2010", "01/13/2010")
    assert decide([both], "date", "%d/%m/%Y") == "%d/%m/%Y" and decide([both], "date", "%m/%d/%Y") == "%m/%d/%Y"
    assert decide([month_first], "date", "%d/%m/%Y") == "%m/%d/%Y"
    assert decide([texts("2010-01-01")], "date", "%d/%m/%Y") == "ISO8601"


def test_digits_that_are_dates_in_every_row_are_dates_and_else_counts():
    assert decide([texts("2024013100", "2024013101")], "date") == "%Y%m%d%H"
    assert decide([texts("2024013100", "2024013199")], "date") == "s"


def test_a_value_that_fits_no_order_is_told_by_row(tmp_path):
    dates = ["13/01/2020", "14/01/2020", "01/15/2020"]
    with pytest.raises(UsageError, match=r"row 3: 'date' holds '01/15/2020', wanted a date or time"):
        panel_of(tmp_path, dates)


# === A table ===


def test_the_format_is_kept_and_used_for_the_next_table(tmp_path):
    dates = MONTHS.strftime("%d/%m/%Y")
    panel = panel_of(tmp_path, dates, date_format="%d/%m/%Y")
    assert panel.grid.frequency == "MS" and panel.values.shape == (160, 1)
    assert ahead(panel) == ["2023-05-01 00:00:00", "2023-06-01 00:00:00"]
    assert panel.notes == ["times of 'date' are read as %d/%m/%Y, the first as 2010-01-01 00:00:00"]
    form = Panel.open(panel.folder).time_form
    assert form == TimeForm(("date",), "%d/%m/%Y") == TimeForm.from_dict(form.to_dict())
    later = panel_of(tmp_path, dates[:12], name="later.csv", learnt=form, frequency="MS")
    assert later.values.shape == (12, 1) and ahead(later, 1) == ["2011-01-01 00:00:00"]


def test_a_panel_from_before_there_were_forms_opens(tmp_path):
    panel = panel_of(tmp_path, pd.date_range("2020-01-01", periods=20).date)
    path = panel.folder / "panel.json"
    content = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("time_form", "firsts")}
    path.write_text(json.dumps(content))
    assert ahead(Panel.open(panel.folder)) == ahead(panel) == ["2020-01-21 00:00:00", "2020-01-22 00:00:00"]


@pytest.mark.parametrize(
    ("dates", "frequency", "following"),
    [
        ([f"{y}Q{q}" for y in (2020, 2021, 2022) for q in (1, 2, 3, 4)], "QS", ["2023Q1", "2023Q2"]),
        ([f"2021-W{w:02d}" for w in range(1, 53)], "7D", ["2022-W01", "2022-W02"]),
        ([f"{y}M{m:02d}" for y in (2020, 2021) for m in range(1, 13)], "MS", ["2022M01", "2022M02"]),
        (list(range(1990, 2010)), "YS", ["2010", "2011"]),
        (list(MONTHS.strftime("%b-%y")), "MS", ["May-23", "Jun-23"]),
        ([1704067200 + 3600 * i for i in range(48)], "h", ["2024-01-03 00:00:00", "2024-01-03 01:00:00"]),
        ([44562 + i for i in range(40)], "D", ["2022-02-10 00:00:00", "2022-02-11 00:00:00"]),
    ],
)
def test_forecasts_carry_the_names_of_the_table(tmp_path, dates, frequency, following):
    panel = panel_of(tmp_path, dates)
    assert panel.grid.frequency == frequency and ahead(panel) == following
    np.testing.assert_array_equal(panel.values[:, 0], np.arange(len(dates)))


def frame(**columns):
    return pd.DataFrame({name: pd.Series(values, dtype="string") for name, values in columns.items()})


def test_the_columns_of_times_are_found():
    def find(taken=(), **columns):
        return time_columns.find(frame(**columns), taken)

    assert find(y=["1", "2"], when=["01.01.2022", "02.01.2022"]) == (("when",), "")
    assert find(Date=["01/02/2022"], y=["1"], Time=["18:00:00"]) == (("Date", "Time"), "")
    assert find(Date=["01/02/2022"], y=["1"], Time=["18.00.00"]) == (("Date", "Time"), "")
    assert find(y=["1"], Year=["2020"], Month=["1"]) == (("Year", "Month"), "")
    assert find(timestamp=["1704067200"], y=["1"]) == (("timestamp",), "")
    assert find(OrderDate=["44562"]) == (("OrderDate",), "") and find(sales=["44562"]) == ((), "")
    assert find(("date",), date=["44562"]) == ((), "")


def test_nobody_loses_times_without_being_told():
    with pytest.raises(UsageError, match="column 'date' holds 'yesterday', which is no date or time that can be read"):
        time_columns.find(frame(date=["yesterday", "today"]))
    assert "rows are numbered" in time_columns.find(frame(time=["0", "1"]))[1]
    assert "--time u reads it" in time_columns.find(frame(u=["1704067200", "1704070800"]))[1]


# === Zones ===


def test_offsets_of_a_zone_are_read_and_answered_in_it(tmp_path):
    hours = pd.date_range("2024-01-01", periods=2400, freq="h", tz="Europe/Berlin")
    panel = panel_of(tmp_path, [hour.isoformat() for hour in hours])
    assert panel.grid.frequency == "h" and panel.values.shape == (2400, 1) and not panel.notes
    assert ahead(panel, 1) == ["2024-04-10 01:00:00+02:00"]
    assert panel.times[0] == pd.Timestamp("2023-12-31 23:00").timestamp()


def test_the_zone_that_was_learnt_counts_where_it_fits(tmp_path):
    march = [f"2024-03-{day}T00:00+01:00" for day in range(10, 30)]
    learnt = TimeForm(("date",), "ISO8601", "Europe/Berlin")
    panel = panel_of(tmp_path, march, learnt=learnt)
    assert ahead(panel, 3) == [f"2024-03-{day} 00:00:00+01:00" for day in (30, 31)] + ["2024-04-01 00:00:00+02:00"]
    other = panel_of(tmp_path, march, name="other.csv", learnt=TimeForm(("date",), "ISO8601", "America/New_York"))
    assert other.time_form.zone == "+01:00"


def test_days_of_a_zone_with_summer_time_are_days(tmp_path):
    days = pd.date_range("2024-03-01", periods=60, freq="D", tz="America/New_York")
    panel = panel_of(tmp_path, [day.isoformat() for day in days])
    assert panel.grid.frequency == "D" and panel.values.shape == (60, 1)
    assert ahead(panel, 1) == ["2024-04-30 00:00:00-04:00"]


def test_one_offset_is_kept_and_utc_is_said(tmp_path):
    days = pd.date_range("2024-01-01", periods=30, freq="D")
    panel = panel_of(tmp_path, [f"{day} UTC" for day in days])
    assert ahead(panel, 1) == ["2024-01-31 00:00:00+00:00"]
    other = panel_of(tmp_path, [f"{day}-03:30" for day in days], name="other.csv")
    assert ahead(other, 1) == ["2024-01-31 00:00:00-03:30"]
    assert find_zone([]) is None


def test_a_time_without_an_offset_among_others_is_refused(tmp_path):
    dates = ["2024-01-01T00:00+01:00", "2024-01-02T00:00", "2024-01-03T00:00+01:00"]
    with pytest.raises(UsageError, match="row 2: 'date' holds '2024-01-02T00:00', wanted an offset from UTC"):
        panel_of(tmp_path, dates)


def test_times_without_an_offset_in_another_file_are_refused(tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    paths[0].write_text("date,y\n2024-01-01T00:00Z,1\n2024-01-02T00:00Z,1\n")
    paths[1].write_text("date,y\n2024-01-03,1\n")
    (tmp_path / "panel").mkdir()
    with pytest.raises(UsageError, match="b.csv, row 1: a time without an offset from UTC, wanted one"):
        prepare([Table(path) for path in paths], Y, tmp_path / "panel")


def test_what_years_of_two_digits_mean_is_told(tmp_path):
    panel = panel_of(tmp_path, pd.date_range("1949-01-01", periods=30, freq="MS").strftime("%b-%y"))
    assert panel.notes == ["times of 'date' are read as %b-%y, the first as 2049-01-01 00:00:00"]
    assert ahead(panel) == ["Jul-51", "Aug-51"]


def test_parquet_keeps_its_own_times_and_zone(tmp_path):
    pytest.importorskip("pyarrow")
    days = pd.date_range("2024-03-01", periods=60, freq="D", tz="Europe/Paris")
    for name, dates in (("zone", days), ("naive", days.tz_localize(None)), ("dates", days.date)):
        pd.DataFrame({"date": dates, "y": range(60)}).to_parquet(tmp_path / f"{name}.parquet")
        table, folder = Table(tmp_path / f"{name}.parquet"), tmp_path / name
        folder.mkdir()
        assert table.time_columns() == ("date",)
        panel = prepare([table], Y, folder)
        assert panel.values.shape == (60, 1)
        assert ahead(panel, 1) == ["2024-04-30 00:00:00" + ("+02:00" if name == "zone" else "")]


def test_a_column_of_none_is_told(tmp_path):
    assert date_formats.decide([texts("foo", "bar")], "date") is None
    with pytest.raises(UsageError, match="row 1: 'date' holds 'foo', wanted a date or time, as in"):
        panel_of(tmp_path, ["foo", "bar"])
