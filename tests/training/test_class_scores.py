"""Scores of classes against numbers made by hand, and baselines against what they stand for."""

import numpy as np
import pytest

from rnnapps.data.gather import prepare
from rnnapps.data.labels import LabelIndex
from rnnapps.data.table import Columns, Table
from rnnapps.training import class_evaluation
from rnnapps.training.class_evaluation import LOGISTIC, MAJORITY, compare, flattened, logistic_regression, verdict
from rnnapps.training.class_scores import ClassScores
from rnnapps.training.series_evaluation import OURS


def certain(answers, classes):
    return np.eye(classes)[answers]


def test_figures_by_hand():
    scores = ClassScores("abcd")
    scores.add(certain([0, 0, 1], 4), np.array([0, 1, 1.0]))
    scores.add(certain([0, 2, 1, 0], 4), np.array([0, 0, 1, np.nan]))
    assert scores.confusion.tolist() == [[2, 0, 1, 0], [1, 2, 0, 0], [0] * 4, [0] * 4, [1, 0, 0, 0]]
    each = scores.by_class()
    assert each["a"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 3, "F1": 4 / 7, "windows": 3})
    assert each["b"] == pytest.approx({"precision": 1, "recall": 2 / 3, "F1": 4 / 5, "windows": 3})
    assert each["c"] == {"precision": 0, "recall": 0, "F1": 0, "windows": 0} == each["d"]
    figures = scores.figures()
    assert figures["accuracy"] == pytest.approx(4 / 7) and figures["windows"] == 7
    # d neither came nor was answered.
    assert figures["macro_f1"] == pytest.approx((4 / 7 + 4 / 5 + 0) / 3)


def test_nats_are_of_the_classes_that_were_seen():
    scores = ClassScores("ab")
    scores.add(np.array([[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]), np.array([1, 0, np.nan]))
    assert scores.figures()["nats"] == pytest.approx(-(np.log(0.75) + np.log(0.5)) / 2)
    scores.add(certain([0], 2), np.array([1.0]))
    assert np.isfinite(scores.figures()["nats"])
    assert ClassScores("ab").figures() == {"accuracy": 0, "macro_f1": 0, "nats": 0, "windows": 0}


def test_a_verdict_names_the_best_baseline():
    found = {name: ClassScores("ab") for name in (OURS, MAJORITY, LOGISTIC)}
    targets = np.array([0, 0, 1, 1.0])
    for name, answers in ((OURS, [0, 0, 1, 0]), (MAJORITY, [0, 0, 0, 0]), (LOGISTIC, [0, 1, 1, 0])):
        found[name].add(certain(answers, 2), targets)
    gain = (4 / 5 + 2 / 3) / 2 - 0.5
    assert verdict(found) == (
        f"{gain:.3f} better in macro F1 than the logistic regression, the best of the simple answers (macro F1 0.733 "
        "against 0.500, accuracy 0.750 against 0.500)"
    )
    assert verdict({**found, LOGISTIC: found[OURS]}).startswith("as good as the logistic regression")
    assert "WORSE" in verdict({**found, OURS: found[MAJORITY]})


@pytest.fixture
def panel(tmp_path):
    """A class that follows from the sign of a sum over the window, and one number in ten missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=1200)
    lines = ["x,k,kind"]
    for i, value in enumerate(x):
        kind = "ab"[int(x[max(0, i - 3) : i + 1].sum() > 0.7)]
        lines.append(f"{'' if i % 10 == 0 else 1000 + 5 * value},{'uv'[i % 2]},{kind}")
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "panel").mkdir()
    columns = Columns(("kind",), past=("x", "k"), categorical=("kind", "k"))
    return prepare([Table(tmp_path / "x.csv")], columns, tmp_path / "panel")


def test_windows_lie_flat(panel):
    past = np.array([[[1000, 1], [np.nan, 2], [1005, 0], [1000, np.nan]]], np.float32)
    one = panel.series[0]
    x = np.array(panel.values[: one.train_end, 1], np.float64)
    numbers = np.nan_to_num((past[0, :, 0] - np.nanmean(x)) / np.nanstd(x))
    wanted = [*numbers, 1, 0, 0, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(flattened(panel)({"past": past}), [wanted], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("updates", [40, pytest.param(1_000, marks=pytest.mark.full)])
def test_baselines_are_what_they_are_called(panel, updates, monkeypatch):
    made = []

    def learn(*args):
        made.append(logistic_regression(*args, updates=updates))
        return made[-1]

    monkeypatch.setattr(class_evaluation, "logistic_regression", learn)
    found = compare(lambda inputs: certain([0] * len(inputs["past"]), 2), panel, "test", 4)
    counts, learnt = LabelIndex(panel, "test", 4).counts(), LabelIndex(panel, "train", 4).counts()
    share = (learnt + 1) / (learnt + 1).sum()
    figures = {name: scores.figures() for name, scores in found.items()}
    assert figures[MAJORITY]["accuracy"] == counts[learnt.argmax()] / counts.sum()
    assert figures[MAJORITY]["nats"] == pytest.approx(-(counts * np.log(share)).sum() / counts.sum())
    assert figures[LOGISTIC]["accuracy"] > 0.85 > figures[MAJORITY]["accuracy"] + 0.1
    assert {row["windows"] for row in figures.values()} == {counts.sum()}
    inputs, _ = LabelIndex(panel, "test", 4).read(np.arange(9))
    np.testing.assert_array_equal(logistic_regression(panel, 4, updates=updates)(inputs), made[0](inputs))
