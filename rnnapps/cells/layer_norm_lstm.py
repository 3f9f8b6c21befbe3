from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.forget_bias import ForgetBiasCell


def normalize(x, epsilon):
    """`x` less its mean, over its standard deviation, both over the last axis: what LN does before gain and bias."""
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    return centred * ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + epsilon)


@register
class LayerNormLSTMCell(ForgetBiasCell):
    """One step of an LSTM whose summed inputs and cell state are normalised over the units of each example.

        i, f, g, o = split(LN(x_t W) * a + LN(h_{t-1} U) * k + b)
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(LN(c_t) * s + d)

    with LN(z) = (z - mean(z)) / sqrt(variance(z) + epsilon) over the last axis: for the projections that is all four
    gates together, as in the paper. `b` is the sum of the three biases that the paper has there.

    Args:
        units: Int > 0. Size of `h` and of `c`.
        epsilon: Float > 0. Keeps LN finite where all values are equal, as h_0 U is at a start from zeros.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1.
        **kwargs: As in `Cell`; `use_bias` holds for `b` and `d`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c]`, each `(batch, units)`; `c` is not normalised.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t, c_t]`.

    Weights: as in `Cell`, 4 gates in the order i, f, g, o; then `input_gain (4 * units,)` (a),
    `recurrent_gain (4 * units,)` (k), `cell_gain (units,)` (s), `cell_bias (units,)` (d). Gains start at 1.

    Reference: Ba et al., 2016, https://arxiv.org/abs/1607.06450
    """

    gate_count = 4
    forget_gate = 1

    def __init__(self, units, epsilon=1e-5, **kwargs):
        super().__init__(units, **kwargs)
        if not epsilon > 0:
            raise ValueError(f"epsilon of {type(self).__name__} must be above 0, not {epsilon!r}")
        self.epsilon = epsilon
        self.cell_bias = None

    @property
    def state_size(self):
        return [self.units, self.units]

    def build(self, input_shape):
        super().build(input_shape)
        width = 4 * self.units
        self.input_gain = self.add_weight(shape=(width,), initializer="ones", name="input_gain")
        self.recurrent_gain = self.add_weight(shape=(width,), initializer="ones", name="recurrent_gain")
        self.cell_gain = self.add_weight(shape=(self.units,), initializer="ones", name="cell_gain")
        if self.use_bias:
            self.cell_bias = self.add_weight(shape=(self.units,), initializer="zeros", name="cell_bias")

    def project(self, inputs):
        normal = normalize(super().project(inputs), self.epsilon) * ops.cast(self.input_gain, self.gate_dtype)
        return normal if self.bias is None else normal + ops.cast(self.bias, self.gate_dtype)

    def input_bias(self):
        return None  # it joins after the normalisation

    def gate_weights(self):
        weights = [self.recurrent_gain, self.cell_gain, *([] if self.cell_bias is None else [self.cell_bias])]
        return [ops.cast(weight, self.gate_dtype) for weight in weights]

    def gates(self, projected, recurrent, states, weights=()):
        recurrent_gain, cell_gain, *cell_bias = weights
        i, f, g, o = ops.split(projected + normalize(recurrent, self.epsilon) * recurrent_gain, 4, axis=-1)
        c = ops.sigmoid(f) * states[1] + ops.sigmoid(i) * ops.tanh(g)
        normal = normalize(c, self.epsilon) * cell_gain
        return [ops.sigmoid(o) * ops.tanh(normal + cell_bias[0] if cell_bias else normal), c]

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
