import keras
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.linear import LinearCell

# How far the gate can push the decay: from a^0 = 1 to a^8.
_POWER = 8.0
# Below it the root would have no finite slope; the state then takes a millionth of the input.
_SMALLEST = 1e-12


@register
class RGLRUCell(LinearCell):
    """One step of a real-gated linear recurrent unit: a slow decay of its own for each unit, which a gate can hold up.

        r, i = split(x_t W + b)
        a_t = a^(8 sigmoid(r))                            a = sigmoid(decay)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (sigmoid(i) * x_t)

    The root keeps the scale of h whatever the decay is. `decay` starts so that a^8 is spread evenly over 0.9 to 0.999.
    Where x has another size than h, a third part of x_t W takes its place.

    Args:
        units: Int > 0. Size of `h`.
        **kwargs: As in `LinearCell`; `seed` also is that of `decay`.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t]`.

    Weights: `kernel (features, 2 * units)`, or `(features, 3 * units)` where features and units differ,
    `bias (2 * units,)`, `decay (units,)`. Gate order r, i, and then the input's part, which has no bias.

    Reference: De et al., 2024, https://arxiv.org/abs/2402.19427 (there the kernel of the gates is block-diagonal)
    """

    gate_count = 2
    biased_gates = 2

    def build(self, input_shape):
        self.gate_count = 2 if input_shape[-1] == self.units else 3
        super().build(input_shape)
        self.decay = self.add_weight(shape=(self.units,), initializer=self._slow_decays, name="decay")

    def _slow_decays(self, shape, dtype=None):
        a = keras.random.uniform(shape, 0.9, 0.999, dtype=dtype, seed=self.seed) ** (1 / _POWER)
        return ops.log(a) - ops.log1p(-a)

    def coefficients(self, inputs, before):
        r, i, *projected = self.project(inputs)
        x = projected[0] if projected else ops.cast(inputs, self.gate_dtype)
        slowest = -_POWER * ops.softplus(-ops.cast(self.decay, self.gate_dtype))  # log a^8
        log_a = slowest * ops.sigmoid(r)
        scale = ops.sqrt(ops.maximum(-ops.expm1(2 * log_a), _SMALLEST))
        return ops.exp(log_a), scale * ops.sigmoid(i) * x, None
