from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.forget_bias import ForgetBiasCell

# A logarithm of zero that subtracts and differentiates without NaN; well inside float32.
_NOTHING = -1e30


@register
class SLSTMCell(ForgetBiasCell):
    """One step of the scalar LSTM of xLSTM: exponential gates, so that a later input can outweigh all before it.

        i, f, z, o = split(x_t W + h_{t-1} U + b)
        c_t = F c_{t-1} + exp(i) tanh(z)          F = sigmoid(f) or exp(f)
        n_t = F n_{t-1} + exp(i)
        h_t = sigmoid(o) * c_t / n_t

    exp would overflow, so `c` and `n` are kept divided by exp(m), which leaves h as it is:

        m_t = max(log F + m_{t-1}, i)
        c_t = exp(log F + m_{t-1} - m_t) c_{t-1} + exp(i - m_t) tanh(z)
        n_t = exp(log F + m_{t-1} - m_t) n_{t-1} + exp(i - m_t)

    Where n_{t-1} is 0 nothing has been read yet, and m_{t-1} counts as minus infinity: from zero states on, n_t >= 1
    and |c_t| <= n_t. States of your own should keep to that.

    Args:
        units: Int > 0. Size of each state.
        forget: "sigmoid" or "exp": the forget gate F.
        heads: Int > 0 that divides `units`. Into how many groups of units `U` is cut, which do not see each other
            within the layer: `U` is block-diagonal. That saves weights, not time: the product is done with zeros.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1. It does so with forget="sigmoid" only: exp
            keeps everything at 0 already, and 1 would weigh each step e times less than the one before.
        **kwargs: As in `Cell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c, n, m]`, each `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t, c_t, n_t, m_t]`.

    Weights: `kernel (features, 4 * units)`, `recurrent_kernel (units, 4 * units / heads)`: the block of each head below
    that of the one before, `bias (4 * units,)`. Gate order i, f, z, o, within each block too.

    Reference: Beck et al., 2024, https://arxiv.org/abs/2405.04517
    """

    gate_count = 4

    def __init__(self, units, forget="sigmoid", heads=1, **kwargs):
        super().__init__(units, **kwargs)
        if forget not in ("sigmoid", "exp"):
            raise ValueError(f"forget of {type(self).__name__} must be 'sigmoid' or 'exp', not {forget!r}")
        if not (isinstance(heads, int) and heads > 0 and units % heads == 0):
            raise ValueError(f"heads of {type(self).__name__} must be an int that divides {units} units, not {heads!r}")
        self.forget, self.heads = forget, heads
        self.forget_gate = 1 if forget == "sigmoid" else None

    @property
    def state_size(self):
        return [self.units] * 4

    def build_recurrent_kernel(self, width):
        super().build_recurrent_kernel(width // self.heads)

    def recurrent_weights(self, training=False):
        kernel, bias = super().recurrent_weights(training)
        if self.heads == 1:
            return kernel, bias
        size = self.units // self.heads
        blocks = ops.reshape(kernel, (self.heads, size, 4, 1, size))
        place = ops.reshape(ops.eye(self.heads, dtype=kernel.dtype), (self.heads, 1, 1, self.heads, 1))
        return ops.reshape(blocks * place, (self.units, 4 * self.units)), bias

    def gates(self, projected, recurrent, states, weights=()):
        _, c, n, m = states
        i, f, z, o = ops.split(projected + recurrent, 4, axis=-1)
        log_f = ops.log_sigmoid(f) if self.forget == "sigmoid" else f
        past = ops.where(n == 0, _NOTHING, log_f + m)
        m = ops.maximum(past, i)
        keep, write = ops.exp(past - m), ops.exp(i - m)
        c = keep * c + write * ops.tanh(z)
        n = keep * n + write
        return [ops.sigmoid(o) * c / n, c, n, m]

    def get_config(self):
        return {**super().get_config(), "forget": self.forget, "heads": self.heads}
