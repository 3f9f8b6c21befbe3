"""What a decoder starts from, against NumPy."""

import keras
import numpy as np
import pytest

from rnnapps.layers import Bridge

RNG = np.random.default_rng(0)
STATES = [RNG.normal(0, 1, (2, size)).astype("float32") for size in (3, 4)]
MEMORY = RNG.normal(0, 1, (2, 5, 6)).astype("float32")
MASK = np.array([[True] * 5, [True, True, False, False, False]])


def drawn(layer):
    layer(STATES, MEMORY, MASK)
    for weight in layer.weights:
        weight.assign(RNG.normal(0, 0.5, weight.shape))
    return [weight.numpy() for weight in layer.weights]


@pytest.mark.parametrize("kind", ["last", "mean"])
def test_maps_a_summary(kind):
    layer = Bridge([2, 7], kind)
    kernel_0, bias_0, kernel_1, bias_1 = drawn(layer)
    mean = np.stack([MEMORY[0].mean(0), MEMORY[1, :2].mean(0)])
    summary = np.concatenate(STATES, -1) if kind == "last" else mean
    found = layer(STATES, MEMORY, MASK)
    np.testing.assert_allclose(found[0], np.tanh(summary @ kernel_0 + bias_0), atol=1e-6)
    np.testing.assert_allclose(found[1], np.tanh(summary @ kernel_1 + bias_1), atol=1e-6)


def test_copies_or_starts_from_nothing():
    for one, other in zip(Bridge([3, 4], "copy")(STATES, MEMORY), STATES, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [np.array(s).tolist() for s in Bridge([1], "zero")(STATES, MEMORY)] == [[[0.0], [0.0]]]


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="kind must be one of"):
        Bridge([3], "carry")
    with pytest.raises(ValueError, match=r"wants states of the sizes \[3\], not \[3, 4\]"):
        Bridge([3], "copy")(STATES, MEMORY)


def test_config_round_trip():
    layer = Bridge([2, 7], "mean", name="bridge")
    drawn(layer)
    other = Bridge.from_config(layer.get_config())
    other(STATES, MEMORY, MASK)
    other.set_weights(layer.get_weights())
    for one, same in zip(layer(STATES, MEMORY, MASK), other(STATES, MEMORY, MASK), strict=True):
        np.testing.assert_array_equal(one, same)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)).kind == "mean"
