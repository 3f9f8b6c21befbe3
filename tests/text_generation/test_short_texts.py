"""Texts that are shorter than the usual batch of windows, and files of what the model has never seen."""

from __future__ import annotations

import pytest

from rnnapps.errors import UsageError
from rnnapps.text_generation import task
from rnnapps.text_generation.config import PRESETS, Config, Evaluate, replace
from rnnapps.text_generation.sizes import described, fitted
from rnnapps.text_generation.task import evaluate
from rnnapps.training.run import Run

QUICK = PRESETS["quick"]


@pytest.mark.parametrize("tokens", [50, 51, 119, 264, 1_000, 24 * 60 - 1, 24 * 60])
@pytest.mark.parametrize("steps", [1, 16, 60, 5_000])
def test_sizes_fit_what_is_there(tokens, steps):
    asked = replace(QUICK, steps=steps)
    config = fitted(asked, tokens)
    assert -(-tokens // config.steps) // config.batch_size >= 1  # windows of a stream, as `data.text` cuts them
    assert config.batch_size <= asked.batch_size and config.steps <= asked.steps
    assert (config == asked) == (-(-tokens // steps) >= asked.batch_size) == (not described(asked, config))


def test_too_little_and_shared_batches_are_left_to_be_refused():
    assert fitted(QUICK, 49) == QUICK
    shared = replace(QUICK, strategy="mirrored")
    assert fitted(shared, 300) == shared


def test_three_hundred_characters_begin_a_run_and_it_is_said(command, tmp_path, monkeypatch):
    def no_training(run, config, *_):
        raise UsageError(f"{config.batch_size} streams of {config.steps}")

    monkeypatch.setattr(task, "_loop", no_training)
    path = tmp_path / "note.txt"
    path.write_text("all work and no play makes jack a dull boy. " * 7)
    answer = command("train --preset quick --text", path, "--run", tmp_path / "run")
    assert "2 streams of 60" in answer.err
    assert "the text is short: --batch-size 2 in the place of 24\n" in answer.err
    config = Run(tmp_path / "run").load_config(Config)
    assert (config.batch_size, config.steps) == (2, 60)
    assert "2 streams of 60" in command("train --resume --epochs 3 --run", tmp_path / "run").err


def test_what_was_never_seen_is_said_of_a_file_too(run, tmp_path, capsys, monkeypatch):
    path = tmp_path / "greek.txt"
    path.write_text("1 times 2 is \u03b2, \u03b1!\n" * 3, encoding="utf-8")
    monkeypatch.setattr(task, "_LISTED", 2)
    monkeypatch.setattr(task.TextModel, "score_file", lambda *_: (1.0, 5))
    evaluate(Evaluate(run=run, text=(path,)))
    assert f"{path} holds '!' '\u03b1' and 1 more, which the model has never seen" in capsys.readouterr().err
