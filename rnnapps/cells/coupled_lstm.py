from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.forget_bias import ForgetBiasCell


@register
class CoupledLSTMCell(ForgetBiasCell):
    """One step of an LSTM whose input gate is what the forget gate leaves (CIFG).

        f, g, o = split(x_t W + h_{t-1} U + b)
        c_t = sigmoid(f) * c_{t-1} + (1 - sigmoid(f)) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t)

    Args:
        units: Int > 0. Size of `h` and of `c`.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1.
        **kwargs: As in `Cell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c]`, each `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t, c_t]`.

    Weights: as in `Cell`, 3 gates in the order f, g, o.

    Reference: Greff et al., 2015, https://arxiv.org/abs/1503.04069
    """

    gate_count = 3
    forget_gate = 0

    @property
    def state_size(self):
        return [self.units, self.units]

    def gates(self, projected, recurrent, states, weights=()):
        f, g, o = ops.split(projected + recurrent, 3, axis=-1)
        keep = ops.sigmoid(f)
        c = keep * states[1] + (1 - keep) * ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(c), c]
