import math

from keras import ops

from rnnapps.cells.cell import Cell, register

# exp of it stays in float32, and so does its square.
_LARGEST_EXPONENT = 40.0


@register
class MLSTMCell(Cell):
    """One step of the matrix LSTM of xLSTM: each head keeps a matrix of values under their keys.

        q, k, v, o, i, f = split(x_t W + b)             for each head: q, k, v, o vectors of size d; i, f numbers
        C_t = sigmoid(f) C_{t-1} + exp(i) v (k / sqrt(d))^T
        n_t = sigmoid(f) n_{t-1} + exp(i) k / sqrt(d)
        h_t = sigmoid(o) * C_t q / max(|n_t . q|, 1)

    exp would overflow, so C and n are kept divided by exp(m), which leaves h as it is:

        m_t = max(log sigmoid(f) + m_{t-1}, i)
        C_t = exp(log sigmoid(f) + m_{t-1} - m_t) C_{t-1} + exp(i - m_t) v (k / sqrt(d))^T
        n_t = exp(log sigmoid(f) + m_{t-1} - m_t) n_{t-1} + exp(i - m_t) k / sqrt(d)
        h_t = sigmoid(o) * C_t q / max(|n_t . q|, exp(-m_t))

    Although no gate sees h_{t-1}, this cell runs one step after another, as the engine's cells do, with h among its
    states. Training keeps the C of every step: for each row heads * d * d numbers a step.

    Args:
        units: Int > 0. Size of `h`.
        heads: Int > 0 that divides `units`; d = units / heads.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1.
        **kwargs: As in `Cell`; `recurrent_dropout` is not possible, since there is no recurrent projection.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, C, n, m]`: `(batch, units)`, `(batch, heads * d * d)`, `(batch, units)`, `(batch, heads)`. C is
            flat; as `(heads, d, d)` it has the values along the second axis, the keys along the third.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t, C_t, n_t, m_t]`.

    Weights: `kernel (features, 4 * units + 2 * heads)`, `bias (4 * units + 2 * heads,)`. Gate order q, k, v, o, i, f;
    within each, one head after the other.

    Reference: Beck et al., 2024, https://arxiv.org/abs/2405.04517
    """

    has_recurrent_kernel = False

    def __init__(self, units, heads=1, unit_forget_bias=True, **kwargs):
        super().__init__(units, **kwargs)
        if not (isinstance(heads, int) and heads > 0 and units % heads == 0):
            raise ValueError(f"heads of {type(self).__name__} must be an int that divides {units} units, not {heads!r}")
        self.heads, self.unit_forget_bias = heads, unit_forget_bias

    @property
    def state_size(self):
        return [self.units, self.units * self.units // self.heads, self.units, self.heads]

    def build(self, input_shape):
        width = 4 * self.units + 2 * self.heads

        def initial_bias(shape, dtype=None):
            bias = self.bias_initializer(shape, dtype)
            if not self.unit_forget_bias:
                return bias
            return ops.concatenate([bias[: -self.heads], ops.ones((self.heads,), dtype)])

        self.kernel = self.add_weight(
            shape=(input_shape[-1], width), initializer=self.kernel_initializer, name="kernel"
        )
        if self.use_bias:
            self.bias = self.add_weight(shape=(width,), initializer=initial_bias, name="bias")
        self.built = True

    def gates(self, projected, recurrent, states, weights=()):
        _, c, n, m = states
        size = self.units // self.heads
        ends = [part * self.units for part in (1, 2, 3, 4)]
        q, k, v, o, i, f = ops.split(projected, [*ends, ends[-1] + self.heads], axis=-1)
        q, k, v, n = (ops.reshape(vector, (-1, self.heads, size)) for vector in (q, k / math.sqrt(size), v, n))
        c = ops.reshape(c, (-1, self.heads, size, size))
        past = ops.log_sigmoid(f) + m
        m = ops.maximum(past, i)
        keep, write = ops.exp(past - m)[..., None], ops.exp(i - m)[..., None]
        c = keep[..., None] * c + (write * v)[..., None] * k[..., None, :]
        n = keep * n + write * k
        found = ops.sum(c * q[..., None, :], axis=-1)
        weight = ops.abs(ops.sum(n * q, axis=-1))
        h = found / ops.maximum(weight, ops.exp(ops.minimum(-m, _LARGEST_EXPONENT)))[..., None]
        h = ops.sigmoid(o) * ops.reshape(h, (-1, self.units))
        return [h, ops.reshape(c, (-1, self.units * size)), ops.reshape(n, (-1, self.units)), m]

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "unit_forget_bias": self.unit_forget_bias}
