import keras
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.linear import LinearCell


@register
class SRUCell(LinearCell):
    """One step of a simple recurrent unit, with its highway past the recurrence.

        f, r, n = split(x_t W + (b, 0))
        c_t = sigmoid(f) * c_{t-1} + (1 - sigmoid(f)) * n
        h_t = sigmoid(r) * activation(c_t) + (1 - sigmoid(r)) * x_t

    This is the paper's first version: without the terms v * c_{t-1} in the gates of its later ones, which tie a step to
    the last one. Where x has another size than h, a fourth part of x_t W takes its place on the highway.

    Args:
        units: Int > 0. Size of `h` and of `c`.
        activation: Of `c` in the output. Default: tanh; the paper's later versions have none (`None`).
        **kwargs: As in `LinearCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[c]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[c_t]`.

    Weights: `kernel (features, 3 * units)`, or `(features, 4 * units)` where features and units differ,
    `bias (2 * units,)`. Gate order f, r, n, and then the input's part; only f and r have a bias.

    Reference: Lei et al., 2017, https://arxiv.org/abs/1709.02755
    """

    gate_count = 3
    biased_gates = 2

    def __init__(self, units, activation="tanh", **kwargs):
        super().__init__(units, **kwargs)
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        self.gate_count = 3 if input_shape[-1] == self.units else 4
        super().build(input_shape)

    def coefficients(self, inputs, before):
        f, r, n, *projected = self.project(inputs)
        x = projected[0] if projected else ops.cast(inputs, self.gate_dtype)
        keep = ops.sigmoid(f)
        return keep, (1 - keep) * n, (ops.sigmoid(r), x)

    def output(self, state, rest):
        r, x = rest
        return x + r * (self.activation(state) - x)

    def get_config(self):
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
