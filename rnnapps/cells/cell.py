"""What a cell tells the engine: the three-part form of one step."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class GatedCell:
    """Mixin for a Keras cell whose step is `gates(project(x_t), h_{t-1} U + u, states)`.

    The cell's own `call`, inherited from Keras, stays the slow twin: a step at a time, with plain automatic
    differentiation. `rnnapps.layers.Unroll` runs the three parts instead, all projections before the loop, and the
    tests hold the two against each other. In half precision the matrix products run in the compute dtype and the
    gates in float32, so that the long sums over time keep their small terms.

    A cell provides `kernel`, `recurrent_kernel`, `bias` (or None), and

    - `gates(projected, recurrent, states)`: pointwise; returns the new states, the output first.
    - `input_bias()`, `recurrent_bias()`: the parts of `bias` that join either projection, or None.
    - `is_three_part(training)`: whether `call` has this form with the present options.
    """

    # What the Keras cell beside this mixin has.
    compute_dtype: str
    dropout: float
    recurrent_dropout: float
    kernel: Any
    recurrent_kernel: Any
    bias: Any
    get_dropout_mask: Callable
    gates: Callable

    @property
    def gate_dtype(self) -> str:
        """The dtype of the gates and of the states inside the loop: float32 or, in double precision, float64."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def is_three_part(self, training: bool) -> bool:
        """False where dropout differs by gate: those options run step by step."""
        drops_by_gate = getattr(self, "implementation", 2) == 1 and self.dropout > 0
        return not (training and (self.recurrent_dropout > 0 or drops_by_gate))

    def drop_inputs(self, inputs, training: bool):
        """`inputs (batch, time, features)` times the dropout mask of this sequence, the same at every step."""
        if not (training and self.dropout > 0):
            return inputs
        mask = self.get_dropout_mask(inputs[:, 0, :])
        return inputs * ops.expand_dims(mask, 1)

    def project(self, inputs):
        """`x W + b` for any leading axes, in the dtype of the gates."""
        product = ops.matmul(ops.cast(inputs, self.compute_dtype), ops.cast(self.kernel, self.compute_dtype))
        product = ops.cast(product, self.gate_dtype)
        bias = self.input_bias()
        return product if bias is None else product + bias

    def input_bias(self):
        return None if self.bias is None else ops.cast(self.bias, self.gate_dtype)

    def recurrent_bias(self):
        return None


def register(cls):
    """Registers a class under `rnnapps>Name`, the name that saved models carry."""
    return keras.saving.register_keras_serializable(package="rnnapps")(cls)
