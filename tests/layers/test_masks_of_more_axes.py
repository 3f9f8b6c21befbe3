"""Masks with more axes than batch and time: what Keras' own layers make of them, outputs, states and gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import cells, layers

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
FILMS = np.random.default_rng(1).normal(size=(2, 3, 4, 4, 2)).astype("float32")
STEPS = np.random.default_rng(2).random((3, 5)) > 0.4
LSTM = {"units": 3, "return_sequences": True, "return_state": True}
CONV = {"filters": 2, "kernel_size": 3, "padding": "same", "return_sequences": True, "return_state": True}


def outcome(make, x, mask):
    """Outputs and states, and the gradients of a weighted sum of them by inputs and weights."""
    layer, x = make(), tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = layer(x, mask=tf.constant(mask))
        loss = tf.add_n([tf.reduce_sum(part * tf.cos(tf.range(part.shape[-1], dtype=part.dtype))) for part in found])
    return [*found, *tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])]


def assert_as_keras(make, x, mask):
    """`make(module)` makes the layer, from `rnnapps.layers` or `keras.layers`."""
    found = []
    for module in (layers, keras.layers):
        keras.utils.set_random_seed(1)
        found.append(outcome(lambda module=module: make(module), x, mask))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


OPTIONS = [{}, {"go_backwards": True}, {"zero_output_for_mask": True}]


@pytest.mark.parametrize(
    ("units", "options"),
    [
        *((3, options) for options in OPTIONS),
        (1, OPTIONS[2]),
        *(pytest.param(1, options, marks=pytest.mark.full) for options in OPTIONS[:2]),
    ],
    ids=str,
)
def test_a_mask_for_each_unit(options, units):
    mask = np.random.default_rng(3).random((3, 5, units)) > 0.4
    assert_as_keras(lambda module: module.LSTM(**LSTM, **options), X, mask)


@pytest.mark.parametrize("options", [pytest.param({}, marks=pytest.mark.full), *OPTIONS[1:]], ids=str)
def test_a_mask_for_each_pixel(options):
    mask = np.random.default_rng(4).random(FILMS.shape[:-1]) > 0.4
    assert_as_keras(lambda module: module.ConvLSTM2D(**CONV, **options), FILMS, mask)


def test_masking_before_a_convolution():
    films = FILMS.copy()
    films[:, 1], films[0, 2, 1] = 0, 0
    keras.utils.set_random_seed(1)
    mine, theirs = (
        keras.Sequential(
            [keras.Input(films.shape[1:]), keras.layers.Masking(), module.ConvLSTM2D(2, 3, padding="same")]
        )
        for module in (layers, keras.layers)
    )
    theirs.set_weights(mine.get_weights())
    np.testing.assert_allclose(mine(films), theirs(films), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("make", [cells.MinGRUCell, cells.PeepholeLSTMCell], ids=["linear", "gated"])
def test_one_more_axis_of_one_is_the_mask_of_steps(make):
    layer = layers.Unroll(make(3), return_sequences=True, return_state=True)
    wanted = layer(X, mask=STEPS)
    for found, part in zip(layer(X, mask=STEPS[..., None]), wanted, strict=True):
        np.testing.assert_array_equal(found, part)


def test_a_residual_stack_takes_the_last_unmasked_step_of_it():
    stack = layers.Stacked([layers.GRU(4), layers.GRU(4)], residual=1)
    np.testing.assert_array_equal(stack(X, mask=STEPS[..., None]), stack(X, mask=STEPS))
