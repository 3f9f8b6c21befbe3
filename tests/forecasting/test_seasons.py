"""The seasonal forecast to beat is there for weeks and for both seasons of hours."""

import numpy as np
import pytest

from rnnapps.data.gather import prepare
from rnnapps.data.table import Columns, Table
from rnnapps.forecasting.build import seasons_of
from rnnapps.forecasting.config import Config
from rnnapps.training.series_evaluation import OURS, compare


@pytest.mark.parametrize(
    ("step", "frequency", "rows", "seasons"),
    [(7 * 24, "W", 260, (52,)), (1, "h", 700, (24, 168)), (24, "D", 700, (7,))],
)
def test_each_season_is_a_forecast_of_its_own(tmp_path, step, frequency, rows, seasons):
    """A series that repeats after the longest season and not before: only that one's forecast is right."""
    longest = seasons[-1]
    values = np.tile(np.random.default_rng(0).normal(size=longest), rows // longest + 1)[:rows]
    times = np.datetime64("2020-01-06T00", "h") + step * np.arange(rows)
    lines = [f"{time}:00,{value:.3f}" for time, value in zip(times, values, strict=True)]
    (tmp_path / "x.csv").write_text("t,y\n" + "\n".join(lines) + "\n")
    (tmp_path / "panel").mkdir()
    panel = prepare([Table(tmp_path / "x.csv")], Columns(("y",), ("t",)), tmp_path / "panel", frequency)
    config = Config(csv=(tmp_path / "x.csv",), target=("y",))
    assert seasons_of(config, panel) == seasons
    said = {OURS: lambda inputs: {"mean": np.zeros((len(inputs["series"]), 4, 1))}}
    found = compare(said, panel, "test", 8, 4, seasons)
    for season in seasons:
        assert (found[f"last season ({season} steps)"].figures()["MAE"] < 1e-6) == (season == longest)
