"""Forecasting from the command line's point of view: train, evaluate, predict, export on small tables."""

import dataclasses
import datetime
import json
import signal
import subprocess
import sys
from pathlib import Path

import checkpoints
import keras
import numpy as np
import pandas as pd
import pytest
from elsewhere import HIDE

from rnnapps import cli
from rnnapps.errors import UsageError
from rnnapps.forecasting import PRESETS, Config, Evaluate, Export, Predict, evaluate, export, predict, train
from rnnapps.forecasting.build import resolved
from rnnapps.training.console import Console
from rnnapps.training.log import Log
from rnnapps.training.run import Run

TINY = PRESETS["tiny"]
ELSEWHERE = (
    HIDE
    + """
import json, numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures
x = np.array(json.loads(sys.argv[2]), "float32")
found = served["serving_default"](history=tf.constant(x), times=tf.constant(json.loads(sys.argv[3]), tf.int64),
                                  series=tf.constant([sys.argv[4]]))
print(json.dumps(found["quantiles"].numpy().tolist()))
"""
)


def table(path, shops=("a", "b"), days=160, gaps=True):
    """Sales that rise and fall with the week, and a price that is known ahead."""
    rng, lines = np.random.default_rng(0), ["day,shop,sales,price,kind"]
    for s, shop in enumerate(shops):
        for i in range(days):
            day = datetime.date(2021, 1, 1) + datetime.timedelta(days=i)
            sales = 50 * (s + 1) + 10 * np.sin(2 * np.pi * i / 7) + rng.normal()
            written = "" if gaps and i % 29 == 0 else f"{sales:.2f}"
            lines.append(f"{day},{shop},{written},{1 + i % 3},{'xy'[i % 2]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def sales(tmp_path_factory):
    """A run on two shops."""
    folder = tmp_path_factory.mktemp("sales")
    config = dataclasses.replace(
        TINY, csv=(table(folder / "sales.csv"),), target=("sales",), series="shop", run=folder / "run", epochs=20.0,
        learning_rate=0.01,
    )  # fmt: skip
    train(config)
    return config


def test_it_learns_and_says_so(sales, capsys):
    found = evaluate(Evaluate(run=sales.run, by_step=True, by_target=True))
    printed = capsys.readouterr().out
    assert list(found)[0] == "rnnapps"
    assert {"last value", "last season (7 steps)", "line through the window", "linear model"} < set(found)
    assert found["rnnapps"]["mae"] < found["last value"]["mae"] / 2
    assert "step 6" in printed and "sales.csv, test: " in printed and "than the" in printed
    assert 0.5 < found["rnnapps"]["coverage_90"] <= 1
    again = evaluate(Evaluate(run=sales.run, json=True))
    assert json.loads(capsys.readouterr().out) == found == again


def test_the_linear_baseline_is_measured_on_every_window(sales):
    found = evaluate(Evaluate(run=sales.run))
    every_third = evaluate(Evaluate(run=sales.run, every=3))
    counts = found["rnnapps"]["values"], every_third["rnnapps"]["values"]
    assert counts[0] > 2.5 * counts[1] and len({row["values"] for row in found.values()}) == 1


def test_forecasts_follow_the_last_value_of_each_series(sales, tmp_path, capsys):
    found = predict(Predict(run=sales.run, plot=tmp_path / "picture.png"))
    printed = capsys.readouterr()
    assert pd.read_csv(pd.io.common.StringIO(printed.out)).shape == found.shape == (12, 13)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert found.groupby("series")["time"].first().tolist() == ["2021-06-10 00:00:00"] * 2
    quantiles = found.filter(like="q").to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    means = found.groupby("series")["mean"].mean()
    assert 35 < means["a"] < 65 and 80 < means["b"] < 120
    predict(Predict(run=sales.run, json=True))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["series"] for line in lines] == ["a", "b"] and len(lines[0]["forecast"]) == 6


def test_forecasts_of_a_new_file(sales, tmp_path):
    new = table(tmp_path / "new.csv", shops=("b", "c"), days=40)
    found = predict(Predict(run=sales.run, csv=(new,), output=tmp_path / "out.csv"))
    assert found["series"].unique().tolist() == ["b", "c"]
    assert found["time"].iloc[0] == "2021-02-10 00:00:00"
    assert pd.read_csv(tmp_path / "out.csv").shape == found.shape
    short = table(tmp_path / "short.csv", shops=("a",), days=5)
    assert len(predict(Predict(run=sales.run, csv=(short,), output=tmp_path / "out.csv"))) == 6


@pytest.mark.full
def test_resume_is_bit_exact(sales, tmp_path):
    whole = dataclasses.replace(sales, run=tmp_path / "whole", epochs=2.0, schedule="constant")
    half = dataclasses.replace(whole, run=tmp_path / "half", epochs=1.0)
    expected = train(whole)
    train(half)
    found = train(dataclasses.replace(half, epochs=2.0, resume=True))
    assert [line["step"] for line in Log(whole.run).read() if "loss" in line] == [
        line["step"] for line in Log(half.run).read() if "loss" in line
    ]
    # The best model may be of another moment, as validation goes by the clock: the last checkpoint is compared.
    checkpoints.assert_same(whole.run, half.run)
    assert isinstance(found, keras.Model) and isinstance(expected, keras.Model)
    # Both were calibrated, and a model that is saved anew has lost the calibration of the one before.
    offsets = [Run(one.run).load_array("calibration") for one in (whole, half)]
    assert offsets[0].shape == offsets[1].shape == (6, 1, 9)
    Run(half.run).save_model(found)
    assert Run(half.run).load_array("calibration") is None
    with pytest.raises(UsageError, match="--horizon 3: the run to resume has 6"):
        train(dataclasses.replace(half, horizon=3, resume=True))


def test_an_export_answers_as_the_run_does(sales, tmp_path):
    path = export(Export(run=sales.run, output=tmp_path, name="sales"))
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["layout"]["targets"] == ["sales"] and manifest["figures"]["test_mae"] > 0
    assert "csv" not in manifest["config"] and "run" not in manifest["config"]
    wanted = predict(Predict(run=sales.run, output=tmp_path / "out.csv"))
    wanted = wanted[wanted["series"] == "b"].filter(like="q").to_numpy()
    values = pd.read_csv(sales.csv[0]).query("shop == 'b'")
    history = values["sales"].to_numpy()[-12:].reshape(1, 12, 1)
    first = np.datetime64("2021-06-10", "s").astype(int) - 12 * 86_400
    times = (first + 86_400 * np.arange(18)).reshape(1, 18)
    text = json.dumps(np.where(np.isnan(history), None, history).tolist()).replace("null", "NaN")
    command = [sys.executable, "-c", ELSEWHERE, str(path), text, json.dumps(times.tolist()), "b"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.array(json.loads(done.stdout))[0, :, 0], wanted, rtol=1e-4)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["direct", "attention"])
def test_every_kind_of_column(kind, tmp_path):
    path = table(tmp_path / "x.csv", gaps=False)
    with path.open("a") as file:  # the price of the days to come
        for shop in "ab":
            for i in range(6):
                file.write(f"{datetime.date(2021, 6, 10) + datetime.timedelta(days=i)},{shop},,{1 + i % 3},x\n")
    config = dataclasses.replace(
        TINY, kind=kind, csv=(path,), target=("sales",), series="shop", future=("price", "kind"), categorical=("kind",),
        run=tmp_path / "run",
    )  # fmt: skip
    train(config)
    assert len(predict(Predict(run=config.run, output=tmp_path / "out.csv"))) == 12
    shorter = table(tmp_path / "y.csv", gaps=False)
    with pytest.raises(UsageError, match="series 'a' holds price, kind for 0 steps after its last value: wanted 6"):
        predict(Predict(run=config.run, csv=(shorter,)))


def wave(path, days=200, size=1.0, base=0.0):
    rng = np.random.default_rng(0)
    values = base + size * (np.sin(2 * np.pi * np.arange(days) / 12) + 0.05 * rng.normal(size=days))
    path.write_text("y\n" + "\n".join(f"{value:.6f}" for value in values) + "\n")
    return path


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


@pytest.mark.full
def test_units_of_the_series_go_in_and_come_out(tmp_path):
    """The same series in other units: the same forecasts in those units."""
    found = []
    for name, size, base in (("a", 1.0, 0.0), ("b", 1000.0, -5e4)):
        path = wave(tmp_path / f"{name}.csv", size=size, base=base)
        config = dataclasses.replace(TINY, csv=(path,), target=("y",), run=tmp_path / name, epochs=4.0)
        train(config)
        table = predict(Predict(run=config.run, output=tmp_path / "out.csv")).filter(regex="mean|q")
        found.append((table.to_numpy() - base) / size)
        assert evaluate(Evaluate(run=config.run))["rnnapps"]["mae"] < 1
    np.testing.assert_allclose(found[1], found[0], atol=0.01)


@pytest.mark.full
def test_paths_and_bands_from_a_run_and_from_its_export(tmp_path, capsys):
    """An autoregressive network draws paths; a network of one number has bands all the same."""
    path = wave(tmp_path / "x.csv")
    config = dataclasses.replace(
        TINY, csv=(path,), target=("y",), kind="autoregressive", head="student_t", run=tmp_path / "run", average=0.9,
    )  # fmt: skip
    train(config)
    drawn = [predict(Predict(run=config.run, samples=120, seed=seed)) for seed in (3, 3, 4)]
    assert drawn[0].filter(like="path").shape == (6, 120)
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    assert not drawn[0].equals(drawn[2])
    exported = export(Export(run=config.run, output=tmp_path, name="waves"))
    pd.testing.assert_frame_equal(
        predict(Predict(model=exported, csv=(path,), samples=120, seed=3)), drawn[0], rtol=1e-3
    )
    capsys.readouterr()
    with pytest.raises(UsageError, match="no --csv: wanted a file with the columns y"):
        predict(Predict(model=exported))
    point = dataclasses.replace(config, kind="direct", head="mse", run=tmp_path / "point")
    train(point)
    found = evaluate(Evaluate(run=point.run))
    printed = capsys.readouterr().out
    assert 0.5 < found["rnnapps"]["coverage_90"] <= 1 and "width_90" in printed
    assert "rnnapps, before calibration" not in found
    bare = dataclasses.replace(point, calibrate=False, run=tmp_path / "bare")
    train(bare)
    assert "coverage_90" not in evaluate(Evaluate(run=bare.run))["rnnapps"]
    with pytest.raises(UsageError, match="--samples 2: wanted a model of --kind autoregressive"):
        predict(Predict(run=bare.run, samples=2))


def test_what_is_amiss_in_a_table_is_told_by_name(tmp_path, capfd):
    path = table(tmp_path / "x.csv", gaps=False)
    with path.open("a") as file:
        file.writelines(f"2021-01-0{i},tiny,5,1,x\n" for i in range(1, 8))
    config = dataclasses.replace(
        TINY, csv=(path,), target=("sales",), series="shop", run=tmp_path / "run", epochs=0.1
    )  # fmt: skip
    train(config)
    told = capfd.readouterr().err
    assert (
        "1 of 3 series have fewer than the 18 steps of a window" in told and "nothing is learnt of them: tiny" in told
    )
    path.write_text(path.read_text().replace("2021-01-20,a", "2021-01-77,a"))
    with pytest.raises(UsageError, match=r"x.csv, row 20: 'day' holds '2021-01-77', wanted a date or time"):
        train(dataclasses.replace(config, overwrite=True))
    assert evaluate(Evaluate(run=config.run))  # the run that was there is still there


def test_a_constant_series_is_forecast_as_it_is(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("y\n" + "7\n" * 120)
    config = dataclasses.replace(TINY, csv=(path,), target=("y",), run=tmp_path / "run", epochs=3.0, head="mae")
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
            "the train part of the series has 7 steps",
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


def test_ctrl_c_keeps_a_model_that_is_calibrated(tmp_path, monkeypatch):
    path = wave(tmp_path / "x.csv")
    config = dataclasses.replace(TINY, csv=(path,), target=("y",), run=tmp_path / "run", epochs=50.0)

    def press(loop, *_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Console, "update", press)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    assert evaluate(Evaluate(run=config.run))["rnnapps"]["coverage_90"] > 0
    assert Run(config.run).load_array("calibration") is not None
    assert Run(config.run).load_figures()["updates"] == 1
