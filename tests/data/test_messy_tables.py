"""Tables as programs and people write them: names, grids, doubles, packed files, decimals, irregular steps."""

import bz2
import gzip
import io
import lzma
import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from rnnapps.data import table as tables
from rnnapps.data.gather import Reading, prepare
from rnnapps.data.table import Columns, Table
from rnnapps.data.time_grid import TimeGrid, adapted, infer
from rnnapps.errors import UsageError

Y = Columns(("y",), ("date",))
NAMED = Columns(("y",), ("date",), "s")
DAYS = pd.date_range("2022-01-01", periods=40, freq="D")


def microseconds(stamps):
    return stamps.to_numpy("datetime64[us]").astype(np.int64)


def table(path, content, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Table(path, **options)


def panel_of(tmp_path, content, columns=Y, reading=None, name="x.csv", **options):
    folder = tmp_path / "panel"
    folder.mkdir()
    return prepare([table(tmp_path / name, content, **options)], columns, folder, reading=reading)


def rows(stamps, values=None):
    values = range(len(stamps)) if values is None else values
    return "date,y\n" + "".join(f"{stamp},{value}\n" for stamp, value in zip(stamps, values, strict=True))


# === Names ===


@pytest.mark.parametrize("size", [1, 3, 100])
def test_names_of_series_are_text(tmp_path, size, monkeypatch):
    """Whatever else stands in their column, and wherever blocks of rows end."""
    monkeypatch.setattr(tables.Table.blocks, "__defaults__", (size,))
    names = ["0007", "1", "3.0", "NA", "null", "1e3", "True", "0012", "2020-01-01"]
    lines = [f"{name},{day.date()},{i}" for i, name in enumerate(names) for day in DAYS[:4]]
    panel = panel_of(tmp_path, "s,date,y\n" + "\n".join(lines), NAMED)
    assert [(one.name, one.length) for one in panel.series] == [(name, 4) for name in names]
    np.testing.assert_array_equal(panel.values[:, 0], np.repeat(np.arange(9), 4))


def test_blanks_around_names_and_in_the_header_are_left_out(tmp_path):
    found = panel_of(tmp_path, "s , date, y \nA,2020-01-01,1\nA ,2020-01-02,2\n a b,2020-01-01,3\n", NAMED)
    assert [one.name for one in found.series] == ["A", "a b"]


def test_an_empty_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match="row 2: 's' holds nothing, wanted the name of a series"):
        panel_of(tmp_path, "s,date,y\nA,2020-01-01,1\n,2020-01-02,2\n", NAMED)


def test_truth_is_a_number_with_gaps_too(tmp_path):
    panel = panel_of(tmp_path, rows(DAYS[:3].date, ["True", "", "False"]))
    np.testing.assert_array_equal(panel.values[:, 0], [1, np.nan, 0])


# === Grids ===


@pytest.mark.parametrize(
    ("alias", "frequency"),
    [
        ("MS", "MS"), ("ME", "ME"), ("BMS", "BMS"), ("BME", "BME"), ("2MS", "2MS"), ("QS", "QS"), ("QE", "QE"),
        ("QS-FEB", "QS"), ("QE-JAN", "QE"), ("BQE-DEC", "BQE"), ("YS", "YS"), ("YE", "YE"), ("YS-APR", "YS"),
        ("YE-JUN", "YE"), ("100ms", "100ms"), ("15min", "15min"), ("W-SUN", "7D"),
    ],
)  # fmt: skip
def test_steps_carry_the_convention_of_the_table(alias, frequency):
    times = microseconds(pd.date_range("1999-02-14", periods=40, freq=alias))
    assert infer(times[:30]) == frequency
    for name in (frequency, alias):
        grid = TimeGrid(adapted(name, times[:30]))
        np.testing.assert_array_equal(grid.times(int(times[0]), 40), times)
        np.testing.assert_array_equal(grid.steps(times) - grid.steps(times[:1]), np.arange(40))
        np.testing.assert_array_equal(grid.shifted(int(times[30]), np.arange(-30, 10)), times)


def test_the_fifteenth_and_the_time_of_the_day_stay():
    fifteenth = microseconds(pd.date_range("2019-12-01", periods=30, freq="MS") + pd.Timedelta("14D 16h"))
    assert infer(fifteenth) == "MS"
    np.testing.assert_array_equal(TimeGrid("MS").times(int(fifteenth[0]), 30), fifteenth)
    closing = microseconds(pd.date_range("2022-01-03 16:00", periods=30, freq="B"))
    np.testing.assert_array_equal(TimeGrid(infer(closing)).times(int(closing[0]), 30), closing)


def test_months_by_any_name_keep_the_days_of_the_table():
    ends = microseconds(pd.date_range("2020-01-31", periods=12, freq="ME"))
    assert adapted("MS", ends) == adapted("M", ends) == adapted("ME", ends[1:2]) == "ME"
    starts = microseconds(pd.date_range("2020-01-01", periods=12, freq="MS"))
    assert adapted("M", starts) == adapted("ME", starts) == "MS" and adapted("A-DEC", starts[::12]) == "YS"
    assert adapted("BME", ends[:1]) == "BME"  # the 31st of January 2020 is a Friday: it is both


@pytest.mark.parametrize(("old", "seconds"), [("15T", 900), ("H", 3600), ("2W", 14 * 86_400), ("W-SUN", 7 * 86_400)])
def test_names_that_pandas_has_or_had(old, seconds):
    assert TimeGrid(old).seconds == seconds


def test_fractions_of_seconds_are_steps(tmp_path):
    stamps = [
        stamp.isoformat(timespec="milliseconds") for stamp in pd.date_range("2022-01-01", periods=50, freq="100ms")
    ]
    panel = panel_of(tmp_path, rows(stamps))
    assert panel.grid.frequency == "100ms" and not panel.notes
    np.testing.assert_array_equal(panel.values[:, 0], np.arange(50))
    assert panel.written(panel.stamps(0, np.array([50, 51]))) == ["2022-01-01 00:00:05.000", "2022-01-01 00:00:05.100"]


def test_the_frequency_is_that_of_the_longest_series(tmp_path):
    lines = ["s,date,y", "A,2020-01-01,1", *(f"B,{day.date()},1" for day in DAYS)]
    panel = panel_of(tmp_path, "\n".join(lines), NAMED)
    assert panel.grid.frequency == "D" and [one.length for one in panel.series] == [1, 40]


# === Doubles ===


def test_a_forgotten_series_is_refused_by_name(tmp_path):
    lines = [
        f"{day.date()},{s},{i % 7 / 7:.3f},{i * (k + 1)}" for k, s in enumerate("abc") for i, day in enumerate(DAYS)
    ]
    sentence = (
        "78 of 120 rows have the time of an earlier row of their series, and other values: wanted --series shop, which "
        "tells them apart"
    )
    with pytest.raises(UsageError, match=re.escape(sentence)):
        panel_of(tmp_path, "date,shop,z,y\n" + "\n".join(lines))


def test_a_forgotten_time_of_the_day_is_refused_by_name(tmp_path):
    hours = pd.date_range("2022-01-20", periods=100, freq="h")
    content = "Date,Time,y\n" + "".join(f"{hour:%d/%m/%Y},{hour:%H:%M},{i}\n" for i, hour in enumerate(hours))
    with pytest.raises(UsageError, match="95 of 100 rows .* wanted --time Date Time, as 'Time' holds times of the day"):
        panel_of(tmp_path, content, Columns(("y",), ("Date",)))
    (tmp_path / "both").mkdir()
    panel = prepare([Table(tmp_path / "x.csv")], Columns(("y",), ("Date", "Time")), tmp_path / "both")
    assert panel.grid.frequency == "h" and panel.values.shape == (100, 1)


def test_steps_that_are_too_long_are_refused(tmp_path):
    with pytest.raises(UsageError, match="in steps of MS: wanted --resample MS, which takes the means of its steps"):
        panel_of(tmp_path, rows(DAYS.date), reading=Reading("MS"))


def test_rows_twice_and_rows_that_complete_each_other_are_told_and_kept(tmp_path):
    columns = Columns(("y",), ("date",), future=("p",))
    known = [f"{day.date()},{i},5" for i, day in enumerate(DAYS)]
    price = [f"{day.date()},,5" for day in DAYS]
    for name, lines in (("first", price + known), ("last", known + price), ("twice", known + known)):
        (tmp_path / name).mkdir()
        panel = panel_of(tmp_path / name, "date,y,p\n" + "\n".join(lines), columns)
        np.testing.assert_array_equal(panel.values, np.stack([np.arange(40), np.full(40, 5)], 1))
        assert len(panel.notes) == 1 and panel.notes[0].startswith("40 rows have the time of an earlier row")


def test_a_table_may_hold_only_what_is_known_of_the_future(tmp_path):
    columns = Columns(("y",), ("date",), "s", ("past",), ("price",))
    history = "date,s,y,past,price\n" + "".join(f"{day.date()},NA,{i},2,1\n" for i, day in enumerate(DAYS[:30]))
    future = "date,s,price\n" + "".join(f"{day.date()},NA,3\n" for day in DAYS[30:])
    one, other = table(tmp_path / "history.csv", history), table(tmp_path / "future.csv", future)
    for name, order in (("a", (one, other)), ("b", (other, one))):
        (tmp_path / name).mkdir()
        panel = prepare(order, columns, tmp_path / name)
        assert panel.values.shape == (40, 3) and np.isnan(panel.values[30:, :2]).all()
        np.testing.assert_array_equal(panel.values[:, 2], np.repeat([1, 3], [30, 10]))
    with pytest.raises(UsageError, match="future.csv has no column 'past'"):
        list(other.blocks(Columns(("price",), ("date",), "s", ("past",))))


# === Files ===


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_dot_", "."), content)
        archive.writestr("__MACOSX/._x.csv", b"\0\1")
    return packed.getvalue()


PLAIN = rows(DAYS.date).encode()


@pytest.mark.parametrize(
    "content",
    [gzip.compress(PLAIN), bz2.compress(PLAIN), lzma.compress(PLAIN), zipped(x_dot_csv=PLAIN)],
    ids=["gzip", "bzip2", "xz", "zip"],
)
def test_packed_files_are_read(tmp_path, content):
    panel = panel_of(tmp_path, content)
    np.testing.assert_array_equal(panel.values[:, 0], np.arange(40))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(PLAIN)[:60], "x.csv is packed, and damaged"),
        (bz2.compress(PLAIN)[:60], "x.csv is packed, and damaged"),
        (zipped(a=PLAIN, b=PLAIN), "x.csv is an archive of 2 files, the first 'a': wanted one table"),
        (b"PK\3\4", "x.csv is packed, and damaged"),
        (gzip.compress(b""), "x.csv is empty"),
    ],
    ids=["gzip", "bzip2", "two files", "zip", "nothing"],  # gzip writes the time
)
def test_packed_files_that_are_none_get_a_sentence(tmp_path, content, sentence):
    with pytest.raises(UsageError, match=sentence):
        panel_of(tmp_path, content)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ("1234.5", {}),
        ("1234,5", {"decimal": ","}),
        ("1.234,5", {"decimal": ",", "thousands": "."}),
        ("1,234.5", {"thousands": ","}),
        ("1 234,5", {"decimal": ",", "thousands": " "}),
    ],
)
def test_decimals_and_thousands(tmp_path, written, options):
    lines = [f"{day.date()};{written}" for day in DAYS[:3]]
    for name, more in (("whole", []), ("gap", ["2022-01-04; "])):  # a blank makes a column of text of it
        (tmp_path / name).mkdir()
        content = "date;y\n" + "\n".join([*lines, *more])
        if more:
            content = content.replace("; \n", ";\n")
        panel = panel_of(tmp_path / name, content, **options)
        np.testing.assert_array_equal(panel.values[:3, 0], 1234.5)


@pytest.mark.parametrize(
    ("written", "options", "hint"),
    [
        ("2,6", {}, "wanted a number, which it is with --decimal ,"),
        ("1.234,5", {}, "which it is with --decimal , --thousands ."),
        ("1,234.5", {}, "which it is with --thousands ,"),
        ("1.5", {"decimal": ","}, "wanted a number"),
    ],
)
def test_numbers_of_another_kind_are_refused_with_what_reads_them(tmp_path, written, options, hint):
    with pytest.raises(UsageError, match=re.escape(f"row 1: 'y' holds {written!r}, wanted a number")) as caught:
        panel_of(tmp_path, f"date;y\n2020-01-01;{written}\n2020-01-02;x\n", **options)
    assert hint in str(caught.value)


# === Resampling ===


def test_times_that_are_not_regular_say_what_to_type(tmp_path):
    gaps = np.random.default_rng(0).integers(20, 90, 200).cumsum()
    stamps = pd.Timestamp("2022-01-01") + pd.to_timedelta(gaps, unit="s")
    with pytest.raises(UsageError, match="is no whole number of steps of .*: wanted --resample 1min for the means"):
        panel_of(tmp_path, rows(stamps))


@pytest.mark.parametrize("aggregate", ["mean", "sum", "last"])
@pytest.mark.parametrize(("step", "alias"), [("10min", "10min"), ("h", "h"), ("D", "D")])
def test_resampling_is_that_of_pandas(tmp_path, aggregate, step, alias, monkeypatch):
    monkeypatch.setattr(tables.Table.blocks, "__defaults__", (37,))
    rng = np.random.default_rng(1)
    stamps = pd.Timestamp("2022-01-01 00:00:07") + pd.to_timedelta(rng.integers(20, 900, 400).cumsum(), unit="s")
    values = rng.normal(size=400).round(3)
    values[::17] = np.nan
    panel = panel_of(tmp_path, rows(stamps, values), reading=Reading(resample=step, aggregate=aggregate))
    bins = pd.Series(values, stamps).resample(alias)
    wanted = bins.sum(min_count=1) if aggregate == "sum" else getattr(bins, aggregate)()
    np.testing.assert_allclose(panel.values[:, 0], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(panel.times, wanted.index.to_numpy("datetime64[s]").astype(int))
    assert not (panel.folder / "sums.npy").exists()


@pytest.mark.parametrize(("step", "alias"), [("W", "W-MON"), ("MS", "MS"), ("ME", "ME"), ("QS", "QS"), ("B", None)])
def test_days_become_weeks_months_and_quarters(tmp_path, step, alias):
    days = pd.date_range("2022-01-03", periods=400, freq="D")
    panel = panel_of(tmp_path, rows(days.date, np.ones(400)), reading=Reading(resample=step, aggregate="sum"))
    assert panel.values.sum() == 400
    if alias is not None:
        sides = {"closed": "left", "label": "left"} if step == "W" else {}
        wanted = pd.Series(1.0, days).resample(alias, **sides).sum()
        np.testing.assert_array_equal(panel.values[:, 0], wanted)
        np.testing.assert_array_equal(panel.times, wanted.index.to_numpy("datetime64[s]").astype(int))


def test_names_keep_the_last_of_a_step(tmp_path):
    columns = Columns(("y",), ("date",), past=("k",), categorical=("k",))
    content = "date,y,k\n" + "".join(f"2022-01-0{1 + i // 3} 0{i}:00,{i},{'abc'[i % 3]}\n" for i in range(9))
    panel = panel_of(tmp_path, content, columns, reading=Reading(resample="D"))
    np.testing.assert_array_equal(panel.values[:, 0], [1, 4, 7])
    assert panel.layout.categories["k"][int(panel.values[0, 1]) - 1] == "c"
