"""Subclasses of our cells: whatever of a step they override is what every layer runs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from rnnapps import cells
from rnnapps.cells import overriding
from rnnapps.layers import LSTM, AttentionDecoder, Stacked, Unroll

UNITS = 4
X = np.random.default_rng(0).normal(size=(3, 6, UNITS)).astype("float32")


class HalfCall:
    """A mixin, as a stranger writes it."""

    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states, training=training)
        return output * 0.5, [state * 0.5 for state in states]


class Half(HalfCall, cells.LSTMCell):
    pass


class HalfPeephole(cells.PeepholeLSTMCell):
    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states, training)
        return output * 0.5, [state * 0.5 for state in states]


class HalfMinGRU(HalfCall, cells.MinGRUCell):
    pass


class HalfConvLSTM(HalfCall, cells.ConvLSTM2DCell):
    pass


class HalfAndOtherGates(HalfPeephole):
    """The call of a parent is meant still."""

    def gates(self, projected, recurrent, states, weights=()):
        return [-state for state in super().gates(projected, recurrent, states, weights)]


class HalfResidual(cells.ResidualCell):
    def step(self, inputs, states, training, change=None):
        output, states = super().step(inputs, states, training, change)
        return output * 0.5, states


class NoInputGate(cells.LSTMCell):
    """Parts alone: the call has to follow."""

    def gates(self, projected, recurrent, states, weights=()):
        _, f, g, o = ops.split(projected + recurrent, 4, axis=-1)
        c = ops.sigmoid(f) * states[1] + ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(c), c]


class Both(cells.SimpleRNNCell):
    """Both forms, which its author wrote alike."""

    def gates(self, projected, recurrent, states, weights=()):
        return [ops.sin(projected + recurrent)]

    def call(self, inputs, states, training=False):
        h = ops.sin(ops.matmul(inputs, self.kernel) + ops.matmul(states[0], self.recurrent_kernel) + self.bias)
        return h, [h]


def same_as_keras(cell, x=X, **kwargs):
    """Our layer over time, after its outputs and states were held against Keras' loop over the same cell."""
    ours = Unroll(cell, return_sequences=True, return_state=True)
    theirs = keras.layers.RNN(cell, return_sequences=True, return_state=True)
    for one, other in zip(ours(x, **kwargs), theirs(x, **kwargs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    return ours


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Half(UNITS), "HalfCall.call"),
        (lambda: HalfPeephole(UNITS), "HalfPeephole.call"),
        (lambda: HalfMinGRU(UNITS), "HalfCall.call"),
        (lambda: HalfAndOtherGates(UNITS), "HalfPeephole.call"),
        (lambda: cells.ResidualCell(Half(UNITS)), "HalfCall.call"),
        (lambda: cells.ZoneoutCell(HalfPeephole(UNITS), 0.2), "HalfPeephole.call"),
        (lambda: cells.ZoneoutCell(HalfMinGRU(UNITS), 0.2), "HalfCall.call"),
        (lambda: HalfResidual(cells.GRUCell(UNITS)), "HalfResidual.step"),
    ],
)
def test_an_overridden_call_is_what_runs(make, named):
    layer = same_as_keras(make())
    assert layer.execution_reason.startswith(f"loop: {named} is overridden")


def test_an_overridden_call_of_a_convolution_is_what_runs():
    cell = HalfConvLSTM(2, (3, 3), padding="same")
    same_as_keras(cell, np.random.default_rng(1).normal(size=(2, 3, 4, 4, 2)).astype("float32"))


def test_layers_around_a_cell_run_its_call():
    x = keras.ops.convert_to_tensor(X)
    half, whole = Half(UNITS), Half(UNITS)
    stacked = Stacked([half, whole], return_sequences=True)(x)
    below = keras.layers.RNN(half, return_sequences=True)(x)
    np.testing.assert_allclose(stacked, keras.layers.RNN(whole, return_sequences=True)(below), rtol=1e-5, atol=1e-6)

    class MyLSTM(LSTM):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)
            self.cell = whole

    layer = MyLSTM(UNITS)
    np.testing.assert_allclose(layer(x), keras.layers.RNN(whole)(x), rtol=1e-5, atol=1e-6)
    assert "HalfCall.call" in layer.execution_reason


def test_the_decoder_with_attention_runs_the_call():
    class Stopped(cells.LSTMCell):
        def call(self, inputs, states, training=False):
            return states[0], states

    decoder = AttentionDecoder(Stopped(UNITS))
    start = [ops.ones((3, UNITS)), ops.ones((3, UNITS))]
    _, _, h, c, *_ = decoder(X, X, initial_state=[*start])
    np.testing.assert_array_equal(h, start[0])
    np.testing.assert_array_equal(c, start[1])
    with pytest.raises(ValueError, match="three-part form"):
        AttentionDecoder(Stopped(UNITS), execution="scan")(X, X)


def test_the_engine_is_not_forced_on_an_overridden_call():
    with pytest.raises(ValueError, match=r"'scan'.*HalfCall.call is overridden"):
        Unroll(Half(UNITS), execution="scan")(X)
    with pytest.raises(ValueError, match=r"HalfCall.call of its own"):
        cells.WeightDropCell(Half(UNITS))


def test_overridden_parts_are_in_the_call_of_a_cell_of_keras():
    layer = same_as_keras(NoInputGate(UNITS))
    assert layer.execution_reason.startswith("scan")
    plain = cells.LSTMCell(UNITS)
    plain.build((None, UNITS))
    plain.set_weights(layer.cell.get_weights())
    assert np.abs(Unroll(plain, return_sequences=True)(X) - layer(X)[0]).max() > 0.05


def test_a_class_that_writes_both_runs_on_the_engine():
    assert same_as_keras(Both(UNITS)).execution_reason.startswith("scan")


def test_no_cell_of_the_package_overrides_its_own_parts():
    every = [getattr(cells, name) for name in cells.__all__]
    for cls in every:
        if issubclass(cls, keras.layers.Layer):
            cell = cls.__new__(cls)
            assert overriding.overridden_call(cell) == ""
            assert not hasattr(cls, "follows_keras") or not overriding.overridden_parts(cell)
