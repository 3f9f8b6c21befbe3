from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.linear import LinearCell
from rnnapps.cells.min_gru import make_positive


@register
class MinLSTMCell(LinearCell):
    """One step of an LSTM without what ties a step to the last one, and without `c`, so that it trains in parallel.

        f, i, n = split(x_t W + b)
        F = sigmoid(f) / (sigmoid(f) + sigmoid(i))
        h_t = F * h_{t-1} + (1 - F) * n

    The gates share one whole, so that the state keeps its scale over any number of steps. F is computed as
    sigmoid(log sigmoid(f) - log sigmoid(i)), which holds where both gates are 0 to the computer.

    Args:
        units: Int > 0. Size of `h`.
        positive: Bool. Whether g(n) stands for n, as in `MinGRUCell`.
        **kwargs: As in `LinearCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: `kernel (features, 3 * units)`, `bias (3 * units,)`. Gate order f, i, n.

    Reference: Feng et al., 2024, https://arxiv.org/abs/2410.01201
    """

    gate_count = 3

    def __init__(self, units, positive=False, **kwargs):
        super().__init__(units, **kwargs)
        self.positive = positive

    def coefficients(self, inputs, before):
        f, i, n = self.project(inputs)
        keep = ops.sigmoid(ops.softplus(-i) - ops.softplus(-f))
        return keep, (1 - keep) * (make_positive(n) if self.positive else n), None

    def get_config(self):
        return {**super().get_config(), "positive": self.positive}
