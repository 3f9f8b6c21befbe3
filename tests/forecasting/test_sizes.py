"""Sizes that are chosen for short series, and that a run keeps."""

from pathlib import Path

import numpy as np
import pytest

from rnnapps import config as configs
from rnnapps.data.gather import prepare
from rnnapps.data.series import WindowIndex
from rnnapps.data.table import Columns, Table
from rnnapps.forecasting import PRESETS, Config
from rnnapps.forecasting.build import resolved
from rnnapps.forecasting.sizes import described, fitted, sizes_of

CSV = {"csv": (Path("x.csv"),), "target": ("y",)}


def panel_of(folder, rows, validation=0.1):
    (folder / "x.csv").write_text("y\n" + "\n".join(map(str, np.arange(rows))) + "\n")
    (folder / "panel").mkdir()
    return prepare([Table(folder / "x.csv")], Columns(("y",)), folder / "panel", None, validation, 0.2)


@pytest.mark.parametrize(
    ("rows", "season", "options", "sizes"),
    [
        (144, 12, {"horizon": 12}, (36, 12, 0.167)),  # the airline's passengers
        (144, 12, {}, (36, 12, 0.167)),
        (144, 1, {"history": 20}, (20, 12, 0.167)),
        (144, 12, {"horizon": 12, "validation_fraction": 0.1}, (36, 12, 0.1)),
        (48, 1, {}, (13, 4, 0.167)),
        (24, 4, {}, (4, 2, 0.167)),
        (343, 12, {}, (96, 24, 0.1)),
        (5000, 12, {}, (96, 24, 0.1)),
        (144, 12, {"preset": "tiny"}, (12, 6, 0.1)),
    ],
)
def test_a_short_series_is_learnt_without_a_size(tmp_path, rows, season, options, sizes):
    base = PRESETS.get(options.pop("preset", ""), Config())
    asked = configs.replace(base, **CSV, **options)
    fit = fitted(asked, resolved(asked), panel_of(tmp_path, rows), season)
    assert (fit.history, fit.horizon, fit.validation_fraction) == sizes
    told = described(asked, fit)
    assert len(told) == (sizes[:2] != (96, 24) and "preset" not in options and base == Config())
    (tmp_path / "again").mkdir()
    cut = panel_of(tmp_path / "again", rows, fit.validation_fraction)
    for part in ("train", "validation", "test"):
        assert len(WindowIndex(cut, part, fit.history, fit.horizon)) > 0


def test_a_preset_of_segments_keeps_them(tmp_path):
    asked = configs.replace(PRESETS["long"], **CSV)
    fit = fitted(asked, resolved(asked), panel_of(tmp_path, 500), 1)
    assert fit.horizon == 96 and fit.history % fit.segment == 0


def test_where_none_is_said_the_usual_ones_count():
    assert sizes_of(Config()) == (96, 24) and sizes_of(Config(history=7, horizon=3)) == (7, 3)
