"""Small trained runs and their exports, which the tests of this folder share, and the command line in this process."""

import functools
import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import text_runs
from text_runs import cheap_verbs  # noqa: F401

from rnnapps import cli, runtime
from rnnapps.sampler import Sampler
from rnnapps.text_generation import task
from rnnapps.text_generation.config import Config, Predict, replace
from rnnapps.training.log import Log


@pytest.fixture
def make_config() -> Callable[..., Config]:
    return text_runs.tiny


@pytest.fixture(scope="session")
def run(kept) -> Path:
    """A run of two LSTM layers. Not to be changed."""
    return text_runs.run_of(kept)


@pytest.fixture(scope="session")
def exported(kept) -> Path:
    """Its export, `.../sums/1`. Not to be changed."""
    return text_runs.export_of(kept)


@pytest.fixture(scope="session")
def other_run(kept) -> Path:
    """A run of words in half precision. Not to be changed."""
    return text_runs.other_run_of(kept)


@pytest.fixture(scope="session")
def other_exported(kept) -> Path:
    """Its export, `.../sums/2`. Not to be changed."""
    return text_runs.other_export_of(kept)


@pytest.fixture(scope="module")
def loaded_once():
    """Each model is loaded once, and what writes with it is traced once and without XLA: verbs do so at every call."""
    samplers = {}

    def sampler(step, *rest, **_):
        if step not in samplers:
            samplers[step] = Sampler(step, *rest, jit_compile=False)
        return samplers[step]

    sampler.generate = Sampler.generate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "Sampler", sampler)
        patch.setattr(task, "_text_model", functools.cache(task._text_model))
        yield


@pytest.fixture(scope="module")
def signatures(exported):
    """The endpoints of the export."""
    return tf.saved_model.load(str(exported)).signatures


@pytest.fixture(scope="session")
def awake(elsewhere):
    """The process elsewhere, which has imported TensorFlow."""
    elsewhere.run("import tensorflow")
    return elsewhere


@pytest.fixture
def learn_by_heart() -> Callable[[Config, int], float]:
    """Trains on one document of random letters, which the model then has to write; gives the last losses' mean.

    No two places of it look alike for long, so a network that carries its state can know all of it.
    """

    def learn(config: Config, length: int) -> float:
        text = "".join(np.random.default_rng(5).choice(list("abcdefgh"), length))
        config.text[0].write_text(text)
        task.train(replace(config, batch_size=1, validation_fraction=0.0, test_fraction=0.0, cold_starts=0.0))
        assert task.predict(Predict(run=config.run, length=length, greedy=True)) == [text]
        return float(np.mean([line["loss"] for line in Log(config.run).read()][-5:]))

    return learn


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def command(capfd, monkeypatch) -> Callable[..., Answer]:
    """Runs a command line in this process; what the libraries below Python print counts too."""
    monkeypatch.setattr(runtime, "configure", lambda threads=0: None)  # a process can set its threads only once
    monkeypatch.setattr(tf.get_logger(), "level", logging.ERROR)  # it counts the models that a process makes

    def call(*arguments) -> Answer:
        words: list[str] = []
        for argument in arguments:  # text is split as a shell does, a list is not
            if isinstance(argument, str):
                words += shlex.split(argument)
            else:
                words += argument if isinstance(argument, list) else [str(argument)]
        capfd.readouterr()
        status = cli.main("rnnapps.text_generation", words)
        return Answer(status, *capfd.readouterr())

    return call
