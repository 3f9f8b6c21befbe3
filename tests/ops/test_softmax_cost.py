"""The cost under a softmax against TensorFlow's own operations, and their gradients."""

import numpy as np
import pytest
import tensorflow as tf

from rnnapps.ops.softmax_cost import softmax_cost

TOKENS, UNITS, SIZE = 6, 4, 9


def given():
    rng = np.random.default_rng(0)
    features, matrix, bias = (rng.normal(0, 1, shape) for shape in ((TOKENS, UNITS), (SIZE, UNITS), (SIZE,)))
    targets, weights = rng.integers(0, SIZE, TOKENS).astype("int32"), np.array([1, 0, 0.5, 2, 1, 1.0])
    return [tf.constant(one) for one in (features, matrix, bias)], tf.constant(targets), tf.constant(weights)


def plainly(features, matrix, bias, targets, weights, smoothing):
    logits = features @ tf.transpose(matrix)
    logits = logits if bias is None else logits + bias
    soft = tf.one_hot(targets, SIZE, 1 - smoothing + smoothing / SIZE, smoothing / SIZE, dtype=logits.dtype)
    return tf.reduce_sum(weights * tf.nn.softmax_cross_entropy_with_logits(soft, logits))


@pytest.mark.parametrize(
    ("smoothing", "has_bias", "by_xla"),
    [(0.0, False, False), (0.0, True, False), (0.2, False, False), (0.2, True, True),
     *(pytest.param(*case, marks=pytest.mark.full)
       for case in ((0.2, True, False), (0.0, False, True), (0.0, True, True), (0.2, False, True)))],
)  # fmt: skip
def test_equals_tensorflows_own_with_its_gradients(smoothing, has_bias, by_xla):
    variables, targets, weights = given()
    variables = variables if has_bias else variables[:2]

    @tf.function(autograph=False, jit_compile=by_xla)
    def run(cost, *variables):
        with tf.GradientTape() as tape:
            tape.watch(variables)
            value = 3 * cost(*variables, *([] if has_bias else [None]), targets, weights, smoothing)
        return value, tape.gradient(value, variables)

    found, d_found = run(softmax_cost, *variables)
    wanted, d_wanted = run(plainly, *variables)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    for one, other in zip(d_found, d_wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_of_no_tokens_is_zero():
    (features, matrix, bias), targets, weights = given()
    assert softmax_cost(features[:0], matrix, bias, targets[:0], weights[:0], 0.1) == 0
