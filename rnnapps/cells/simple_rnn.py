import keras

from rnnapps.cells.cell import GatedCell, register


@register
class SimpleRNNCell(GatedCell, keras.layers.SimpleRNNCell):
    """One step of the plain recurrent network, with the arguments and weights of `keras.layers.SimpleRNNCell`.

        h_t = tanh(x_t W + h_{t-1} U + b)

    Args:
        units: Int > 0. Size of `h`.
        **kwargs: As in `keras.layers.SimpleRNNCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.
        training: Bool. Whether dropout is applied.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: `kernel (features, units)`, `recurrent_kernel (units, units)`, `bias (units,)`.

    Reference: Elman, 1990, https://doi.org/10.1207/s15516709cog1402_1
    """

    follows_keras = True

    def gates(self, projected, recurrent, states, weights=()):
        new = projected + recurrent
        return [new if self.activation is None else self.activation(new)]
