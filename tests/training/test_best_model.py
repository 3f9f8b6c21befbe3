"""A budget of epochs chooses the same model whatever the clock says, also of a run that was killed on the way."""

import itertools
import os
import signal

import checkpoints
import numpy as np
import pytest
import toy

from rnnapps.training import loop
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop
from rnnapps.training.run import Run


def trained(tick, folder, **changes):
    """Trains the toy for three epochs, with a clock that goes on by `tick` seconds whenever it is read."""
    now = itertools.count(0.0, tick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_VALIDATE_AFTER", (5, 8))
        patch.setattr(loop.time, "monotonic", lambda: next(now))
        # A rate at which the last model is not the best.
        toy.train(toy.Config(folder, validate_every=1.0, learning_rate=0.7, epochs=3, **changes))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped, by a fast clock."""
    return trained(0.001, tmp_path_factory.mktemp("whole") / "run")


def validations(folder):
    return [(line["step"], line["validation_error"]) for line in Log(folder).read() if "validation_error" in line]


def assert_same_model(one, other):
    checkpoints.assert_same(one, other)
    for mine, theirs in zip(Run(one).load_model().weights, Run(other).load_model().weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert Run(one).load_figures()["validation"] == Run(other).load_figures()["validation"]


def test_the_clock_chooses_nothing(whole, tmp_path):
    slow = trained(0.9, tmp_path / "slow")
    assert validations(whole) == validations(slow) and len(validations(whole)) > 4
    figures = [figure for _, figure in validations(whole)]
    assert min(figures) == Run(whole).load_figures()["validation"] < figures[-1]
    assert_same_model(whole, slow)


def stop_after(monkeypatch, step, stop):
    ended = Loop.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        ended(self, batch, logs)
        if self.state.step == step:
            stop()

    monkeypatch.setattr(Loop, "on_train_batch_end", on_train_batch_end)


class Killed(BaseException):
    """Ends a run where it stands, as `kill -9` does."""


def killed():
    raise Killed


def interrupted():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("step", "stop", "ended"),
    [
        (3, killed, Killed),
        (25, interrupted, KeyboardInterrupt),
        pytest.param(3, interrupted, KeyboardInterrupt, marks=pytest.mark.full),
        pytest.param(25, killed, Killed, marks=pytest.mark.full),
    ],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_model(whole, monkeypatch, tmp_path, step, stop, ended):
    """Before the first validation, and between two."""
    with monkeypatch.context() as patch:
        stop_after(patch, step, stop)
        with pytest.raises(ended):
            trained(0.3, tmp_path / "stopped")
    trained(0.3, tmp_path / "stopped", resume=True)
    assert validations(tmp_path / "stopped") == validations(whole)
    assert_same_model(tmp_path / "stopped", whole)


def test_ctrl_c_before_the_first_validation_leaves_a_model(monkeypatch, tmp_path):
    stop_after(monkeypatch, 3, interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(0.001, tmp_path / "stopped")
    assert validations(tmp_path / "stopped") == [] and Run(tmp_path / "stopped").load_model().count_params() > 0


@pytest.mark.parametrize(
    ("per_epoch", "steps"), [(1, 200), (20, 200), (150, 300), (200, 200), (453, 453), (501, 251), (5_000, 500)]
)
def test_validations_are_some_hundred_updates_apart_at_equal_parts_of_epochs(per_epoch, steps):
    assert loop._steps_between(per_epoch) == steps
