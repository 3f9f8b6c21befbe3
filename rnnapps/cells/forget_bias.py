from keras import ops

from rnnapps.cells.cell import Cell


class ForgetBiasCell(Cell):
    """Base of the cells with a forget gate, whose part of the bias starts at 1 so that they remember from the start.

    A subclass sets `forget_gate`, the position of that gate among its gates.

    Args:
        units: Int > 0.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1 (Jozefowicz et al., 2015,
            https://proceedings.mlr.press/v37/jozefowicz15.html), the rest as `bias_initializer` says.
        **kwargs: As in `Cell`.
    """

    # None: no part of the bias starts at 1.
    forget_gate: int | None = None

    def __init__(self, units, unit_forget_bias=True, **kwargs):
        super().__init__(units, **kwargs)
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape):
        initializer = self.bias_initializer

        def with_ones(shape, dtype=None):
            gates = ops.split(initializer(shape, dtype), self.gate_count)
            gates[self.forget_gate] = ops.ones_like(gates[self.forget_gate])
            return ops.concatenate(gates)

        if self.unit_forget_bias and self.forget_gate is not None:
            self.bias_initializer = with_ones
        try:
            super().build(input_shape)
        finally:
            self.bias_initializer = initializer  # the one that `get_config` can write down

    def get_config(self):
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}
