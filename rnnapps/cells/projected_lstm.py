import keras
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.forget_bias import ForgetBiasCell


@register
class ProjectedLSTMCell(ForgetBiasCell):
    """One step of an LSTM that shows a projection of its units, narrower than their number (LSTMP).

        i, f, g, o = split(x_t W + h_{t-1} U + b)
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = (sigmoid(o) * tanh(c_t)) V

    The recurrent product then costs `projection_units` in place of `units` rows. The paper's peepholes and its second,
    non-recurrent projection are left out, as in `torch.nn.LSTM(proj_size=...)`: the transposes of that layer's
    `weight_ih`, `weight_hh` and `weight_hr` are this cell's kernels, and the sum of its two biases is `b`.

    Args:
        units: Int > 0. Size of `c`.
        projection_units: Int > 0. Size of `h`.
        projection_initializer: Of `V`.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1.
        **kwargs: As in `Cell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c]`: `(batch, projection_units)` and `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, projection_units)`, and the new `[h_t, c_t]`.

    Weights: `kernel (features, 4 * units)`, `recurrent_kernel (projection_units, 4 * units)`, `bias (4 * units,)`,
    `projection_kernel (units, projection_units)`. Gate order i, f, g, o.

    Reference: Sak et al., 2014, https://arxiv.org/abs/1402.1128
    """

    gate_count = 4
    forget_gate = 1

    def __init__(self, units, projection_units, projection_initializer="glorot_uniform", **kwargs):
        super().__init__(units, **kwargs)
        if not (isinstance(projection_units, int) and projection_units > 0):
            raise ValueError(
                f"projection_units of {type(self).__name__} must be an int above 0, not {projection_units!r}"
            )
        self.projection_units = projection_units
        self.projection_initializer = keras.initializers.get(projection_initializer)

    @property
    def state_size(self):
        return [self.projection_units, self.units]

    @property
    def output_size(self):
        return self.projection_units

    def build(self, input_shape):
        super().build(input_shape)
        self.projection_kernel = self.add_weight(
            shape=(self.units, self.projection_units), initializer=self.projection_initializer, name="projection_kernel"
        )

    def build_recurrent_kernel(self, width):
        self.recurrent_kernel = self.add_weight(
            shape=(self.projection_units, width), initializer=self.recurrent_initializer, name="recurrent_kernel"
        )

    def gate_weights(self):
        # In the dtype of the gates, where its gradient is summed over time; the product itself may be narrower.
        return [ops.cast(self.projection_kernel, self.gate_dtype)]

    def gates(self, projected, recurrent, states, weights=()):
        i, f, g, o = ops.split(projected + recurrent, 4, axis=-1)
        c = ops.sigmoid(f) * states[1] + ops.sigmoid(i) * ops.tanh(g)
        hidden = ops.cast(ops.sigmoid(o) * ops.tanh(c), self.compute_dtype)
        return [ops.cast(ops.matmul(hidden, ops.cast(weights[0], self.compute_dtype)), c.dtype), c]

    def get_config(self):
        return {
            **super().get_config(),
            "projection_units": self.projection_units,
            "projection_initializer": keras.initializers.serialize(self.projection_initializer),
        }
