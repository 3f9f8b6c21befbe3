import keras
from keras import ops

from rnnapps.cells.cell import Cell, register


@register
class IRNNCell(Cell):
    """One step of a plain recurrent network of rectified linear units that starts by copying its state.

        h_t = relu(x_t W + h_{t-1} U + b)

    `U` starts as a multiple of the identity and `b` at zero, so that without input the state stays, or decays slowly
    with a scale below 1, and so does the gradient. The states are not bounded: training may want clipped gradients.

    Args:
        units: Int > 0. Size of `h`.
        recurrent_scale: Float. The multiple of the identity that `U` starts as.
        kernel_initializer: Of `W`. Default: normal with standard deviation 0.001, as in the paper.
        recurrent_initializer: Of `U`. Default: `recurrent_scale` times the identity.
        **kwargs: As in `Cell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: `kernel (features, units)`, `recurrent_kernel (units, units)`, `bias (units,)`.

    Reference: Le et al., 2015, https://arxiv.org/abs/1504.00941
    """

    def __init__(self, units, recurrent_scale=1.0, kernel_initializer=None, recurrent_initializer=None, **kwargs):
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.RandomNormal(stddev=0.001)
        if recurrent_initializer is None:
            recurrent_initializer = keras.initializers.Identity(recurrent_scale)
        super().__init__(
            units, kernel_initializer=kernel_initializer, recurrent_initializer=recurrent_initializer, **kwargs
        )
        self.recurrent_scale = recurrent_scale

    def gates(self, projected, recurrent, states, weights=()):
        return [ops.relu(projected + recurrent)]

    def get_config(self):
        return {**super().get_config(), "recurrent_scale": self.recurrent_scale}
