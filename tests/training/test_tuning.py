"""Searches: what they try, what they say, how they go on, and what a trial that fails does."""

import dataclasses
import json
import shlex
import sys

import pytest

from rnnapps import cli
from rnnapps.errors import UsageError
from rnnapps.text_generation import config as text
from rnnapps.text_generation.task import tune as tune_text
from rnnapps.training import tuning

LINES = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(100))


@dataclasses.dataclass(frozen=True)
class Options(text.Tune):
    """Of runs that are only pretended."""


@pytest.fixture
def options(tmp_path):
    tiny = {**vars(text.PRESETS["tiny"]), "run": tmp_path / "search"}
    return Options(**tiny, space=("units=2..64", "learning_rate=1e-4..1e-1"), trials=6)


class Trainer:
    """Pretends to train: the figure is the distance of the units from 20. Units over `limit` explode."""

    def __init__(self, limit=1000, stop_at=None):
        self.limit, self.stop_at, self.configs = limit, stop_at, []

    def __call__(self, config):
        self.configs.append(config)
        if len(self.configs) == self.stop_at:
            (config.run / "checkpoints").mkdir(parents=True)
            (config.run / "checkpoints" / "last.npz").touch()
            (config.run / "config.json").touch()
            raise KeyboardInterrupt
        if config.units > self.limit:
            raise UsageError(f"--units {config.units}: too many")
        config.run.mkdir(parents=True, exist_ok=True)
        (config.run / "figures.json").write_text(json.dumps({"validation_nats": abs(config.units - 20)}))


def test_the_best_comes_first_with_its_command(options, capsys):
    trainer = Trainer()
    table = tuning.tune("text_generation", text.Config, trainer, options)
    assert len(table) == 6 == len({config.run for config in trainer.configs})
    assert list(table["validation"]) == sorted(abs(config.units - 20) for config in trainer.configs)
    assert all(2 <= config.units <= 64 and 1e-4 <= config.learning_rate <= 1e-1 for config in trainer.configs)
    assert len({config.learning_rate for config in trainer.configs}) == 6
    said = capsys.readouterr().out
    command = shlex.split(said.partition("the best: ")[2])
    assert command[:4] == ["python", "-m", "rnnapps.text_generation", "train"]
    best = min(trainer.configs, key=lambda config: abs(config.units - 20))
    again = cli.parse(text, "train", command[4:], "prog")
    assert dataclasses.replace(again, run=best.run, overwrite=True) == best
    assert str(table["trial"][0]) == best.run.name and best.run.name in said


def test_one_seed_is_one_search_and_another_is_another(options, tmp_path):
    def tried(name, seed):
        trainer = Trainer()
        changed = dataclasses.replace(options, run=tmp_path / name, search_seed=seed, trials=3)
        tuning.tune("text_generation", text.Config, trainer, changed)
        return [(config.units, config.learning_rate) for config in trainer.configs]

    assert tried("a", 1) == tried("b", 1) != tried("c", 2)


@pytest.mark.full
def test_a_bayesian_search_learns_from_its_trials(options):
    pytest.importorskip("sklearn", reason="wants keras-tuner[bayesian]")
    trainer = Trainer()
    changed = dataclasses.replace(options, search="bayesian", trials=14, space=("units=2..200",))
    tuning.tune("text_generation", text.Config, trainer, changed)
    first, last = ([abs(config.units - 20) for config in some] for some in (trainer.configs[:4], trainer.configs[-4:]))
    assert sum(last) < sum(first) and min(last) <= 5


def test_a_trial_that_fails_is_recorded_and_the_others_go_on(options, capsys):
    trainer = Trainer(limit=30)
    table = tuning.tune("text_generation", text.Config, trainer, dataclasses.replace(options, trials=8))
    failed = [config.units for config in trainer.configs if config.units > 30]
    assert 0 < len(failed) < 8 == len(trainer.configs)
    assert list(table["status"]) == ["done"] * (8 - len(failed)) + ["failed"] * len(failed)
    assert capsys.readouterr().err.count("too many") == len(failed)
    with pytest.raises(Exception, match="ZeroDivisionError"):  # a defect is none of them
        tuning.tune("text_generation", text.Config, lambda config: 1 / 0, dataclasses.replace(options, overwrite=True))


def test_a_search_goes_on_where_it_was_interrupted(options):
    stopped = Trainer(stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune("text_generation", text.Config, stopped, options)
    with pytest.raises(UsageError, match="holds a search or a run already"):
        tuning.tune("text_generation", text.Config, Trainer(), options)
    with pytest.raises(UsageError, match=r"--space .*: the search to resume has"):
        changed = dataclasses.replace(options, resume=True, space=("units=1,2",))
        tuning.tune("text_generation", text.Config, Trainer(), changed)
    rest = Trainer()
    again = dataclasses.replace(options, resume=True, trials=7)
    table = tuning.tune("text_generation", text.Config, rest, again)
    assert len(rest.configs) == 5 and len(table) == 7 and set(table["status"]) == {"done"}
    assert rest.configs[0] == dataclasses.replace(stopped.configs[-1], resume=True)
    assert not any(config.resume for config in rest.configs[1:])
    whole = Trainer()
    tuning.tune("text_generation", text.Config, whole, dataclasses.replace(options, overwrite=True))
    assert [config.units for config in whole.configs[:3]] == [config.units for config in stopped.configs]
    assert len(whole.configs) == 6


def test_what_is_missing_is_said(options, monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="tune without --space"):
        tuning.tune("text_generation", text.Config, Trainer(), dataclasses.replace(options, space=()))
    with monkeypatch.context() as patch, pytest.raises(UsageError, match=r"pip install 'keras-tuner\[bayesian\]'"):
        patch.setattr(tuning.importlib.util, "find_spec", lambda name: None if name == "sklearn" else True)
        tuning.tune("text_generation", text.Config, Trainer(), dataclasses.replace(options, search="bayesian"))
    monkeypatch.setattr(tuning.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'rnnapps\[tune\]'"):
        tuning.tune("text_generation", text.Config, Trainer(), options)
    assert not options.run.exists()


@pytest.mark.usefixtures("cheap_verbs", "one_step_a_turn")
def test_a_real_search_leaves_runs(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(LINES, encoding="utf-8")
    tiny = {**vars(text.PRESETS["tiny"]), "run": tmp_path / "search", "text": (tmp_path / "text.txt",)}
    tiny |= {"minutes": None, "epochs": 0.1, "sample_every": 0, "validation_fraction": 0.1, "test_fraction": 0.0}
    tiny |= {"cell": "simple_rnn", "units": 8, "steps": 4}
    space = "learning_rate=0.02,1e9", "clip=none"
    table = tune_text(text.Tune(**tiny, space=space, trials=2))
    assert sorted(table["status"]) == ["done", "failed"]
    assert (tmp_path / "search" / str(table["trial"][0]) / "model.keras").exists()
    assert "the loss" in capsys.readouterr().err
    assert "keras_tuner" in sys.modules
