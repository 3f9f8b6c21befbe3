from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.linear import LinearCell


@register
class MinGRUCell(LinearCell):
    """One step of a GRU without what ties a step to the last one, so that it trains in parallel.

        z, n = split(x_t W + b)
        h_t = (1 - sigmoid(z)) * h_{t-1} + sigmoid(z) * n

    The paper also writes g(n) for n, with g(n) = n + 0.5 from 0 on and sigmoid(n) below, which is positive, because it
    solves the recurrence in logarithms. Here nothing needs a logarithm: `positive` is for its results, not for safety.

    Args:
        units: Int > 0. Size of `h`.
        positive: Bool. Whether g(n) stands for n.
        **kwargs: As in `LinearCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: `kernel (features, 2 * units)`, `bias (2 * units,)`. Gate order z, n.

    Reference: Feng et al., 2024, https://arxiv.org/abs/2410.01201
    """

    gate_count = 2

    def __init__(self, units, positive=False, **kwargs):
        super().__init__(units, **kwargs)
        self.positive = positive

    def coefficients(self, inputs, before):
        z, n = self.project(inputs)
        write = ops.sigmoid(z)
        return 1 - write, write * (make_positive(n) if self.positive else n), None

    def get_config(self):
        return {**super().get_config(), "positive": self.positive}


def make_positive(x):
    """g(x) of the paper: x + 0.5 from 0 on, sigmoid(x) below; continuous and above 0."""
    return ops.where(x >= 0, x + 0.5, ops.sigmoid(x))
