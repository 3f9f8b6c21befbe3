"""The loop of any step: outputs against a Python loop, and gradients against TensorFlow's own."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from rnnapps.ops import step_loop, time_loop

TIME, ROWS = 7, 3


def step(product, rows, states, constants):
    """Two states, two outputs, a matrix of all rows, and one for each row; each product is asked for once."""
    (x, y), (h, seen), (bias,) = rows, states, constants
    h = tf.tanh(product("recurrent", h) + x + bias)
    look = tf.nn.softmax(y * seen)
    context = product("own", look[:, tf.newaxis])[:, 0]
    return [h * context, look], [h + 0.1 * context, seen + look]


def given(time=TIME, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return tf.constant(rng.normal(0, 0.7, shape).astype("float32"))

    sequences = [draw(time, ROWS, 4), draw(time, ROWS, 5)]
    return sequences, [draw(ROWS, 4), draw(ROWS, 5)], {"recurrent": draw(4, 4), "own": draw(ROWS, 5, 4)}, [draw(4)]


def by_hand(sequences, states, kernels, constants):
    product, outputs = step_loop.multiply(kernels), []
    for t in range(sequences[0].shape[0]):
        found, states = step(product, [sequence[t] for sequence in sequences], states, constants)
        outputs.append(found)
    return [tf.stack(column) for column in zip(*outputs, strict=True)], states


def cost_and_gradients(run):
    """A function that gives outputs and last states, and the gradients of a sum over them by all inputs."""

    def cost(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, last = run(*inputs)
            found = [*outputs, *last]
            total = tf.add_n([tf.reduce_sum(tf.sin((i + 1.0) * value)) for i, value in enumerate(found)])
        return found, tape.gradient(total, inputs)

    return cost


def assert_same(found, wanted):
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.usefixtures("eager_and_traced")
@pytest.mark.parametrize("time", [1, 4, 7, 12])
def test_equals_a_loop_by_hand(time):
    inputs = given(time)
    wanted = cost_and_gradients(by_hand)(*inputs)
    for run in (step_loop.scan, step_loop.plain_scan):
        function = tf.function(cost_and_gradients(functools.partial(run, step)), autograph=False)
        assert_same(function(*inputs), wanted)


def test_equals_a_loop_by_hand_with_a_length_that_is_not_known():
    sequences, *others = given()
    wanted, gradients = cost_and_gradients(by_hand)(sequences, *others)

    @tf.function(input_signature=[tf.TensorSpec((None, ROWS, 4)), tf.TensorSpec((None, ROWS, 5))], autograph=False)
    def open_length(*sequences):
        run = cost_and_gradients(lambda *sequences: step_loop.scan(step, sequences, *others))
        return run(*sequences)

    assert_same(open_length(*sequences), (wanted, gradients[0]))


def test_equals_a_loop_by_hand_under_xla(monkeypatch):
    monkeypatch.setattr(time_loop, "_STEPS_PER_TURN", 1)  # less to compile
    function = cost_and_gradients(functools.partial(step_loop.scan, step))
    compiled = tf.function(function, jit_compile=True, autograph=False)
    assert_same(compiled(*given()), cost_and_gradients(by_hand)(*given()))


def test_matrices_get_their_gradient_outside_of_the_loop():
    """The reverse loop holds no product that makes an array of a matrix's size."""
    sequences, states, kernels, constants = given()
    wide = {**kernels, "recurrent": tf.random.normal((4, 4))}

    @tf.function(autograph=False)
    def run(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            outputs, _ = step_loop.scan(step, sequences, states, {**wide, "recurrent": kernel}, constants)
            total = tf.reduce_sum(outputs[0])
        return tape.gradient(total, kernel)

    graph = run.get_concrete_function(wide["recurrent"]).graph
    outside = [op for op in graph.get_operations() if op.type == "MatMul" and op.outputs[0].shape == (4, 4)]
    assert len(outside) == 1
    for function in graph.as_graph_def().library.function:
        for node in function.node_def:
            assert not (node.op == "MatMul" and node.attr["transpose_a"].b), node.name


def test_products_are_in_the_dtype_of_their_kernel():
    sequences, states, kernels, constants = given()
    narrow = {name: tf.cast(kernel, tf.bfloat16) for name, kernel in kernels.items()}
    outputs, _ = step_loop.scan(step, sequences, states, narrow, constants)
    wanted, _ = step_loop.scan(step, sequences, states, kernels, constants)
    assert outputs[0].dtype == tf.float32
    np.testing.assert_allclose(outputs[0], wanted[0], atol=0.05)
    assert not np.allclose(outputs[0], wanted[0], atol=1e-6)
