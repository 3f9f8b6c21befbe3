"""Training steps as XLA compiles them, which is how they run on a GPU: each task's losses are those without."""

import importlib
import json

import number_words
import numpy as np
import pytest

from rnnapps import cli, runtime
from rnnapps import config as configs
from rnnapps.training import loop

pytestmark = pytest.mark.usefixtures("cheap_verbs", "one_step_a_turn")
LINES = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(100))


def changes(task, folder, more):
    """Few updates, with what else a step may do."""
    same = {"minutes": None, "validate_every": 1e9}
    if task == "text_generation":
        (folder / "text.txt").write_text(LINES, encoding="utf-8")
        return {**same, "text": (folder / "text.txt",), "epochs": 0.3, "sample_every": 4, "dropout": 0.0, **more}
    if task == "forecasting":
        return {**same, "epochs": 0.1, "dropout": 0.0, "average": 0.9}
    if task == "translation":
        pairs = number_words.pairs(folder / "few.tsv", 60)
        return {**same, "pairs": (pairs,), "epochs": 1.0, "label_smoothing": 0.1, "validation_fraction": 0.1}
    return {**same, "epochs": 0.01, "even_attention": 0.5}


SMALL = {
    "cell": "simple_rnn", "units": 4, "layers": 1, "steps": 2, "epochs": 0.025, "sample_every": 0,
    "validation_fraction": 0.0, "test_fraction": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("text_generation", SMALL),
        *(pytest.param(task, {}, marks=pytest.mark.full) for task in cli.tasks()),
    ],
)
def test_a_compiled_training_has_the_losses_of_a_plain_one(task, more, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    found = {}
    for name in ("plain", "compiled"):
        monkeypatch.setattr(runtime, "jit_compile", lambda name=name: name == "compiled")
        preset = importlib.import_module(f"rnnapps.{task}.config").PRESETS["tiny"]
        config = configs.replace(preset, run=tmp_path / name, **changes(task, tmp_path, more))
        importlib.import_module(f"rnnapps.{task}.task").train(config)
        lines = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if "loss" in line]
        found[name] = losses + [value for line in lines for key, value in line.items() if "validation" in key]
    assert len(found["plain"]) > 3
    np.testing.assert_allclose(found["compiled"], found["plain"], rtol=2e-4)
