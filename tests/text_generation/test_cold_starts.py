"""What begins from nothing: every prompt, score and document does, so training has to know it."""

from __future__ import annotations

import pytest

from rnnapps.serving.text_model import TextModel
from rnnapps.text_generation.config import PRESETS, Evaluate
from rnnapps.text_generation.task import evaluate
from rnnapps.training.evaluation import Evaluator, baselines
from rnnapps.training.run import Run


def test_every_preset_but_those_of_programs_that_had_none_learns_to_begin():
    assert {name for name, preset in PRESETS.items() if not preset.cold_starts} == {"min-char-rnn", "char-rnn"}


@pytest.mark.parametrize("cost", [1.0, 17.4])
def test_a_figure_that_guessing_beats_is_said(run, cost, capsys, monkeypatch):
    guess = baselines(Run(run).load_corpus(), "test")["unigram"]
    monkeypatch.setattr(Evaluator, "nats_per_token", lambda *_, **__: cost)
    evaluate(Evaluate(run=run))
    said = capsys.readouterr().err
    assert (f"test: {cost:.4f} nats are worse than {guess:.4f}" in said) == (cost > guess) and said.count("\n") <= 1


def test_a_file_that_guessing_beats_is_said(run, tmp_path, capsys, monkeypatch):
    path = tmp_path / "noise.txt"
    path.write_text("noise")
    monkeypatch.setattr(TextModel, "score_file", lambda *_: (9.0, 5))
    evaluate(Evaluate(run=run, text=(path,)))
    assert f"{path}: 9.0000 nats are worse than" in (said := capsys.readouterr().err) and "(uniform)" in said
