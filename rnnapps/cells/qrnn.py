import keras
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.linear import LinearCell


@register
class QRNNCell(LinearCell):
    """One step of a quasi-recurrent network: a convolution over time, and gates that pool it (fo-pooling).

        z, f, o = split(x_{t-1} W_1 + x_t W_2 + b)      with window=1: x_t W_2 + b
        c_t = sigmoid(f) * c_{t-1} + (1 - sigmoid(f)) * tanh(z)
        h_t = sigmoid(o) * c_t

    With window=2 the previous input is in the state, in the form in which it counts: p_t = x_t W_1, a part for each
    gate. (The size of a state has to be known before the input's is.) Zeros stand for the input before the first.

    Args:
        units: Int > 0. Size of `h` and of `c`.
        window: 1 or 2: how many inputs a step sees.
        activation: Of z.
        **kwargs: As in `LinearCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[c]`, `(batch, units)`; with window=2 `[c, p_z, p_f, p_o]`, each `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new states.

    Weights: `kernel (features, 3 * units)`, which is W_2, `bias (3 * units,)`, and with window=2
    `previous_kernel (features, 3 * units)`, which is W_1. Gate order z, f, o.

    Reference: Bradbury et al., 2016, https://arxiv.org/abs/1611.01576
    """

    gate_count = 3

    def __init__(self, units, window=2, activation="tanh", **kwargs):
        super().__init__(units, **kwargs)
        if window not in (1, 2):
            raise ValueError(f"window of {type(self).__name__} must be 1 or 2, not {window!r}")
        self.window = window
        self.activation = keras.activations.get(activation)

    @property
    def state_size(self):
        return [self.units] * (4 if self.window == 2 else 1)

    def build(self, input_shape):
        super().build(input_shape)
        if self.window == 2:
            self.previous_kernel = self.add_weight(
                shape=(input_shape[-1], 3 * self.units), initializer=self.kernel_initializer, name="previous_kernel"
            )

    def carried(self, inputs):
        return self.products(inputs, self.previous_kernel) if self.window == 2 else []

    def coefficients(self, inputs, before):
        gates = self.project(inputs)
        if before:
            gates = [new + old for new, old in zip(gates, before, strict=True)]
        z, f, o = gates
        keep = ops.sigmoid(f)
        return keep, (1 - keep) * self.activation(z), ops.sigmoid(o)

    def output(self, state, rest):
        return rest * state

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "window": self.window, "activation": activation}
