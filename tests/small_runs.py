"""Runs of a few updates, for tests of what happens around them: done before their graphs would be made."""

import contextlib
import dataclasses
import shutil
import warnings

import pytest
import tensorflow as tf

from rnnapps.ops import time_loop
from rnnapps.training import checkpoint


@contextlib.contextmanager
def untraced():
    """Functions run as they are: tracing them takes longer than a few updates, or an answer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Even though the .tf.config.experimental_run_functions_eagerly. option")
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly():
    with untraced():
        yield


@pytest.fixture(scope="session")
def elsewhere(elsewhere):
    """With TensorFlow there, whose import is on no test's account."""
    elsewhere.run("import tensorflow")
    return elsewhere


@contextlib.contextmanager
def quickly():
    """Functions that are traced to run a few times: less of them to trace, and nothing spent on making them fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_loop, "_STEPS_PER_TURN", 1)
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        yield
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def resumed(train, config):
    """The folder of a run, and of one that stopped after the first update and was resumed."""
    config = dataclasses.replace(config, schedule="constant", validate_every=1e-9)
    half = config.run.with_name("half")
    save = checkpoint.save

    def save_and_copy(path, names, arrays, state):
        save(path, names, arrays, state)
        if state["step"] == 1:
            shutil.copytree(config.run, half)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_copy)
        train(config)
    train(dataclasses.replace(config, run=half, resume=True))
    return config.run, half
