"""Graphs that are written once more: lists, loops, parts of rows, signs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from rnnapps.errors import RunError
from rnnapps.ops import execution
from rnnapps.portable.replay import Replay

X = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")


def replayed(function, *specs):
    """What a function of tensors becomes: a function, and the types of its operations, those in loops too."""
    frozen = convert_variables_to_constants_v2(
        tf.function(function, autograph=False).get_concrete_function(*specs), lower_control_flow=False
    )

    def run(*inputs):
        names = [tensor.name for tensor in frozen.inputs]
        return Replay(frozen.graph)(frozen.outputs, dict(zip(names, inputs, strict=True)))

    again = tf.function(run, autograph=False).get_concrete_function(*specs)
    graph = again.graph.as_graph_def()
    nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
    return again, [node.op for node in nodes]


def spec(*shape):
    return tf.TensorSpec(shape, tf.float32)


def running_sums(x):
    """Sums of rows so far; and, in a list that nobody asks for, their products."""
    size = tf.shape(x)[0]
    sums, products = (tf.TensorArray(tf.float32, size, element_shape=(None, 3)) for _ in range(2))

    def body(i, total, product, sums, products):
        total, product = total + x[i], product * x[i]
        return i + 1, total, product, sums.write(i, total), products.write(i, product)

    start = (0, tf.zeros_like(x[0]), tf.ones_like(x[0]), sums, products)
    _, _, _, sums, _ = tf.while_loop(lambda i, *_: i < size, body, start)
    return sums.stack()


def test_a_list_is_an_array_and_what_nobody_wants_is_gone():
    function, operations = replayed(running_sums, spec(None, None, 3))
    for x in (X, X[:1], X[:, :1]):
        np.testing.assert_allclose(function(tf.constant(x))[0], np.cumsum(x, axis=0), rtol=1e-5)
    assert not [name for name in operations if name.startswith("TensorList")]
    assert "Prod" not in operations and operations.count("Mul") == 0


def test_a_list_that_is_read_is_an_array():
    def squares(x):
        return tf.map_fn(lambda row: row * row, x, fn_output_signature=tf.TensorSpec((3,)))

    function, operations = replayed(squares, spec(None, 3))
    np.testing.assert_allclose(function(tf.constant(X[0]))[0], X[0] ** 2)
    assert not [name for name in operations if name.startswith("TensorList")]


def test_a_list_outside_of_loops_is_an_array():
    def turned(x):
        array = tf.TensorArray(tf.float32, 2)
        return array.write(1, x).write(0, 2 * x).stack()

    function, _ = replayed(turned, spec(None, 3))
    np.testing.assert_allclose(function(tf.constant(X[0]))[0], [2 * X[0], X[0]])


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_parts_of_rows_are_one(shards):
    def halves(x, y):
        parts = [tf.cumsum(a, 1) + tf.reduce_sum(b) * 0 + 2 * b for a, b in execution.cut(shards, x, y)]
        joined = tf.concat(parts, 0) if shards > 1 else parts[0]
        return tf.concat([joined, x], 1)

    function, operations = replayed(halves, spec(None, 4), spec(None, 4))
    for rows in (1, 2, 5):
        x, y = X[:rows, :, 0], X[:rows, :, 1]
        np.testing.assert_allclose(
            function(tf.constant(x), tf.constant(y))[0][:, :4], np.cumsum(x, 1) + 2 * y, rtol=1e-5
        )
    assert operations.count("Cumsum") == 1 and operations.count("ConcatV2") == 1 and "FloorDiv" not in operations


def test_slices_of_another_kind_stay():
    def swapped(x):
        first, last = x[: tf.shape(x)[0] // 2], x[tf.shape(x)[0] // 2 :]
        return tf.concat([last, first], 0)

    function, _ = replayed(swapped, spec(None, 4))
    x = X[:, :, 0]
    np.testing.assert_array_equal(function(tf.constant(x))[0], np.concatenate([x[2:], x[:2]]))


def test_the_sign_is_that_of_zeros_too():
    def sign(x):
        return tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), tf.int32.min) < 0

    function, operations = replayed(sign, spec(None))
    x = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, 1e-40, -1e-40, 3e38, -3e38], "float32")
    np.testing.assert_array_equal(function(tf.constant(x))[0], np.signbit(x))
    assert "BitwiseAnd" not in operations


def test_a_branch_is_refused_by_name():
    def branch(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(x), lambda: tf.cos(x))

    with pytest.raises(RunError, match="StatelessIf .*cannot be written once more"):
        replayed(branch, spec(None))
