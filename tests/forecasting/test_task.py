"""Forecasting from the command line's point of view: train, evaluate, predict, export on small tables."""

import dataclasses
import datetime
import io
import json
import shutil
import signal
from pathlib import Path

import checkpoints
import numpy as np
import pandas as pd
import pytest
import series_tables
from series_tables import few, wave

from rnnapps import cli
from rnnapps.errors import UsageError
from rnnapps.forecasting import PRESETS, Config, Evaluate, Predict, evaluate, predict, train
from rnnapps.forecasting.build import resolved
from rnnapps.training.console import Console
from rnnapps.training.log import Log
from rnnapps.training.run import Run

pytestmark = pytest.mark.usefixtures("loaded_once")
TINY = PRESETS["tiny"]
ELSEWHERE = """
import json, sys, numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures
x = np.array(json.loads(sys.argv[2]), "float32")
found = served["serving_default"](history=tf.constant(x), times=tf.constant(json.loads(sys.argv[3]), tf.int64),
                                  series=tf.constant([sys.argv[4]]))
print(json.dumps(found["quantiles"].numpy().tolist()))
"""


def test_it_learns_and_says_so(sales, capsys, eagerly):
    found = evaluate(Evaluate(run=sales.run, by_step=True, by_target=True))
    printed = capsys.readouterr().out
    assert list(found)[0] == "rnnapps"
    assert {"last value", "last season (7 steps)", "line through the window", "linear model"} < set(found)
    assert found["rnnapps"]["mae"] < found["last value"]["mae"] / 2
    assert "step 6" in printed and "sales.csv, test: " in printed and "than the" in printed
    assert 0.5 < found["rnnapps"]["coverage_90"] <= 1
    again = evaluate(Evaluate(run=sales.run, json=True))
    assert json.loads(capsys.readouterr().out) == found == again
    figures = json.loads((sales.run / "figures.json").read_text())
    assert figures["test_mae"] == pytest.approx(found["rnnapps"]["mae"], rel=1e-4)


def test_the_linear_baseline_is_measured_on_every_window(sales, eagerly):
    found = evaluate(Evaluate(run=sales.run))
    every_third = evaluate(Evaluate(run=sales.run, every=3))
    counts = found["rnnapps"]["values"], every_third["rnnapps"]["values"]
    assert counts[0] > 2.5 * counts[1] and len({row["values"] for row in found.values()}) == 1


def test_forecasts_follow_the_last_value_of_each_series(sales, tmp_path, capsys, eagerly):
    found = predict(Predict(run=sales.run, plot=tmp_path / "picture.png"))
    printed = capsys.readouterr()
    assert pd.read_csv(io.StringIO(printed.out)).shape == found.shape == (12, 13)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert found.groupby("series")["time"].first().tolist() == ["2021-06-10 00:00:00"] * 2
    quantiles = found.filter(like="q").to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    means = found.groupby("series")["mean"].mean()
    assert 35 < means["a"] < 65 and 80 < means["b"] < 120
    predict(Predict(run=sales.run, json=True))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["series"] for line in lines] == ["a", "b"] and len(lines[0]["forecast"]) == 6


def test_forecasts_of_a_new_file(sales, tmp_path, eagerly):
    new = series_tables.sales(tmp_path / "new.csv", shops=("b", "c"), days=40)
    found = predict(Predict(run=sales.run, csv=(new,), output=tmp_path / "out.csv"))
    assert found["series"].unique().tolist() == ["b", "c"]
    assert found["time"].iloc[0] == "2021-02-10 00:00:00"
    assert pd.read_csv(tmp_path / "out.csv").shape == found.shape
    short = series_tables.sales(tmp_path / "short.csv", shops=("a",), days=5)
    assert len(predict(Predict(run=sales.run, csv=(short,), output=tmp_path / "out.csv"))) == 6


def test_resume_goes_on_bit_by_bit(whole_and_resumed):
    checkpoints.assert_same(*whole_and_resumed)
    # Both were calibrated.
    offsets = [Run(folder).load_array("calibration") for folder in whole_and_resumed]
    assert offsets[0].shape == offsets[1].shape == (6, 1, 9)


def test_a_run_is_resumed_with_what_it_began_with(sales):
    with pytest.raises(UsageError, match="--horizon 3: the run to resume has 6"):
        train(dataclasses.replace(sales, horizon=3, resume=True))


def test_a_model_that_is_saved_anew_has_lost_the_calibration_of_the_one_before(sales, tmp_path):
    run = Run(shutil.copytree(sales.run, tmp_path / "run"))
    assert run.load_array("calibration") is not None
    run.save_model(run.load_model())
    assert run.load_array("calibration") is None


@pytest.mark.full
def test_resume_is_bit_exact(sales, tmp_path):
    whole = dataclasses.replace(sales, run=tmp_path / "whole", epochs=12.0, schedule="constant")
    half = dataclasses.replace(whole, run=tmp_path / "half", epochs=6.0)
    train(whole)
    train(half)
    train(dataclasses.replace(half, epochs=12.0, resume=True))
    steps = [[line["step"] for line in Log(one.run).read() if "loss" in line] for one in (whole, half)]
    assert steps[0] == steps[1] and len(steps[0]) > 1
    # The best model may be of another moment, as validation goes by the clock: the last checkpoint is compared.
    checkpoints.assert_same(whole.run, half.run)


def test_an_export_answers_as_the_run_does(sales, exported_sales, elsewhere, tmp_path, eagerly):
    manifest = json.loads((exported_sales / "manifest.json").read_text())
    assert manifest["layout"]["targets"] == ["sales"] and manifest["figures"]["test_mae"] > 0
    assert "csv" not in manifest["config"] and "run" not in manifest["config"]
    wanted = predict(Predict(run=sales.run, output=tmp_path / "out.csv"))
    wanted = wanted[wanted["series"] == "b"].filter(like="q").to_numpy()
    values = pd.read_csv(sales.csv[0]).query("shop == 'b'")
    history = values["sales"].to_numpy()[-12:].reshape(1, 12, 1)
    first = np.datetime64("2021-06-10", "s").astype(int) - 12 * 86_400
    times = (first + 86_400 * np.arange(18)).reshape(1, 18)
    text = json.dumps(np.where(np.isnan(history), None, history).tolist()).replace("null", "NaN")
    found = json.loads(elsewhere.run(ELSEWHERE, exported_sales, text, json.dumps(times.tolist()), "b"))
    np.testing.assert_allclose(np.array(found)[0, :, 0], wanted, rtol=1e-4)


def with_prices(path):
    """Sales, and the price of the days to come."""
    series_tables.sales(path, gaps=False)
    with path.open("a") as file:
        for shop in "ab":
            for i in range(6):
                file.write(f"{datetime.date(2021, 6, 10) + datetime.timedelta(days=i)},{shop},,{1 + i % 3},x\n")
    return path


@pytest.mark.parametrize("kind", ["direct", pytest.param("attention", marks=pytest.mark.full)])
def test_every_kind_of_column(kind, tmp_path, eagerly):
    config = dataclasses.replace(
        TINY, kind=kind, csv=(with_prices(tmp_path / "x.csv"),), target=("sales",), series="shop",
        future=("price", "kind"), categorical=("kind",), run=tmp_path / "run", epochs=0.01, test_fraction=0.0,
    )  # fmt: skip
    train(config)
    assert len(predict(Predict(run=config.run, output=tmp_path / "out.csv"))) == 12
    shorter = series_tables.sales(tmp_path / "y.csv", gaps=False)
    with pytest.raises(UsageError, match="series 'a' holds price, kind for 0 steps after its last value: wanted 6"):
        predict(Predict(run=config.run, csv=(shorter,)))


@pytest.mark.full
@pytest.mark.parametrize("kind", ["segment", "direct", "attention", "autoregressive"])
def test_a_sine_is_learnt(kind, tmp_path):
    """From random weights, without the linear start that would know it already."""
    config = dataclasses.replace(
        TINY, csv=(wave(tmp_path / "x.csv"),), target=("y",), kind=kind, units=16, linear=False, epochs=60.0,
        dropout=0.0, learning_rate=0.01, head="normal", run=tmp_path / "run", normalize="series",
    )  # fmt: skip
    train(config)
    found = evaluate(Evaluate(run=config.run, every=4))
    assert found["rnnapps"]["MAE"] < 0.15 < 0.4 < found["last value"]["MAE"]


def test_the_linear_start_knows_a_sine(waves, eagerly):
    found = evaluate(Evaluate(run=waves.run))
    assert found["rnnapps"]["MAE"] < 0.15 < 0.4 < found["last value"]["MAE"]


@pytest.mark.parametrize("epochs", [0.01, pytest.param(4.0, marks=pytest.mark.full)])
def test_units_of_the_series_go_in_and_come_out(epochs, waves, tmp_path, eagerly):
    """The same series in other units: the same forecasts in those units."""
    size, base, one = 1000.0, -5e4, waves
    if epochs != waves.epochs:
        one = dataclasses.replace(waves, run=tmp_path / "one", epochs=epochs)
        train(one)
    path = wave(tmp_path / "other.csv", size=size, base=base)
    other = dataclasses.replace(one, csv=(path,), run=tmp_path / "other")
    train(other)
    found, wanted = (
        predict(Predict(run=config.run, output=tmp_path / "out.csv")).filter(regex="mean|q").to_numpy()
        for config in (other, one)
    )
    np.testing.assert_allclose((found - base) / size, wanted, atol=0.01)


def test_an_autoregressive_network_draws_paths(paths, eagerly):
    drawn = [predict(Predict(run=paths.run, samples=120, seed=seed)) for seed in (3, 3, 4)]
    assert drawn[0].filter(like="path").shape == (6, 120)
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    assert not drawn[0].equals(drawn[2])


@pytest.mark.full
def test_an_export_draws_the_same_paths(paths, exported_paths, eagerly):
    drawn = predict(Predict(run=paths.run, samples=120, seed=3))
    served = predict(Predict(model=exported_paths, csv=paths.csv, samples=120, seed=3))
    pd.testing.assert_frame_equal(served, drawn, rtol=1e-3)
    with pytest.raises(UsageError, match="no --csv: wanted a file with the columns y"):
        predict(Predict(model=exported_paths))


@pytest.mark.full
def test_a_network_of_one_number_has_bands_all_the_same(tmp_path, capsys, eagerly):
    config = few(tmp_path, kind="direct", head="mse", test_fraction=0.2)
    train(config)
    found = evaluate(Evaluate(run=config.run))
    assert 0.5 < found["rnnapps"]["coverage_90"] <= 1 and "width_90" in capsys.readouterr().out
    assert "rnnapps, before calibration" not in found


def test_without_calibration_there_are_no_bands(tmp_path, eagerly):
    config = few(tmp_path, kind="direct", head="mse", test_fraction=0.2, calibrate=False)
    train(config)
    assert "coverage_90" not in evaluate(Evaluate(run=config.run))["rnnapps"]
    with pytest.raises(UsageError, match="--samples 2: wanted a model of --kind autoregressive"):
        predict(Predict(run=config.run, samples=2))


def test_what_is_amiss_in_a_table_is_told_by_name(tmp_path, capfd, eagerly):
    path = series_tables.sales(tmp_path / "x.csv", days=80, gaps=False)
    with path.open("a") as file:
        file.writelines(f"2021-01-0{i},tiny,5,1,x\n" for i in range(1, 8))
    config = dataclasses.replace(
        TINY, csv=(path,), target=("sales",), series="shop", run=tmp_path / "run", epochs=0.01, test_fraction=0.0
    )  # fmt: skip
    train(config)
    told = capfd.readouterr().err
    assert (
        "1 of 3 series have fewer than the 18 steps of a window" in told and "nothing is learnt of them: tiny" in told
    )
    path.write_text(path.read_text().replace("2021-01-20,a", "2021-01-77,a"))
    with pytest.raises(UsageError, match=r"x.csv, row 20: 'day' holds '2021-01-77', wanted a date or time"):
        train(dataclasses.replace(config, overwrite=True))
    assert evaluate(Evaluate(run=config.run, split="validation"))  # the run that was there is still there


def test_a_constant_series_is_forecast_as_it_is(tmp_path, eagerly):
    path = tmp_path / "x.csv"
    path.write_text("y\n" + "7\n" * 120)
    config = dataclasses.replace(TINY, csv=(path,), target=("y",), run=tmp_path / "run", epochs=0.01, head="mae")
    train(config)
    found = predict(Predict(run=config.run, output=tmp_path / "out.csv"))
    np.testing.assert_allclose(found["mean"], 7, atol=0.5)
    assert evaluate(Evaluate(run=config.run))["last value"]["mae"] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--csv", "x.csv"], "--csv without --target"),
        (["train", "--csv", "none.csv", "--target", "y"], "--csv none.csv does not exist"),
        (["train", "--csv", "x.csv", "--target", "z"], "has no column 'z'"),
        (["train", "--dataset", "moon"], "--dataset must be one of"),
        (["train", "--kind", "segment", "--horizon", "7"], "--segment 12 with --history 96 and --horizon 7: wanted a"),
        (
            ["train", "--csv", "x.csv", "--target", "y", "--run", "r", "--history", "96", "--horizon", "24"],
            "the train part of the series has 6 steps",
        ),
        (["evaluate", "--run", "r"], "config.json does not exist"),
        (["predict", "--plot", "x.gif"], "--plot x.gif: wanted a name that ends with"),
    ],
)
def test_one_sentence_for_what_is_amiss(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("y\n" + "1\n2\n" * 5)
    monkeypatch.setattr("rnnapps.runtime.configure", lambda threads: None)
    status = cli.main("rnnapps.forecasting", arguments)
    told = capsys.readouterr().err.strip().splitlines()
    assert status == 2 and sentence in told[-1], told


def test_auto_takes_the_kind_that_fits():
    def kind(**options):
        return resolved(Config(csv=(Path("x.csv"),), target=("y",), **options)).kind

    assert kind() == "segment" and kind(kind="attention") == "attention"
    assert kind(horizon=7) == kind(layers=2) == kind(past=("x",)) == "direct"
    assert resolved(Config()).kind == "direct"  # Seattle's weather has past columns
    assert resolved(Config(dataset="etth1")).kind == "segment"


def test_defaults_of_a_data_set_are_its_own():
    assert Config().validation_fraction is None and Config(dataset="etth1").test_fraction is None


def test_ctrl_c_keeps_a_model_that_is_calibrated(tmp_path, monkeypatch, eagerly):
    config = few(tmp_path, epochs=50.0)

    def press(loop, *_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Console, "update", press)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert evaluate(Evaluate(run=config.run, split="validation"))["rnnapps"]["coverage_90"] > 0
    assert Run(config.run).load_array("calibration") is not None
    assert Run(config.run).load_figures()["updates"] == 1
