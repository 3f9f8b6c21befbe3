"""Scores and weights of attention against NumPy."""

import numpy as np
import tensorflow as tf

from rnnapps.ops import attention

RNG = np.random.default_rng(0)
QUERIES, KEYS, VECTOR = (RNG.normal(0, 1, shape).astype("float32") for shape in ((2, 3, 4), (2, 5, 4), (4,)))


def test_additive_scores():
    found = attention.additive(tf.constant(QUERIES), tf.constant(KEYS), tf.constant(VECTOR))
    wanted = np.tanh(QUERIES[:, :, None] + KEYS[:, None]) @ VECTOR
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    own = RNG.normal(0, 1, (2, 3, 5, 4)).astype("float32")  # keys of each query
    found = attention.additive(tf.constant(QUERIES), tf.constant(own), tf.constant(VECTOR))
    np.testing.assert_allclose(found, np.tanh(QUERIES[:, :, None] + own) @ VECTOR, atol=1e-5)


def test_weights_are_a_softmax_over_what_is_there():
    scores = (10 * RNG.normal(0, 1, (2, 3, 5))).astype("float32")
    mask = np.array([[True, True, False, True, False], [False] * 5])
    found = attention.weights(tf.constant(scores), tf.constant(mask)).numpy()
    kept = np.exp(scores[0][:, mask[0]])
    np.testing.assert_allclose(found[0][:, mask[0]], kept / kept.sum(-1, keepdims=True), rtol=1e-5)
    assert not found[0][:, ~mask[0]].any() and not found[1].any()
    np.testing.assert_allclose(attention.weights(tf.constant(scores)).numpy().sum(-1), 1, rtol=1e-6)
    assert attention.weights(tf.constant(scores, tf.bfloat16)).dtype == tf.float32
