import keras
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.forget_bias import ForgetBiasCell


@register
class PeepholeLSTMCell(ForgetBiasCell):
    """One step of an LSTM whose gates also see the cell state, each unit its own.

        i, f, g, o = split(x_t W + h_{t-1} U + b)
        c_t = sigmoid(f + p_f * c_{t-1}) * c_{t-1} + sigmoid(i + p_i * c_{t-1}) * tanh(g)
        h_t = sigmoid(o + p_o * c_t) * tanh(c_t)

    Args:
        units: Int > 0. Size of `h` and of `c`.
        peephole_initializer: Of `p`. With the default, zeros, the cell starts as an LSTM without peepholes.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1.
        **kwargs: As in `Cell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c]`, each `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t, c_t]`.

    Weights: as in `Cell`, 4 gates in the order i, f, g, o; then `peephole (3, units)`, in the order i, f, o.

    Reference: Gers and Schmidhuber, 2000, https://doi.org/10.1109/IJCNN.2000.861302; Gers et al., 2002,
    https://www.jmlr.org/papers/v3/gers02a.html
    """

    gate_count = 4
    forget_gate = 1

    def __init__(self, units, peephole_initializer="zeros", **kwargs):
        super().__init__(units, **kwargs)
        self.peephole_initializer = keras.initializers.get(peephole_initializer)

    @property
    def state_size(self):
        return [self.units, self.units]

    def build(self, input_shape):
        super().build(input_shape)
        self.peephole = self.add_weight(shape=(3, self.units), initializer=self.peephole_initializer, name="peephole")

    def gate_weights(self):
        return [ops.cast(self.peephole, self.gate_dtype)]

    def gates(self, projected, recurrent, states, weights=()):
        i, f, g, o = ops.split(projected + recurrent, 4, axis=-1)
        p_i, p_f, p_o = ops.unstack(weights[0], 3)
        c = ops.sigmoid(f + p_f * states[1]) * states[1] + ops.sigmoid(i + p_i * states[1]) * ops.tanh(g)
        return [ops.sigmoid(o + p_o * c) * ops.tanh(c), c]

    def get_config(self):
        return {
            **super().get_config(),
            "peephole_initializer": keras.initializers.serialize(self.peephole_initializer),
        }
