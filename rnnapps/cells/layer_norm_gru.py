from keras import ops

from rnnapps.cells.cell import Cell, register
from rnnapps.cells.layer_norm_lstm import normalize


@register
class LayerNormGRUCell(Cell):
    """One step of a GRU whose summed inputs are normalised over the units of each example.

        z, r = sigmoid(split(LN(x_t W_zr) * a_zr + b_zr + LN(h_{t-1} U_zr) * k_zr))
        n = tanh(LN(x_t W_n) * a_n + b_n + r * (LN(h_{t-1} U_n) * k_n + d))
        h_t = z * h_{t-1} + (1 - z) * n

    with LN(v) = (v - mean(v)) / sqrt(variance(v) + epsilon) over the last axis: z and r together, n by itself, as in
    the paper. `z` is the share that is kept, as in `GRUCell`; the paper's z is 1 less this one. `b_zr` is the sum of
    two biases there.

    Args:
        units: Int > 0. Size of `h`.
        epsilon: Float > 0. Keeps LN finite where all values are equal, as h_0 U is at a start from zeros.
        **kwargs: As in `Cell`; `use_bias` holds for `b` and `d`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: as in `Cell`, 3 gates in the order z, r, n; then `input_gain (3 * units,)` (a),
    `recurrent_gain (3 * units,)` (k), `candidate_bias (units,)` (d). Gains start at 1.

    Reference: Ba et al., 2016, https://arxiv.org/abs/1607.06450
    """

    gate_count = 3

    def __init__(self, units, epsilon=1e-5, **kwargs):
        super().__init__(units, **kwargs)
        if not epsilon > 0:
            raise ValueError(f"epsilon of {type(self).__name__} must be above 0, not {epsilon!r}")
        self.epsilon = epsilon
        self.candidate_bias = None

    def build(self, input_shape):
        super().build(input_shape)
        width = 3 * self.units
        self.input_gain = self.add_weight(shape=(width,), initializer="ones", name="input_gain")
        self.recurrent_gain = self.add_weight(shape=(width,), initializer="ones", name="recurrent_gain")
        if self.use_bias:
            self.candidate_bias = self.add_weight(shape=(self.units,), initializer="zeros", name="candidate_bias")

    def project(self, inputs):
        normal = self._normalize(super().project(inputs)) * ops.cast(self.input_gain, self.gate_dtype)
        return normal if self.bias is None else normal + ops.cast(self.bias, self.gate_dtype)

    def input_bias(self):
        return None  # it joins after the normalisation

    def gate_weights(self):
        weights = [self.recurrent_gain, *([] if self.candidate_bias is None else [self.candidate_bias])]
        return [ops.cast(weight, self.gate_dtype) for weight in weights]

    def gates(self, projected, recurrent, states, weights=()):
        recurrent_gain, *candidate_bias = weights
        x_z, x_r, x_n = ops.split(projected, 3, axis=-1)
        h_z, h_r, h_n = ops.split(self._normalize(recurrent) * recurrent_gain, 3, axis=-1)
        h_n = h_n + candidate_bias[0] if candidate_bias else h_n
        z = ops.sigmoid(x_z + h_z)
        n = ops.tanh(x_n + ops.sigmoid(x_r + h_r) * h_n)
        return [z * states[0] + (1 - z) * n]

    def _normalize(self, projection):
        """LN of z and r, and LN of n."""
        parts = ops.split(projection, [2 * self.units], axis=-1)
        return ops.concatenate([normalize(part, self.epsilon) for part in parts], axis=-1)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
