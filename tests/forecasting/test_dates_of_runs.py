"""Dates from the command line's point of view: asked for where they are not clear, kept by the run and its export."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from rnnapps import cli
from rnnapps.data.table import Table
from rnnapps.errors import UsageError
from rnnapps.forecasting import PRESETS, Config, Export, Predict, export, predict, train
from rnnapps.forecasting.build import columns, prepare, resolved
from rnnapps.forecasting.prediction import _panel, _Source

TINY = PRESETS["tiny"]
MONTHS = pd.date_range("2005-01-01", periods=180, freq="MS")


def table(path, months=MONTHS, form="%d/%m/%Y"):
    """Sales that rise and fall with the year, of the shop 0007."""
    sales = 100 + 10 * np.sin(np.arange(len(months)) * np.pi / 6) + np.random.default_rng(0).normal(size=len(months))
    frame = pd.DataFrame({"date": months.strftime(form), "shop": "0007", "sales": sales.round(2)})
    frame.to_csv(path, index=False)
    return path


def options(path, **changes):
    return resolved(dataclasses.replace(TINY, csv=(path,), target=("sales",), series="shop", **changes))


def source(config, panel, **endpoints):
    return _Source(config, panel.layout, panel.grid.frequency, panel.time_form, endpoints, None)


@pytest.fixture
def learnt(tmp_path):
    """What a run that was told the order of day and month knows."""
    config = options(table(tmp_path / "sales.csv"), date_format="%d/%m/%Y")
    return source(config, prepare(config, tmp_path))


def test_the_command_asks_for_the_order_of_day_and_month(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rnnapps.runtime.configure", lambda threads: None)
    path = table(tmp_path / "sales.csv")
    arguments = ["train", "--csv", str(path), "--target", "sales", "--preset", "tiny", "--run", str(tmp_path / "run")]
    assert cli.main("rnnapps.forecasting", arguments) == 2
    assert "wanted --date-format %d/%m/%Y or --date-format %m/%d/%Y" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_predict_reads_dates_as_they_were_learnt_and_says_so(learnt, tmp_path, capsys):
    later = table(tmp_path / "later.csv", MONTHS[-30:])
    with _panel(learnt, Predict(csv=(later,))) as panel:
        assert panel.grid.frequency == "MS" and panel.values.shape == (30, 1) and panel.series[0].name == "0007"
        assert panel.written(panel.stamps(0, np.array([30]))) == ["2020-01-01 00:00:00"]
    assert capsys.readouterr().err == "times of 'date' are read as %d/%m/%Y, the first as 2017-07-01 00:00:00\n"


def test_predict_reads_dates_of_another_form(learnt, tmp_path):
    other = table(tmp_path / "other.csv", MONTHS + pd.Timedelta("14D"), "%m/%d/%Y")
    plain = table(tmp_path / "plain.csv", MONTHS, "%Y-%m-%d")
    for path, first in ((other, "2005-01-15"), (plain, "2005-01-01")):
        with _panel(learnt, Predict(csv=(path,))) as panel:
            assert panel.series[0].length == 180
            assert panel.written(panel.stamps(0, np.array([0]))) == [f"{first} 00:00:00"]
    with _panel(learnt, Predict(csv=(table(tmp_path / "us.csv", form="%m/%d/%Y"),), date_format="%m/%d/%Y")) as panel:
        assert panel.series[0].length == 180


def test_a_model_that_knows_no_form_decides_or_asks(learnt, tmp_path):
    old = dataclasses.replace(
        learnt, time_form=type(learnt.time_form).from_dict(None), config=options(learnt.config.csv[0])
    )
    with pytest.raises(UsageError, match="wanted --date-format"), _panel(old, Predict(csv=old.config.csv)):
        pass
    with _panel(old, Predict(csv=(table(tmp_path / "plain.csv", form="%Y-%m-%d"),))) as panel:
        assert panel.series[0].length == 180


def test_the_columns_of_times_are_those_that_were_learnt(learnt, tmp_path):
    frame = pd.read_csv(learnt.config.csv[0])
    frame.insert(0, "updated", "2024-05-17")
    frame.to_csv(tmp_path / "more.csv", index=False)
    with _panel(learnt, Predict(csv=(tmp_path / "more.csv",))) as panel:
        assert panel.time_form.columns == ("date",) and panel.series[0].length == 180


def test_rows_are_numbered_where_that_is_asked_or_told(tmp_path, capsys):
    path = tmp_path / "x.csv"
    path.write_text("time,y\n" + "".join(f"{i},{i}\n" for i in range(60)))
    notes = []
    assert columns(Config(csv=(path,), target=("y",)), None, Table(path), notes=notes).time == ()
    assert notes == ["column 'time' holds '0', which is no date: rows are numbered"]
    path.write_text("date,y\n" + "someday,1\n" * 60)
    with pytest.raises(UsageError, match="column 'date' holds 'someday', which is no date or time that can be read"):
        columns(Config(csv=(path,), target=("y",)), None, Table(path))
    assert columns(Config(csv=(path,), target=("y",), frequency="rows"), None, Table(path)).time == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"thousands": ".."}, "--thousands '..': wanted one character"),
        ({"decimal": ",", "thousands": ","}, "--thousands ',': wanted one character, other than --decimal ,"),
        ({"date_format": "dd.mm"}, "--date-format dd.mm: wanted strptime's directives"),
        ({"resample": "rows"}, "--resample rows"),
        ({"resample": "h", "frequency": "D"}, "--resample h with --frequency D: wanted --resample alone"),
    ],
)
def test_options_that_mean_nothing(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        Config(**changes)


@pytest.mark.full
def test_a_run_and_its_export_read_and_write_dates_alike(tmp_path, capsys):
    months = pd.date_range("2005-01-31", periods=180, freq="ME")
    config = options(table(tmp_path / "sales.csv", months, "%d.%m.%y"), run=tmp_path / "run", epochs=0.2)
    train(config)
    later = table(tmp_path / "later.csv", months[-30:], "%d.%m.%y")
    found = predict(Predict(run=config.run, csv=(later,)))
    assert found["time"].tolist() == [
        f"{day.date()} 00:00:00" for day in pd.date_range("2020-01-31", periods=6, freq="ME")
    ]
    assert set(found["series"]) == {"0007"}
    exported = export(Export(run=config.run, output=tmp_path, name="sales"))
    form = json.loads((exported / "manifest.json").read_text())["data"]["time_form"]
    assert form == {"columns": ["date"], "date_format": "%d.%m.%y", "zone": None}
    capsys.readouterr()
    served = predict(Predict(model=exported, csv=(later,)))
    assert "times of 'date' are read as %d.%m.%y" in capsys.readouterr().err
    pd.testing.assert_frame_equal(served, found, rtol=1e-3)
