"""One small trained run and its export, which the tests of this folder share, and the command line in this process."""

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import tensorflow as tf

from rnnapps import cli, runtime
from rnnapps.text_generation.config import PRESETS, Config, Export, replace
from rnnapps.text_generation.task import export, train

TEXT = "".join(f"{n} times {n + 1} is {n * (n + 1)}, n\u00e9?\n" for n in range(300))


def tiny(folder: Path, **changes) -> Config:
    """Options of a run of about two seconds in `folder/run`, on the text in `folder/sums.txt`."""
    path = folder / "sums.txt"
    if not path.exists():
        path.write_text(TEXT, encoding="utf-8")
    options = {"text": (path,), "run": folder / "run", "minutes": None, "epochs": 1, "sample_every": 0}
    return replace(PRESETS["tiny"], **{**options, "validate_every": 1e9, **changes})


@pytest.fixture
def make_config() -> Callable[..., Config]:
    return tiny


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run of two LSTM layers. Not to be changed."""
    config = tiny(tmp_path_factory.mktemp("shared"), epochs=4, layers=2, seed=3)
    train(config)
    return config.run


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory) -> Path:
    """Its export, `.../sums/1`. Not to be changed."""
    return export(Export(run=run, output=tmp_path_factory.mktemp("saved_models")))


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
