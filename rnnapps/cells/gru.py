import keras
from keras import activations, ops

from rnnapps.cells.cell import GatedCell, register
from rnnapps.ops.gates import GRUGates


@register
class GRUCell(GatedCell, keras.layers.GRUCell):
    """One GRU step, with the arguments and weights of `keras.layers.GRUCell`.

        z, r = sigmoid(x_t W_zr + b_zr + h_{t-1} U_zr + u_zr)
        n = tanh(x_t W_n + b_n + r * (h_{t-1} U_n + u_n))
        h_t = z * h_{t-1} + (1 - z) * n

    The reset gate acts after the product (`reset_after=True`, the default and cuDNN's form). With
    `reset_after=False` it acts on `h_{t-1}` before the product, which is not the engine's three-part form: such a
    cell runs step by step.

    Args:
        units: Int > 0. Size of `h`.
        **kwargs: As in `keras.layers.GRUCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.
        training: Bool. Whether dropout is applied.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: `kernel (features, 3 * units)`, `recurrent_kernel (units, 3 * units)`, `bias (2, 3 * units)`: `b`, then
    `u`. Gate order z, r, n.

    Reference: Cho et al., 2014, https://arxiv.org/abs/1406.1078
    """

    follows_keras = True

    def is_three_part(self, training: bool) -> bool:
        return self.reset_after and super().is_three_part(training)

    def input_bias(self):
        return None if self.bias is None else ops.cast(self.bias[0], self.gate_dtype)

    def recurrent_bias(self):
        return None if self.bias is None else ops.cast(self.bias[1], self.gate_dtype)

    def loop_gates(self):
        usual = self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        if usual and type(self).gates is GRUCell.gates:
            return GRUGates()
        return super().loop_gates()

    def gates(self, projected, recurrent, states, weights=()):
        x_z, x_r, x_n = ops.split(projected, 3, axis=-1)
        h_z, h_r, h_n = ops.split(recurrent, 3, axis=-1)
        z = self.recurrent_activation(x_z + h_z)
        r = self.recurrent_activation(x_r + h_r)
        n = self.activation(x_n + r * h_n)
        return [z * states[0] + (1 - z) * n]
