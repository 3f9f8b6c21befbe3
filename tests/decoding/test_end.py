"""A text that ends: what `generate` writes after the token that ends it, and how long it runs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rnnapps import decoding
from rnnapps.decoding import Settings

VOCABULARY, UNITS, CAPACITY, END = 6, 8, 40, 2
RNG = np.random.default_rng(5)
W, U, V = (RNG.normal(scale=s, size=n).astype(np.float32) for s, n in ((1, (6, 8)), (0.6, (8, 8)), (0.5, (8, 6))))
# The first prompt ends with END, which is not the end of its text; the others differ in length.
PROMPTS = np.array([[3, END, 0, 0], [0, 0, 0, 0], [4, 0, 5, 1]], np.int32)
GIVEN = np.array([2, 0, 4], np.int32)


def step(tokens, states):
    h = tf.tanh(tf.gather(W, tokens) + states["h"] @ U)
    return h @ V, {"h": h, "steps": states["steps"] + 1}


def carry():
    return decoding.start({"h": tf.zeros((3, UNITS)), "steps": tf.zeros((3,), tf.int32)}, tf.constant([7, 8, 9]))


def run(carry, forced, given, steps, end, jit_compile=False):
    @tf.function(jit_compile=jit_compile)
    def write(carry):
        return decoding.generate(step, carry, Settings(tf.ones(3)), forced, given, steps, end)

    tokens, carry = write(carry)
    return tokens.numpy(), carry


def forced():
    return np.pad(PROMPTS, ((0, 0), (0, CAPACITY - 4)))


def cut(rows):
    """Rows of a text that never ends, with 0 after the first END that was drawn."""
    rows = rows.copy()
    for row, given in zip(rows, GIVEN, strict=True):
        row[given + 1 + row[given:].tolist().index(END) :] = 0
    return rows


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=pytest.mark.full), True])
def test_after_the_end_there_is_0_and_the_loop_stops(jit_compile):
    endless, _ = run(carry(), forced(), GIVEN, CAPACITY, None)
    tokens, after = run(carry(), forced(), GIVEN, CAPACITY, END, jit_compile)
    np.testing.assert_array_equal(tokens, cut(endless))
    np.testing.assert_array_equal(tokens[:, :2], [[3, END], tokens[1, :2], [4, 0]])
    written = [row.tolist().index(END, given) + 1 for row, given in zip(tokens, GIVEN, strict=True)]
    assert len(set(written)) > 1 and max(written) < CAPACITY
    np.testing.assert_array_equal(after.states["steps"], max(written))
    np.testing.assert_array_equal(after.generated, np.array(written) - GIVEN)


@pytest.mark.usefixtures("eager_and_traced")
def test_an_end_lasts_from_call_to_call_until_tokens_are_forced():
    whole, _ = run(carry(), forced(), GIVEN, CAPACITY, END)
    state, columns = carry(), []
    for first in range(0, CAPACITY, 4):
        here = np.clip(GIVEN - first, 0, 4).astype(np.int32)
        tokens, state = run(state, forced()[:, first : first + 4], here, 4, END)
        columns.append(tokens)
    np.testing.assert_array_equal(np.concatenate(columns, axis=1), whole)
    again, _ = run(state, np.full((3, 4), 3, np.int32), np.array([2, 0, 0], np.int32), 4, END)
    assert again[0, :2].tolist() == [3, 3] and (again[0, 2:] > 0).any()
    assert not again[1:].any()


def test_an_unknown_batch_size_that_ends_early():
    rows = tf.TensorSpec((None,), tf.int32)

    @tf.function(input_signature=[rows, tf.TensorSpec((None, None), tf.int32), rows])
    def write(seed, forced, given):
        batch = tf.size(seed)
        start = decoding.start({"h": tf.zeros((batch, UNITS)), "steps": tf.zeros((batch,), tf.int32)}, seed)
        steps = tf.shape(forced)[1]
        return decoding.generate(step, start, Settings(tf.ones(tf.shape(seed))), forced, given, steps, END)[0]

    whole, _ = run(carry(), forced(), GIVEN, CAPACITY, END)
    np.testing.assert_array_equal(write(np.array([7, 8, 9], np.int32), forced(), GIVEN), whole)
