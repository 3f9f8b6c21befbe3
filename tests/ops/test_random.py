"""The hash generator: against Python integers, on every path, and as random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from rnnapps.ops.random import uniform

EXTREMES = np.array([0, 1, -1, 2**31 - 1, -(2**31)], np.int32)


def by_hand(seed: int, step: int, position: int) -> float:
    """The same number in Python integers."""

    def mix(x: int) -> int:
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    row = mix((mix((seed + 0x9E3779B9) % 2**32) + step * 0x85EBCA6B) % 2**32)
    bits = mix(mix((row + position * 0xC2B2AE35) % 2**32))
    return ((bits >> 9) + 0.5) / 2**23


def test_equals_integer_arithmetic():
    steps = [0, 7, 2**31 - 1, 3, 1]
    numbers = uniform(tf.constant(EXTREMES), tf.constant(steps), 50).numpy()
    expected = [[by_hand(s, step, i) for i in range(50)] for s, step in zip(EXTREMES.tolist(), steps, strict=True)]
    np.testing.assert_array_equal(numbers, np.array(expected, np.float32))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_equal_in_graph_and_under_xla(jit_compile):
    seed, step = tf.constant(EXTREMES), tf.range(5)
    compiled = tf.function(uniform, jit_compile=jit_compile)
    np.testing.assert_array_equal(compiled(seed, step, 100), uniform(seed, step, 100))


def test_row_does_not_depend_on_batch_or_width():
    together = uniform(tf.constant(EXTREMES), tf.range(5), 40).numpy()
    for i, seed in enumerate(EXTREMES):
        np.testing.assert_array_equal(uniform(tf.constant([seed]), tf.constant([i]), 9)[0], together[i, :9])


def test_never_0_or_1():
    # The last and the first of the 2**23 values that the formula can take.
    largest = tf.cast(tf.constant(2**23 - 1), tf.float32) + 0.5
    assert largest.numpy() / 2**23 < 1.0
    numbers = uniform(tf.range(100), tf.zeros(100, tf.int32), 20_000).numpy()
    assert 0 < numbers.min() and numbers.max() < 1
    assert np.isfinite(np.log(-np.log(numbers))).all()


@pytest.mark.parametrize("vary", ["seed", "step", "position"])
def test_uniform_and_uncorrelated_along_each_coordinate(vary):
    n, zeros = 100_000, tf.zeros(100_000, tf.int32)
    if vary == "position":
        numbers = uniform(zeros[:1], zeros[:1], n).numpy()[0]
    else:
        count = tf.range(n)
        numbers = uniform(count if vary == "seed" else zeros, count if vary == "step" else zeros, 1).numpy()[:, 0]
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4
    assert stats.chisquare(np.bincount((numbers * 256).astype(int), minlength=256)).pvalue > 1e-4
    for lag in (1, 2, 3, 8):
        correlation = np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(n)
