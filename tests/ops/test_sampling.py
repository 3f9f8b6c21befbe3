"""Filters against brute force in NumPy, and draws against the distribution that they should follow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from rnnapps.ops import sampling
from rnnapps.ops.random import uniform

BATCH, SYMBOLS = 6, 23
LOGITS = np.random.default_rng(0).normal(scale=2.0, size=(BATCH, SYMBOLS)).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def kept_by_top_k(logits: np.ndarray, k: int) -> set[int]:
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    return set(order[:k] if k > 0 else order)


def kept_by_top_p(logits: np.ndarray, p: float) -> set[int]:
    """Adds symbols, best first, until they reach p."""
    probabilities, kept, mass = softmax(logits), set(), 0.0
    for i in np.argsort(-probabilities):
        kept.add(int(i))
        mass += probabilities[i]
        if mass >= p:
            break
    return kept


def kept_by_min_p(logits: np.ndarray, p: float) -> set[int]:
    probabilities = softmax(logits)
    return {i for i in range(len(logits)) if probabilities[i] >= p * probabilities.max()}


FILTERS = {
    "top_k": (sampling.top_k, kept_by_top_k, np.array([0, 1, 2, 7, 23, 100], np.int32)),
    "top_p": (sampling.top_p, kept_by_top_p, np.array([0.0, 0.1, 0.5, 0.9, 0.999, 1.0], np.float32)),
    "min_p": (sampling.min_p, kept_by_min_p, np.array([0.0, 0.001, 0.05, 0.3, 0.9, 1.0], np.float32)),
}


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [*((name, False) for name in FILTERS), ("top_p", True),
     *(pytest.param(name, True, marks=pytest.mark.full) for name in ("top_k", "min_p"))],
)  # fmt: skip
def test_filter_equals_brute_force(name, jit_compile):
    function, brute_force, parameters = FILTERS[name]
    function = tf.function(function, jit_compile=jit_compile)
    for shift in range(BATCH):  # every parameter meets every row
        filtered = function(tf.constant(LOGITS), tf.constant(parameter := np.roll(parameters, shift))).numpy()
        for row in range(BATCH):
            kept = brute_force(LOGITS[row], parameter[row])
            expected = [LOGITS[row, i] if i in kept else -np.inf for i in range(SYMBOLS)]
            np.testing.assert_array_equal(filtered[row], np.array(expected, np.float32))


@pytest.mark.parametrize("name", FILTERS)
def test_filter_keeps_equals_and_never_drops_all(name):
    function, _, parameters = FILTERS[name]
    flat = tf.ones((BATCH, SYMBOLS))
    np.testing.assert_array_equal(function(flat, parameters), flat)
    strict = {"top_k": 1, "top_p": -1.0, "min_p": 5.0}[name]
    one_left = function(LOGITS, np.full_like(parameters, strict)).numpy()
    np.testing.assert_array_equal(np.isfinite(one_left), LOGITS == LOGITS.max(axis=1, keepdims=True))


def test_top_p_of_1_keeps_probabilities_too_small_for_the_sum():
    logits = tf.constant([[0.0, -60.0]])
    np.testing.assert_array_equal(sampling.top_p(logits, tf.constant([1.0])), logits)
    assert sampling.top_p(logits, tf.constant([0.999])).numpy()[0, 1] == -np.inf


def test_repetition_penalty_by_hand():
    logits = tf.constant([[2.0, -2.0, 2.0, -2.0, 0.0]] * 2)
    seen = tf.constant([[True, True, False, False, True]] * 2)
    result = sampling.repetition_penalty(logits, seen, tf.constant([1.25, 1.0]))
    np.testing.assert_allclose(result, [[1.6, -2.5, 2.0, -2.0, 0.0], [2.0, -2.0, 2.0, -2.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 0.7, 1.0, 5.0])
def test_scale_gives_the_softmax_at_that_temperature(temperature):
    scaled = sampling.scale(LOGITS, tf.fill((BATCH,), temperature)).numpy()
    assert (scaled.max(axis=1) == 0).all()
    with np.errstate(over="ignore"):
        shifted = np.float64(LOGITS) - LOGITS.max(axis=1, keepdims=True)
        expected = softmax(shifted / np.float64(np.float32(temperature)))
    np.testing.assert_allclose(softmax(scaled), expected, rtol=2e-4, atol=1e-7)


def test_greedy_is_argmax_and_takes_the_first_of_equals():
    logits = np.round(LOGITS)  # many equal values
    for temperature in (0.0, -1.0):
        drawn = sampling.draw(logits, tf.fill((BATCH,), temperature), tf.random.uniform((BATCH, SYMBOLS), 0.1, 0.9))
        np.testing.assert_array_equal(drawn, logits.argmax(axis=1))


def draws(logits: np.ndarray, temperature: float, count: int = 40_000) -> np.ndarray:
    """Symbols drawn from one row of logits, `(count,)`."""
    seed, step = tf.fill((count,), 11), tf.range(count)
    rows = tf.repeat(tf.constant(logits)[None], count, axis=0)
    return sampling.draw(rows, tf.fill((count,), temperature), uniform(seed, step, len(logits))).numpy()


def p_value(drawn: np.ndarray, probabilities: np.ndarray) -> float:
    """Chi-square test; symbols that are too rare for it are counted as one."""
    counts, expected = np.bincount(drawn, minlength=len(probabilities)), probabilities * len(drawn)
    assert counts[probabilities == 0].sum() == 0
    common = expected >= 10
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    return stats.chisquare(observed[expected > 0], expected[expected > 0]).pvalue


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    drawn = draws(LOGITS[0], temperature)
    assert p_value(drawn, softmax(LOGITS[0] / temperature)) > 1e-4
    # The test itself must notice a distribution that is a little wrong.
    assert p_value(drawn, softmax(LOGITS[0] / (temperature * 1.1))) < 1e-4


@pytest.mark.parametrize(("name", "parameter"), [("top_k", 7), ("top_p", 0.9), ("min_p", 0.05)])
def test_draws_follow_the_renormalised_rest(name, parameter):
    function, brute_force, parameters = FILTERS[name]
    filtered = function(LOGITS[:1], np.array([parameter], parameters.dtype)).numpy()[0]
    kept = brute_force(LOGITS[0], parameter)
    assert 2 < len(kept) < SYMBOLS
    probabilities = np.array([p if i in kept else 0.0 for i, p in enumerate(softmax(LOGITS[0]))])
    probabilities /= probabilities.sum()
    drawn = draws(filtered, 1.0)
    assert p_value(drawn, probabilities) > 1e-4
    wrong = np.where(probabilities > 0, probabilities**0.9, 0)
    assert p_value(drawn, wrong / wrong.sum()) < 1e-4
