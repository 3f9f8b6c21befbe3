"""Runs of a few updates, for tests of what happens around them: done before their graphs would be made."""

import contextlib
import dataclasses
import functools
import gc
import shutil
import warnings

import pytest
import tensorflow as tf

from rnnapps.ops import execution, time_loop
from rnnapps.serving.verification import Verification
from rnnapps.training import checkpoint, loop
from rnnapps.training.log import Log


@contextlib.contextmanager
def undrawn():
    """Trainings draw no curve of their loss, which takes as long as ten updates do; tests/training/test_log.py does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Log, "plot", lambda *_: None)
        yield


@contextlib.contextmanager
def untraced():
    """Functions run as they are: tracing them takes longer than a few updates, or an answer."""
    with warnings.catch_warnings(), undrawn():
        warnings.filterwarnings("ignore", "Even though the .tf.config.experimental_run_functions_eagerly. option")
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly():
    with untraced():
        yield


@pytest.fixture(scope="module")
def loaded_once():
    """An export that several tests ask is loaded by the first of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", functools.cache(tf.saved_model.load))
        yield


@pytest.fixture(scope="session")
def elsewhere(elsewhere):
    """With TensorFlow there, whose import is on no test's account."""
    elsewhere.run("import tensorflow")
    return elsewhere


@contextlib.contextmanager
def quickly(cpp=False):
    """Functions that are traced to run a few times: less of them to trace, and nothing spent on making them fast.

    An export is not tried in a process of TensorFlow in C++, unless `cpp` says so; tests/serving does that.
    """
    with pytest.MonkeyPatch.context() as patch, undrawn():
        patch.setattr(time_loop, "_STEPS_PER_TURN", 1)
        if not cpp:
            patch.setattr(Verification, "_same_in_cpp", _same_in_python)
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        yield
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    # A process may make several runs and exports, and keeps none of what it traced for them.
    execution.forget_traced()
    gc.collect()


def _same_in_python(self):
    asked = [*self.requests, *(request for _, request in self._together())]
    self.answers = [self.ask(key, inputs) for key, inputs in asked]
    self.in_cpp = [*self.answers, *self.answers]
    return "not tried in C++"


@pytest.fixture
def often_validated(monkeypatch):
    """Validations of small runs, which would have but the last one."""
    monkeypatch.setattr(loop, "_VALIDATE_AFTER", (1, 3))


def resumed(train, config, after=1):
    """The folder of a run, and of one that stopped after so many updates and was resumed."""
    config = dataclasses.replace(config, schedule="constant", validate_every=1e-9)
    half = config.run.with_name("half")
    save = checkpoint.save

    def save_and_copy(path, names, arrays, state):
        save(path, names, arrays, state)
        if state["step"] == after:
            shutil.copytree(config.run, half)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_copy)
        train(config)
    train(dataclasses.replace(config, run=half, resume=True))
    return config.run, half
