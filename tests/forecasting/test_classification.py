"""Classes of series from the command line's point of view: train, evaluate, predict, export on small tables."""

import dataclasses
import io
import json

import checkpoints
import numpy as np
import pandas as pd
import pytest
import series_tables

from rnnapps import cli
from rnnapps.data.gather import prepare
from rnnapps.data.table import Table
from rnnapps.errors import UsageError
from rnnapps.forecasting import Config, Evaluate, Predict, evaluate, predict, train
from rnnapps.forecasting.build import columns, resolved

pytestmark = pytest.mark.usefixtures("eagerly", "loaded_once", "short_regression")
ELSEWHERE = """
import json, sys, numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures
found = served["serving_default"](past=tf.constant(np.array(json.loads(sys.argv[2]), "float32")))
print(json.dumps([[name.decode() for name in found["class"].numpy()], found["probabilities"].numpy().tolist()]))
"""


def test_it_learns_and_says_so(slopes, capsys):
    found = evaluate(Evaluate(run=slopes.run))
    printed = capsys.readouterr().out
    assert list(found) == ["rnnapps", "majority class", "logistic regression"]
    assert found["rnnapps"]["accuracy"] > 0.9 > found["majority class"]["accuracy"] + 0.2
    assert found["rnnapps"]["windows"] == 24 and sum(map(sum, found["rnnapps"]["confusion"])) == 24
    assert found["majority class"]["accuracy"] == pytest.approx(16 / 24)
    for word in ("precision", "answered", "slopes.csv, test: ", "the best of the simple answers"):
        assert word in printed
    again = evaluate(Evaluate(run=slopes.run, json=True))
    assert json.loads(capsys.readouterr().out) == found == again
    figures = json.loads((slopes.run / "figures.json").read_text())
    assert figures["test_macro_f1"] == found["rnnapps"]["macro_f1"] and figures["test_accuracy"] > 0.9
    config = json.loads((slopes.run / "config.json").read_text())
    assert config["label"] == "kind" and config["target"] == []


def test_every_series_gets_a_class(slopes, tmp_path, capsys):
    found = predict(Predict(run=slopes.run))
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(printed) == list(found) == ["series", "time", "class", "p_up", "p_down"]
    assert found["series"].tolist() == [f"n{s}" for s in range(120)]
    assert set(found["time"]) == {"2020-01-08 00:00:00"}
    wanted = np.where(np.arange(120) % 3 == 0, "up", "down")
    assert (found["class"] == wanted).mean() > 0.9
    np.testing.assert_allclose(found["p_up"] + found["p_down"], 1, rtol=1e-5)
    assert ((found["p_up"] > 0.5) == (found["class"] == "up")).all()
    # A new file, which need not say the class.
    for label in (True, False):
        new = series_tables.slopes(tmp_path / "new.csv", 9, label, seed=1)
        found = predict(Predict(run=slopes.run, csv=(new,), json=True))
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["class"] for line in lines] == found["class"].tolist() == wanted[:9].tolist()
        assert set(lines[0]) == {"series", "time", "class", "p_up", "p_down"}


def test_an_export_answers_as_the_run_does_without_the_package(slopes, exported_slopes, elsewhere, tmp_path, capsys):
    manifest = json.loads((exported_slopes / "manifest.json").read_text())
    assert manifest["classes"] == ["up", "down"] and manifest["layout"]["past"] == ["x", "colour"]
    assert manifest["figures"]["test_macro_f1"] > 0.9
    assert manifest["endpoints"]["serving_default"]["inputs"]["past"]["shape"] == [None, 8, 2]
    new = series_tables.slopes(tmp_path / "new.csv", 5, seed=2)
    wanted = predict(Predict(run=slopes.run, csv=(new,)))
    served = predict(Predict(model=exported_slopes, csv=(new,)))
    pd.testing.assert_frame_equal(served, wanted, rtol=1e-4)
    codes = {name: code for code, name in enumerate(manifest["layout"]["categories"]["colour"], 1)}
    rows = pd.read_csv(new)
    past = np.stack([rows["x"], rows["colour"].map(codes)], -1).reshape(5, 8, 2)
    names, probabilities = json.loads(elsewhere.run(ELSEWHERE, exported_slopes, json.dumps(past.tolist())))
    assert names == wanted["class"].tolist()
    np.testing.assert_allclose(probabilities, wanted[["p_up", "p_down"]], rtol=1e-4)
    capsys.readouterr()
    with pytest.raises(UsageError, match="no --csv: wanted a file with the columns x, colour, from whose end"):
        predict(Predict(model=exported_slopes))


@pytest.mark.full  # that of forecasts is quick
def test_resume_goes_on_bit_by_bit(slopes, whole_and_resumed_classes):
    checkpoints.assert_same(*whole_and_resumed_classes)
    with pytest.raises(UsageError, match="--label colour: the run to resume has kind"):
        train(dataclasses.replace(slopes, label="colour", resume=True))


def test_rows_of_one_series_with_classes_of_their_own(rows):
    config, said = rows
    assert "no training part has kind 'new'" in said
    found = evaluate(Evaluate(run=config.run, every=2))
    assert found["rnnapps"]["accuracy"] > 0.8 and found["rnnapps"]["windows"] == 31


def test_a_class_that_was_never_seen_is_counted_as_such(rows, tmp_path):
    config, _ = rows
    all_rows = evaluate(Evaluate(run=config.run))["rnnapps"]["confusion"]
    assert sum(all_rows[2]) == 1
    found = predict(Predict(run=config.run, output=tmp_path / "out.csv"))
    assert found["time"].tolist() == [599] and list(found)[2:] == ["class", "p_b", "p_a"]


def test_what_tells_a_class_is_all_other_numbers(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("t,a,b,name,kind,c\n2020-01-01,1,2,x,1,\n2020-01-02,1,2,x,2,3\n")
    config = Config(csv=(path,), label="kind")
    found = columns(config, None, Table(path))
    assert found.targets == ("kind",) and found.past == ("a", "b", "c") and found.time == ("t",)
    assert found.categorical == ("kind",) and found.label == "kind"
    chosen = dataclasses.replace(config, past=("name", "b"), categorical=("name",))
    assert columns(chosen, None, Table(path)).categorical == ("name", "kind")
    (tmp_path / "panel").mkdir()
    assert prepare([Table(path)], found, tmp_path / "panel").layout.targets == ("kind",)


def test_the_data_sets_for_classes_have_a_label_of_their_own():
    assert resolved(Config(dataset="ecg5000")).label == "class"
    assert resolved(Config(dataset="mitdb_beats")).label == "beat"
    assert resolved(Config(dataset="mitdb_beats", target=("V5",))).label is None and resolved(Config()).label is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target", "y", "--label", "kind"], "--target and --label were given together: wanted only one of them"),
        (["--label", "sort"], "has no column 'sort'"),
        (["--label", "same"], "--label same has one class, 'a' in the training part: wanted two classes or more"),
        (["--label", "none"], "column 'none' has no value in any row: wanted names of classes"),
        (["--label", "y"], "--label y has 1,400 different values: wanted at most 1,000 classes, or --target"),
        (["--label", "kind", "--future", "y"], "--future y with --label kind: wanted --past"),
        (["--label", "kind", "--kind", "attention"], "--kind attention with --label kind: wanted auto"),
        (["--label", "kind", "--past", "kind"], "column 'kind' was named twice"),
        (["--label", "kind", "--past", "same"], "row 1: 'same' holds 'a', wanted a number, or --categorical"),
    ],
)
def test_one_sentence_for_what_is_amiss(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [f"{i + 0.5},{'ab'[i % 2]},a," for i in range(2000)]
    (tmp_path / "x.csv").write_text("y,kind,same,none\n" + "\n".join(lines) + "\n")
    monkeypatch.setattr("rnnapps.runtime.configure", lambda threads: None)
    status = cli.main("rnnapps.forecasting", ["train", "--csv", "x.csv", *arguments])
    told = capsys.readouterr().err.strip().splitlines()
    assert status == 2 and sentence in told[-1], told
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_what_a_run_of_classes_does_not_do(slopes):
    for options, sentence in (
        (Predict(run=slopes.run, samples=3), "--samples 3: wanted a model that forecasts"),
        (Predict(run=slopes.run, plot="x.png"), "--plot x.png: wanted a model that forecasts"),
    ):
        with pytest.raises(UsageError, match=sentence):
            predict(options)
    with pytest.raises(UsageError, match="--by-step with .*, which learnt classes: wanted a run that forecasts"):
        evaluate(Evaluate(run=slopes.run, by_step=True))
