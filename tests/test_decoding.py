"""The decoding loop against loops by hand, with a small network whose step is three lines of NumPy."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from rnnapps import decoding
from rnnapps.decoding import Settings
from rnnapps.ops.random import uniform

VOCABULARY, UNITS = 12, 8
RNG = np.random.default_rng(5)
W, U, V = (RNG.normal(scale=s, size=n).astype(np.float32) for s, n in ((1, (12, 8)), (0.6, (8, 8)), (0.5, (8, 12))))
V[:, 0] *= -4  # token 0 would often win, if it could be drawn
PROMPTS = [[3, 1, 4, 1, 5], [], [9, 0, 2]]
SEEDS = [7, 8, 2**31 - 1]


def step(tokens, states):
    h = tf.tanh(tf.gather(W, tokens) + states["h"] @ U)
    return h @ V, {"h": h}


def numpy_step(token, h):
    h = np.tanh(W[token] + h @ U)
    return h @ V, h


def settings(batch, temperature=1.0, **filters):
    types = {"top_k": tf.int32}
    rows = {name: tf.fill((batch,), tf.constant(v, types.get(name, tf.float32))) for name, v in filters.items()}
    return Settings(tf.fill((batch,), tf.constant(temperature, tf.float32)), **rows)


@functools.cache
def runner(jit_compile):
    return tf.function(functools.partial(decoding.generate, step), jit_compile=jit_compile)


def write(prompts, seeds, lengths, capacity=40, chunk=None, jit_compile=False, **how):
    """Tokens drawn after each prompt, in chunks of `chunk` columns."""
    batch, chunk = len(prompts), chunk or capacity
    seen = VOCABULARY - 1 if "repetition_penalty" in how else 0
    carry = decoding.start({"h": tf.zeros((batch, UNITS))}, tf.constant(seeds), seen)
    forced = np.zeros((batch, capacity), np.int32)
    for row, prompt in zip(forced, prompts, strict=True):
        row[: len(prompt)] = prompt
    given = np.array([len(prompt) for prompt in prompts])
    columns = []
    for first in range(0, capacity, chunk):
        here = np.clip(given - first, 0, chunk).astype(np.int32)
        tokens, carry = runner(jit_compile)(
            carry, settings(batch, **how), forced[:, first : first + chunk], here, tf.constant(chunk)
        )
        columns.append(tokens.numpy())
    rows = np.concatenate(columns, axis=1)
    return [row[n : n + length].tolist() for row, n, length in zip(rows, given, lengths, strict=True)]


def by_hand(prompt, seed, length, temperature=1.0, top_k=0, repetition_penalty=1.0):
    """One row, one token after the other."""
    h, token, drawn, text = np.zeros(UNITS, np.float32), 0, [], list(prompt)
    for following in [*prompt, *[None] * length]:
        logits, h = numpy_step(token, h)
        if following is not None:
            token = following
            continue
        logits[0] = -np.inf
        for i in set(text) - {0}:
            logits[i] = logits[i] / repetition_penalty if logits[i] > 0 else logits[i] * repetition_penalty
        if top_k:
            logits[logits < np.sort(logits)[-top_k]] = -np.inf
        noise = np.zeros(VOCABULARY)
        if temperature:
            logits = logits / temperature
            u = uniform(tf.constant([seed]), tf.constant([len(drawn)]), VOCABULARY - 1).numpy()[0]
            noise[1:] = -np.log(-np.log(u))
        token = int(np.argmax(logits + noise))
        drawn.append(token)
        text.append(token)
    return drawn


WAYS = [
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 2.5, "top_k": 4},
    {"temperature": 0.8, "repetition_penalty": 1.5},
    {"temperature": 0.0, "repetition_penalty": 1.5},
]


QUICK = {True: WAYS[3:4], False: [WAYS[1], WAYS[2], WAYS[4]]}  # by XLA or not; the others add nothing to one of them


def ways(jit_compile):
    return [how if how in QUICK[jit_compile] else pytest.param(how, marks=pytest.mark.full) for how in WAYS]


@pytest.mark.parametrize("how", ways(False), ids=str)
def test_equals_a_loop_by_hand(how, jit_compile=False):
    lengths = [30, 40, 17]
    drawn = write(PROMPTS, SEEDS, lengths, jit_compile=jit_compile, **how)
    assert drawn == [by_hand(p, s, n, **how) for p, s, n in zip(PROMPTS, SEEDS, lengths, strict=True)]


@pytest.mark.parametrize("how", ways(True), ids=str)
def test_equals_a_loop_by_hand_under_xla(how):
    test_equals_a_loop_by_hand(how, jit_compile=True)


FILTERS = [{"top_p": 0.7, "min_p": 0.02, "repetition_penalty": 1.2}, pytest.param({}, marks=pytest.mark.full)]


@pytest.mark.parametrize("how", FILTERS, ids=str)
def test_text_is_the_same_alone_and_in_chunks(how):
    lengths = [30, 40, 37]
    whole = write(PROMPTS, SEEDS, lengths, **how)
    alone = [write([p], [s], [n], **how)[0] for p, s, n in zip(PROMPTS, SEEDS, lengths, strict=True)]
    assert alone == whole
    for chunk in (1, 8):  # 1 is shorter than a prompt
        assert write(PROMPTS, SEEDS, lengths, chunk=chunk, **how) == whole


@pytest.mark.parametrize("chunk", [8, pytest.param(None, marks=pytest.mark.full)])
@pytest.mark.parametrize("how", FILTERS, ids=str)
def test_text_is_the_same_under_xla(how, chunk):
    lengths = [30, 40, 37]
    whole = write(PROMPTS, SEEDS, lengths, **how)
    assert write(PROMPTS, SEEDS, lengths, chunk=chunk, jit_compile=True, **how) == whole


def test_filters_that_are_off_change_nothing_and_seeds_do():
    off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    plain = write(PROMPTS, SEEDS, [30] * 3)
    assert write(PROMPTS, SEEDS, [30] * 3, **off) == plain
    others = write(PROMPTS, [1, 2, 3], [30] * 3)
    assert all(one != other for one, other in zip(plain, others, strict=True))


def test_draws_follow_the_model_and_never_give_token_0():
    count = 20_000
    drawn = write([[4, 2]] * count, list(range(count)), [1] * count, capacity=3)
    h = np.zeros(UNITS, np.float32)
    for token in (0, 4, 2):
        logits, h = numpy_step(token, h)
    weights = np.exp(logits.astype(np.float64))
    assert weights[0] > 0.3 * weights.sum()
    counts = np.bincount(np.ravel(drawn), minlength=VOCABULARY)
    assert counts[0] == 0
    expected = weights[1:] / weights[1:].sum() * count
    assert expected.min() > 10
    assert stats.chisquare(counts[1:], expected).pvalue > 1e-4
    # The test itself must notice a distribution that is a little wrong.
    flatter = expected**0.9
    assert stats.chisquare(counts[1:], flatter / flatter.sum() * count).pvalue < 1e-4


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.full)])
def test_follow_equals_a_loop_by_hand(jit_compile):
    inputs, targets = RNG.integers(0, VOCABULARY, (2, 3, 9)).astype(np.int32)
    follow = tf.function(functools.partial(decoding.follow, step), jit_compile=jit_compile)
    last, kept, nats = follow({"h": tf.ones((3, UNITS))}, inputs, targets, ("h",))
    for row in range(3):
        h = np.ones(UNITS, np.float32)
        for i in range(9):
            logits, h = numpy_step(inputs[row, i], h)
            cost = np.log(np.exp(logits.astype(np.float64)).sum()) - logits[targets[row, i]]
            np.testing.assert_allclose(nats[row, i], cost, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(kept["h"][row, i], h, atol=2e-6)
        np.testing.assert_allclose(last["h"][row], h, atol=2e-6)
