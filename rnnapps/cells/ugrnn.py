from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.forget_bias import ForgetBiasCell


@register
class UGRNNCell(ForgetBiasCell):
    """One step of a recurrent network with an update gate and nothing else (UGRNN).

        f, g = split(x_t W + h_{t-1} U + b)
        h_t = sigmoid(f) * h_{t-1} + (1 - sigmoid(f)) * tanh(g)

    The least that makes a plain network gated: half the weights of an LSTM.

    Args:
        units: Int > 0. Size of `h`.
        unit_forget_bias: Bool. Whether the part of `b` for f starts at 1, which is the paper's extra bias of the gate.
        **kwargs: As in `Cell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: as in `Cell`, 2 gates in the order f, g; the paper calls them g and c.

    Reference: Collins et al., 2016, https://arxiv.org/abs/1611.09913
    """

    gate_count = 2
    forget_gate = 0

    def gates(self, projected, recurrent, states, weights=()):
        f, g = ops.split(projected + recurrent, 2, axis=-1)
        keep = ops.sigmoid(f)
        return [keep * states[0] + (1 - keep) * ops.tanh(g)]
