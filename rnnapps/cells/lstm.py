from typing import Any

import keras
from keras import activations, ops

from rnnapps.cells.cell import GatedCell, register
from rnnapps.ops.gates import LSTMGates


class LSTMEquations(GatedCell):
    """The gates of an LSTM whose P_t + R_t are i, f, g, o, with the activations of a Keras cell."""

    activation: Any
    recurrent_activation: Any

    def loop_gates(self):
        usual = self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        if usual and type(self).gates is LSTMEquations.gates:
            return LSTMGates()
        return super().loop_gates()

    def gates(self, projected, recurrent, states, weights=()):
        i, f, g, o = ops.split(projected + recurrent, 4, axis=-1)
        c = self.recurrent_activation(f) * states[1] + self.recurrent_activation(i) * self.activation(g)
        return [self.recurrent_activation(o) * self.activation(c), c]


@register
class LSTMCell(LSTMEquations, keras.layers.LSTMCell):
    """One LSTM step, with the arguments and weights of `keras.layers.LSTMCell`.

        i, f, g, o = split(x_t W + h_{t-1} U + b)
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t)

    Args:
        units: Int > 0. Size of `h` and of `c`.
        **kwargs: As in `keras.layers.LSTMCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c]`, each `(batch, units)`.
        training: Bool. Whether dropout is applied.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t, c_t]`.

    Weights: `kernel (features, 4 * units)`, `recurrent_kernel (units, 4 * units)`, `bias (4 * units,)`.
    Gate order i, f, g, o; the forget part of `bias` starts at 1.

    Example:

    >>> layer = rnnapps.layers.Unroll(rnnapps.cells.LSTMCell(4))
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)

    Reference: Hochreiter and Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735; forget gate: Gers et
    al., 2000, https://doi.org/10.1162/089976600300015015
    """

    follows_keras = True
