"""The learning rate by hand."""

import math

import pytest

from rnnapps.training.schedule import learning_rate


def test_warm_up_is_a_straight_line_that_begins_above_zero():
    rates = [learning_rate(0.4, step, 0.0, warmup_steps=4) for step in range(6)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert learning_rate(0.4, 0, 0.0, warmup_steps=0) == 0.4


@pytest.mark.parametrize(("fraction", "part"), [(0, 1), (1 / 3, 0.75), (0.5, 0.5), (2 / 3, 0.25), (1, 0), (1.2, 0)])
def test_cosine_falls_to_nothing_at_the_end_of_the_budget(fraction, part):
    assert learning_rate(0.02, 1000, fraction, 10, "cosine") == pytest.approx(0.02 * part, abs=1e-12)
    assert learning_rate(0.02, 1000, fraction, 10, "constant") == 0.02


def test_warm_up_and_decay_multiply():
    assert learning_rate(1.0, 1, 0.25, 8, "cosine") == pytest.approx(2 / 8 * (1 + math.cos(math.pi / 4)) / 2)
