"""Inference keeps nothing for a gradient and projects long sequences in blocks; who asks for a gradient gets it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import layers
from rnnapps.ops import execution

X = np.random.default_rng(0).normal(size=(3, 12, 4)).astype("float32")
MASK = np.random.default_rng(1).random((3, 12)) > 0.3


def pair(name, **kwargs):
    """Our layer and Keras', with the same weights."""
    found = []
    for module in (layers, keras.layers):
        keras.utils.set_random_seed(1)
        layer = getattr(module, name)(3, return_sequences=True, return_state=True, **kwargs)
        layer.build(X.shape)
        found.append(layer)
    return found


def gradients(function, layer):
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(part**2) for part in function(tf.constant(X))])
    return tape.gradient(loss, [weight.value for weight in layer.trainable_weights])


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.fixture
def short_blocks(monkeypatch, one_step_a_turn):
    """Blocks of three or four steps, in the place of megabytes."""
    monkeypatch.setattr(execution, "_NUMBERS_OF_A_BLOCK", 3 * 12 * 4)
    monkeypatch.setattr(execution, "_MOST_BLOCKS", 3)


@pytest.mark.parametrize("name", [pytest.param("GRU", marks=pytest.mark.full), "LSTM"])
def test_a_function_traced_without_a_tape_has_gradients(name, one_step_a_turn):
    ours, theirs = pair(name)
    function = tf.function(ours, autograph=False)
    function(tf.constant(X))
    assert_same(gradients(function, ours), gradients(theirs, theirs))
    assert function.experimental_get_tracing_count() == 1


def arrays(function, *args):
    """How many arrays of tensors a graph holds, those of its loops' bodies left out."""
    operations = function.get_concrete_function(*args).graph.get_operations()
    return sum(operation.type == "TensorListReserve" for operation in operations)


def test_without_a_tape_there_is_one_array(one_step_a_turn):
    layer, _ = pair("LSTM")
    x = tf.constant(X)
    forward = tf.function(lambda x: layer(x)[0], autograph=False)
    both = tf.function(lambda x: gradients(layer, layer), autograph=False)
    assert arrays(forward, x) == 1  # h
    assert arrays(both, x) > 5  # h, c, four gates, and dP


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LSTM", {"go_backwards": True}),
        pytest.param("SimpleRNN", {}, marks=pytest.mark.full),
        pytest.param("LSTM", {}, marks=pytest.mark.full),
    ],
)
def test_blocks_of_time_give_the_same(name, options, short_blocks):
    assert execution.time_blocks(12, 3, 12) == 3
    ours, theirs = pair(name, **options)
    function = tf.function(lambda x: ours(x, mask=MASK), autograph=False)
    assert_same(function(tf.constant(X)), theirs(X, mask=MASK))
    assert_same(gradients(function, ours), gradients(lambda x: theirs(x, mask=MASK), theirs))


def test_blocks_need_a_known_length_and_no_tape(short_blocks):
    assert execution.time_blocks(None, 3, 12) == 1
    with tf.GradientTape():
        assert execution.time_blocks(12, 3, 12) == 1
    assert execution.cut_time(3, tf.range(7), None)[2][0].numpy().tolist() == [4, 5, 6]
