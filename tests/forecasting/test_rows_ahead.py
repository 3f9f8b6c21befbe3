"""A table as the README asks for it, with rows ahead that have no target: what it learns is judged by values."""

import dataclasses
import math

import numpy as np
import pytest

from rnnapps.errors import UsageError
from rnnapps.forecasting import PRESETS, Predict, predict, train
from rnnapps.forecasting.build import DATA
from rnnapps.training.log import Log
from rnnapps.training.run import Run
from rnnapps.training.series_evaluation import OURS, mean_loss, verdict
from rnnapps.training.series_scores import Scores


def table(path, known, ahead):
    noise = np.random.default_rng(0).normal(size=known + ahead)
    lines = [
        f"{math.sin(i / 2) + noise[i] / 9:.4f},{i % 3}" if i < known else f",{i % 3}" for i in range(known + ahead)
    ]
    path.write_text("y,price\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.full
def test_training_is_judged_by_values(tmp_path):
    """As many rows ahead as would have filled validation and test part."""
    config = dataclasses.replace(
        PRESETS["tiny"], csv=(table(tmp_path / "x.csv", 120, 60),), target=("y",), future=("price",),
        run=tmp_path / "run", validation_fraction=0.2,
    )  # fmt: skip
    train(config)
    losses = [line["validation_pinball"] for line in Log(config.run).read() if "validation_pinball" in line]
    assert losses and min(losses) > 0.01
    figures = Run(config.run, DATA).load_figures()
    assert figures["test_mae"] > 0.01 and figures["test_values"] == (24 - 6 + 1) * 6
    assert predict(Predict(run=config.run, output=tmp_path / "out.csv"))["time"].tolist() == list(range(120, 126))


def test_a_part_without_values_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("y\n" + "1\n2\n" * 40 + "NA\n" * 40 + "3\n4\n" * 20)
    config = dataclasses.replace(PRESETS["tiny"], csv=(path,), target=("y",), run=tmp_path / "run")
    config = dataclasses.replace(config, validation_fraction=0.2, test_fraction=0.3)
    with pytest.raises(UsageError, match="the validation part has no value of y: wanted some, or another --validation"):
        train(config)


def test_of_no_value_there_is_no_figure():
    assert mean_loss(lambda x, y: y)([]) is None
    empty, zeros = Scores(2, ("y",)), Scores(2, ("y",))
    assert empty.figures() == {"values": 0.0}
    assert "no value" in verdict({OURS: empty, "last value": empty})
    one = np.ones((1, 1))
    zeros.add(np.ones((1, 2, 1)), np.zeros((1, 2, 1)), one, one)
    assert "MAPE" not in zeros.figures() and zeros.figures()["MAE"] == 1
