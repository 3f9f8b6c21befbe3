"""Recurrent dropout in half precision, with the masks that Keras' own layers draw."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import cells, layers

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
FILMS = np.random.default_rng(1).normal(size=(2, 3, 4, 4, 2)).astype("float32")
OPTIONS = {"dropout": 0.2, "recurrent_dropout": 0.3, "return_sequences": True, "seed": 1}


def outcome(layer, x):
    """Outputs, and gradients by the weights, in training."""
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 2)
    return [outputs, *tape.gradient(loss, [weight.value for weight in layer.trainable_weights])]


UNITS = {"mixed_float16": 2**-10, "mixed_bfloat16": 2**-7}
QUICK = {("SimpleRNN", "mixed_bfloat16"), ("GRU", "mixed_float16"), ("LSTM", "mixed_bfloat16"),
         ("ConvLSTM2D", "mixed_float16")}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.full)
        for case in itertools.product(("SimpleRNN", "GRU", "LSTM", "ConvLSTM2D"), UNITS)
    ],
)
def test_outputs_and_gradients_are_those_of_keras(name, policy):
    x, sizes = (FILMS, {"filters": 2, "kernel_size": 3, "padding": "same"}) if "Conv" in name else (X, {"units": 5})
    found = []
    for module in (layers, keras.layers):
        keras.utils.set_random_seed(3)
        found.append(outcome(getattr(module, name)(**sizes, **OPTIONS, dtype=policy), x))
    assert found[0][0].dtype == found[1][0].dtype
    for ours, theirs in zip(*found, strict=True):
        ours, theirs = (np.asarray(tf.cast(part, "float32")) for part in (ours, theirs))
        assert np.abs(ours - theirs).max() <= 8 * UNITS[policy] * max(1, np.abs(theirs).max())


@pytest.mark.parametrize("policy", [pytest.param("mixed_float16", marks=pytest.mark.full), "mixed_bfloat16"])
def test_inside_of_zoneout(policy):
    inner = {name: OPTIONS[name] for name in ("dropout", "recurrent_dropout", "seed")}
    found = []
    for around in (lambda cell: cells.ZoneoutCell(cell, 1e-9), lambda cell: cell):  # so rare that nothing is kept
        keras.utils.set_random_seed(3)
        cell = around(cells.LSTMCell(5, **inner, dtype=policy))
        found.append(outcome(layers.Unroll(cell, return_sequences=True, dtype=policy), X))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(tf.cast(one, "float32"), tf.cast(other, "float32"), rtol=0.02, atol=0.02)
