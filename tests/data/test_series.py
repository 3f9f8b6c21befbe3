"""From files of numbers to windows: every value where it belongs, and one sentence for what is amiss."""

import datetime
import re

import numpy as np
import pandas as pd
import pytest

from rnnapps.data import table as tables
from rnnapps.data.gather import prepare
from rnnapps.data.panel import Panel
from rnnapps.data.series import WindowIndex, windows
from rnnapps.data.table import Columns, Table
from rnnapps.data.time_grid import TimeGrid, infer
from rnnapps.errors import RunError, UsageError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return Table(path)


def panel_of(tmp_path, text, columns, **options):
    folder = tmp_path / "panel"
    folder.mkdir()
    return prepare([write(tmp_path / "x.csv", text)], columns, folder, **options)


def seconds(*stamps):
    return np.array([np.datetime64(stamp, "s").astype(np.int64) for stamp in stamps])


def microseconds(stamps):
    return stamps.to_numpy("datetime64[us]").astype(np.int64)


# === Times ===


@pytest.mark.parametrize(
    ("frequency", "count"),
    [("h", 50), ("10min", 50), ("D", 40), ("B", 40), ("MS", 30), ("QS", 12), ("YS", 9), ("7D", 9), ("2D", 9), ("s", 9)],
)
def test_a_frequency_is_read_off_its_times_and_counts_them(frequency, count):
    times = microseconds(pd.date_range("2016-07-01", periods=count, freq=frequency))
    grid = TimeGrid(infer(times))
    assert np.array_equal(grid.steps(times) - grid.steps(times)[0], np.arange(count))
    assert np.array_equal(grid.times(int(times[0]), count), times)
    assert grid.is_on(times, times[0]).all()


def test_missing_days_do_not_change_the_frequency():
    times = microseconds(pd.date_range("2020-01-01", periods=60, freq="D"))
    assert infer(np.delete(times, [5, 6, 30])) == "D"


@pytest.mark.parametrize("frequency", ["x", "1ns", "-1h", ""])
def test_frequencies_that_are_none(frequency):
    with pytest.raises(UsageError, match="--frequency .*: wanted a name of pandas, as in 100ms"):
        TimeGrid(frequency)


# === Tables ===

ONE = Columns(("y",), ("t",))


@pytest.mark.parametrize(
    ("text", "columns", "sentence"),
    [
        ("t,y\n2020-01-01,1\n2020-01-02,abc\n", ONE, "row 2: 'y' holds 'abc', wanted a number"),
        ("t,y\n2020-01-01,1\nfoo,2\n", ONE, "row 2: 't' holds 'foo', wanted a date or time"),
        ("t,y\n2020-01-01,1\n,2\n", ONE, "row 2: 't' holds nothing, wanted a date or time"),
        ("t,y\n2020-01-01,1\n2020-01-02,-inf\n", ONE, "row 2: 'y' holds '-inf', wanted a finite number"),
        ("t,y\n13/02/2020,1\n02/13/2020,2\n", ONE, "row 2: 't' holds '02/13/2020', wanted a date"),
        ("t,y\n", ONE, "has a header and no rows"),
        ("t,z\n2020-01-01,1\n", ONE, "has no column 'y': wanted one of t, z"),
        ("t,y\n2020-01-01,\n2020-01-02,NA\n", ONE, "column 'y' has no value in any row"),
        ("t,y\n2020-01-01,1\n", ONE, "cannot be read off fewer than two times"),
        ("t,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03 05:00,2\n", ONE, "row 3: 2020-01-03 05:00:00 is no whole number"),
        ("t,y\n2020-01-01,1\n2020-01-02,1\n2999-01-03,2\n", ONE, "3 rows would become 357,"),
        ("t,y,k\n1,1,2\n", Columns(("y",), ("t", "k")), "wanted one column of dates, or columns named year"),
        ("t,y,g\n2020-01-01,1,1\n2020-01-02,1,2\n", Columns(("y",), ("t",), static=("g",)), "'g' holds 2.0, after"),
    ],
)  # fmt: skip
def test_messy_tables_get_one_sentence(tmp_path, text, columns, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
        panel_of(tmp_path, text, columns)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_tables(tmp_path):
    for content, sentence in ((b"", "is empty"), (b"\xff\xfe,y\n1,2\n", "is not UTF-8")):
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(UsageError, match=sentence):
            list(Table(tmp_path / "x.csv").blocks(ONE))
    for path, sentence in ((tmp_path / "none.csv", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(UsageError, match=sentence):
            Table(path)


def test_columns_have_one_role():
    for arguments, sentence in (
        (((),), "no --target"),
        ((("y",), ("y",)), "'y' was named twice"),
        ((("y",), (), None, (), (), (), ("z",)), "--categorical z"),
    ):
        with pytest.raises(UsageError, match=sentence):
            Columns(*arguments)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_the_time_column_are_found(tmp_path, separator):
    table = write(tmp_path / "x.csv", "a,when,b\n1,2020-01-01T00:00,2\n3,2020-01-02T00:00,4\n".replace(",", separator))
    assert table.columns == ["a", "when", "b"] and table.time_columns() == ("when",)
    assert write(tmp_path / "x.csv", "a,b\n1,x\n").time_columns() == ()


def test_time_zones_become_utc(tmp_path):
    table = write(tmp_path / "x.csv", "t,y\n2020-01-01T02:00:00+02:00,1\n2020-01-01T03:00:00+02:00,1\n")
    assert next(table.blocks(ONE)).times[0] == 1_000_000 * seconds("2020-01-01")[0]


# === Panels ===

LONG = """when,shop,sales,price,colour,area
2020-01-02,b,20,1.5,red,7
2020-01-01,a,1,1.0,red,3
2020-01-03,b,,1.5,blue,7
2020-01-02,a,2,1.0,red,3
2020-01-04,a,4,2.0,green,3
2020-01-02,a,99,9.0,red,3
2020-01-05,a,5,1.0,green,3
2020-01-04,b,40,2.5,red,
"""
SHOPS = Columns(("sales",), ("when",), "shop", ("colour",), ("price",), ("area",), ("colour",))


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_rows_go_to_their_series_and_step(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(tables.Table.blocks, "__defaults__", (rows,))
    panel = panel_of(tmp_path, LONG, SHOPS, validation_fraction=0.2, test_fraction=0.2)
    assert [(one.name, one.length) for one in panel.series] == [("b", 3), ("a", 5)]
    assert panel.grid.frequency == "D"
    nan = np.nan
    # sales, colour (1: red, 2: blue or unseen...), price; the third of January of shop a has no row
    sales = [20, nan, 40, 1, 2, nan, 4, 5]
    np.testing.assert_array_equal(panel.values[:, 0], sales)
    np.testing.assert_array_equal(panel.values[:, 2], np.array([1.5, 1.5, 2.5, 1, 1, nan, 2, 1], np.float32))
    assert panel.layout.categories == {"colour": ("red",)}  # the training parts hold no other
    np.testing.assert_array_equal(panel.values[:, 1], [1, 0, 1, 1, 1, nan, 0, 0])
    np.testing.assert_array_equal(panel.times, [*seconds("2020-01-02", "2020-01-03", "2020-01-04"), *seconds(
        *(f"2020-01-0{d}" for d in range(1, 6)))])  # fmt: skip
    np.testing.assert_array_equal(panel.static, [[7], [3]])
    assert len(panel.notes) == 2
    assert "1 of 8 steps have no row, the first at 2020-01-03" in panel.notes[0]
    assert "1 row has the time of an earlier row" in panel.notes[1] and "row 6" in panel.notes[1]
    again = Panel.open(panel.folder)
    np.testing.assert_array_equal(again.values, panel.values)
    assert again.layout == panel.layout and again.series == panel.series


def test_statistics_are_of_the_training_part(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(1000, 3, 100)
    values[[3, 50]] = np.nan
    start = datetime.date(2020, 1, 1)
    lines = [f"{start + datetime.timedelta(days=i)},{v},7" for i, v in enumerate(values)]
    panel = panel_of(tmp_path, "t,y,c\n" + "\n".join(lines), Columns(("y", "c"), ("t",)))
    one = panel.series[0]
    assert (one.train_end, one.validation_end, one.length) == (70, 80, 100)
    learnt = values[:70]
    np.testing.assert_allclose(panel.center[0], [np.nanmean(learnt), 7], rtol=1e-6)
    np.testing.assert_allclose(panel.scale[0], [np.nanstd(learnt), 1], rtol=1e-5)


def test_rows_without_times_are_steps(tmp_path):
    panel = panel_of(tmp_path, "y\n1\n2\n\n3\n", Columns(("y",)))
    assert panel.grid.frequency == "rows" and panel.values.shape == (3, 1)
    np.testing.assert_array_equal(panel.times, [0, 1, 2])


def test_a_damaged_panel_is_refused(tmp_path):
    panel = panel_of(tmp_path, LONG, SHOPS)
    (panel.folder / "panel.json").write_text("{}")
    with pytest.raises(RunError, match="holds no readable panel"):
        Panel.open(panel.folder)
    with pytest.raises(RunError, match="is missing"):
        Panel.open(tmp_path)


# === Windows ===


@pytest.fixture
def numbered(tmp_path):
    """Two series of 30 and 12 steps whose values are 100 * series + step, and a covariate of each kind."""
    lines = ["t,s,y,p,f"]
    for s, length in enumerate((30, 12)):
        for i in range(length):
            day = datetime.date(2020, 1, 1) + datetime.timedelta(days=i)
            lines.append(f"{day},s{s},{100 * s + i},{i + 0.25},{i + 0.5}")
    columns = Columns(("y",), ("t",), "s", ("p",), ("f",))
    return panel_of(tmp_path, "\n".join(lines), columns, validation_fraction=0.2, test_fraction=0.2)


@pytest.mark.parametrize(("part", "bounds"), [("train", [(0, 18), (0, 8)]), ("test", [(24, 30), (10, 12)])])
@pytest.mark.parametrize("every", [1, 2])
def test_every_window_of_a_part_once(numbered, part, bounds, every):
    history, horizon = 3, 2
    wanted = [
        [100 * s + o - history + k for k in range(history + horizon)]
        for s, (first, end) in enumerate(bounds)
        for o in range(max(first, history), end - horizon + 1, every)
    ]
    found = []
    for inputs, targets in windows(numbered, part, history, horizon, 4, every=every).as_numpy_iterator():
        found += np.concatenate([inputs["history"], targets], 1)[..., 0].tolist()
        steps = inputs["future"][..., 0] - 0.5
        np.testing.assert_array_equal(inputs["past"][..., 0], steps[:, :history] + 0.25)
        np.testing.assert_array_equal(steps, np.concatenate([inputs["history"], targets], 1)[..., 0] % 100)
        np.testing.assert_array_equal(inputs["series"], inputs["history"][:, 0, 0] // 100)
        np.testing.assert_array_equal(inputs["times"], seconds("2020-01-01")[0] + 86_400 * steps.astype(int))
    assert found == wanted


def test_shuffled_windows_are_the_same_each_epoch_in_another_order_and_resume(numbered):
    def run(**options):
        batches = windows(numbered, "train", 3, 2, 4, seed=5, **options).as_numpy_iterator()
        return [inputs["history"][:, 0, 0].tolist() for inputs, _ in batches]

    two = run(epochs=2)
    assert len(two) % 2 == 0
    first, second = two[: len(two) // 2], two[len(two) // 2 :]
    in_order = [value for inputs, _ in windows(numbered, "train", 3, 2, 4).as_numpy_iterator() for value in
                inputs["history"][:, 0, 0].tolist()]  # fmt: skip
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == sorted(in_order)
    assert sum(first, []) != sum(second, []) != in_order
    assert run(epochs=2, position=3) == two[3:]
    assert run(epochs=2) == two


def test_a_part_without_a_window_names_the_series(numbered):
    with pytest.raises(UsageError, match="the test part of series 's0' has 6 steps after 20 of history: wanted"):
        WindowIndex(numbered, "test", 20, 7)
    assert len(WindowIndex(numbered, "test", 20, 6)) == 1


def test_nothing_of_the_future_is_read_but_what_is_known(tmp_path):
    """Rows from the first test step on are shuffled: scales, categories and inputs stay, but for the known columns."""
    rng, rows = np.random.default_rng(0), []
    for i in range(100):
        rows.append(f"{rng.normal():.4f},{rng.normal():.4f},{'abc'[i % 3] if i < 80 else 'xyz'[i % 3]},{i}")
    shuffled = [*rows[:80], *rng.permutation(rows[80:]).tolist()]
    columns = Columns(("y",), past=("p", "kind"), future=("f",), categorical=("kind",))
    panels = []
    for name, some in (("one", rows), ("other", shuffled)):
        (tmp_path / name).mkdir()
        panels.append(panel_of(tmp_path / name, "y,p,kind,f\n" + "\n".join(some), columns))
    one, other = panels
    np.testing.assert_array_equal(other.center, one.center)
    np.testing.assert_array_equal(other.scale, one.scale)
    assert other.layout == one.layout and one.layout.categories == {"kind": ("a", "b", "c")}
    (x, came), (z, came_shuffled) = (WindowIndex(panel, "test", 10, 5).read(np.array([0])) for panel in panels)
    assert np.abs(came - came_shuffled).max() > 0.1
    for name in ("history", "past", "series"):
        np.testing.assert_array_equal(x[name], z[name])
    np.testing.assert_array_equal(x["future"][:, :10], z["future"][:, :10])
    assert not np.array_equal(x["future"][:, 10:], z["future"][:, 10:])
