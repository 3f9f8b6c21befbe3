import keras
from keras import ops

from rnnapps.cells.cell import Cell, register


@register
class IndRNNCell(Cell):
    """One step of a recurrent network whose units do not see each other, each only its own past.

        h_t = activation(x_t W + v * h_{t-1} + b)

    Units exchange what they know in the next layer. With relu the gradient of a unit over T steps is |v|^T or 0, so
    that weights of at most 2^(1/T) keep it from exploding, and weights near 1 from vanishing.

    Args:
        units: Int > 0. Size of `h`.
        activation: Of a step.
        recurrent_initializer: Of `v`. Default: uniform from 0 to 1, which is the paper's range, 0 to 2^(1/T), for long
            sequences. Where a layer is to remember all of them, the paper starts near the upper end.
        **kwargs: As in `Cell`; `recurrent_dropout` is not possible, since there is no recurrent projection.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: `kernel (features, units)`, `bias (units,)`, `recurrent_weight (units,)`.

    Reference: Li et al., 2018, https://arxiv.org/abs/1803.04831
    """

    has_recurrent_kernel = False

    def __init__(self, units, activation="relu", recurrent_initializer=None, **kwargs):
        if recurrent_initializer is None:
            recurrent_initializer = keras.initializers.RandomUniform(0.0, 1.0)
        super().__init__(units, recurrent_initializer=recurrent_initializer, **kwargs)
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        super().build(input_shape)
        self.recurrent_weight = self.add_weight(
            shape=(self.units,), initializer=self.recurrent_initializer, name="recurrent_weight"
        )

    def gate_weights(self):
        return [ops.cast(self.recurrent_weight, self.gate_dtype)]

    def gates(self, projected, recurrent, states, weights=()):
        return [self.activation(projected + weights[0] * states[0])]

    def get_config(self):
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
