"""Rows that only say what is known ahead: in no part of the series, and read where a forecast goes on from them."""

import numpy as np
import pytest

from rnnapps.data.gather import prepare
from rnnapps.data.horizon import ends
from rnnapps.data.panel import Panel, has_values
from rnnapps.data.series import windows
from rnnapps.data.table import Columns, Table


def panel_of(folder, lines, columns, *options):
    folder.mkdir()
    (folder / "x.csv").write_text("\n".join(lines) + "\n")
    (folder / "panel").mkdir()
    return prepare([Table(folder / "x.csv")], columns, folder / "panel", *options)


def rows(name, start, known, ahead, kind="x"):
    """`known` steps with a target, then `ahead` without one, every other of which is a row of its own kind."""
    days = np.datetime64(start) + np.arange(known + ahead)
    values = [f"{i + 1}" if i < known else "" for i in range(known + ahead)]
    kinds = ["x"] * known + [kind] * ahead
    return [f"{d},{name},{v},{k}" for d, v, k in zip(days, values, kinds, strict=True)]


@pytest.mark.parametrize("frequency", ["D", "rows"])
def test_parts_end_with_the_last_target(tmp_path, frequency):
    """The same parts with and without rows ahead; each series has its own end, in whatever order the rows come."""
    columns = Columns(("y",), ("day",), "s", future=("k",), categorical=("k",))
    lines = rows("a", "2024-01-01", 40, 12) + rows("b", "2024-02-01", 20, 0)
    shuffled = lines[40:] + lines[:40] if frequency == "D" else lines
    found = panel_of(tmp_path / "a", ["day,s,y,k", *shuffled], columns, frequency)
    parts = {one.name: [one.part(part) for part in ("train", "validation", "test")] for one in found.series}
    assert parts == {"a": [(0, 28), (28, 32), (32, 40)], "b": [(0, 14), (14, 16), (16, 20)]}
    assert {one.name: one.length for one in found.series} == {"a": 52, "b": 20}
    for inputs, came in windows(found, "test", 8, 4, 2):
        assert not np.isnan(came).any() and not np.isnan(inputs["history"]).any()
    again = Panel.open(found.folder)
    assert [one.part("test") for one in again.series] == [(32, 40), (16, 20)]
    whole = panel_of(tmp_path / "b", ["day,s,y,k", *rows("a", "2024-01-01", 40, 9)], columns, frequency, 0.1, 0.0)
    assert has_values(again, "test") and not has_values(whole, "test")


def test_a_forecast_goes_on_from_the_last_target_and_reads_what_is_ahead(tmp_path):
    """A category that only a row ahead has is the model's, if the model learnt it."""
    columns = Columns(("y",), ("day",), "s", future=("k",), categorical=("k",))
    before = [*rows("a", "2024-01-01", 20, 20, "sale"), *rows("b", "2024-01-01", 30, 0), "2024-02-09,b,3,sale"]
    learnt = panel_of(tmp_path / "a", ["day,s,y,k", *before], columns, "D", 0.0, 0.0)
    new = panel_of(tmp_path / "b", ["day,s,y,k", *rows("a", "2024-05-01", 10, 3, "sale")], columns, "D", 0.0, 0.0)
    last = ends(new, learnt.layout, 5, 3)
    np.testing.assert_array_equal(last.inputs["history"][0, :, 0], [6, 7, 8, 9, 10])
    names = learnt.layout.categories["k"]
    np.testing.assert_array_equal(last.inputs["future"][0, -3:, 0], names.index("sale") + 1)
    np.testing.assert_array_equal(last.inputs["future"][0, :-3, 0], names.index("x") + 1)


def test_a_series_without_a_target_has_no_part(tmp_path):
    columns = Columns(("y",), ("day",), "s", future=("k",), categorical=("k",))
    lines = [*rows("a", "2024-01-01", 0, 12), *rows("b", "2024-01-01", 30, 0)]
    found = panel_of(tmp_path / "a", ["day,s,y,k", *lines], columns, "D")
    assert [one.part("test") for one in found.series] == [(0, 0), (24, 30)]
