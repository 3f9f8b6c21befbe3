from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.wrapper import WrapperCell


@register
class ResidualCell(WrapperCell):
    """Another cell, with its input added to its output.

        y_t = x_t + cell(x_t)

    The states are the inner cell's: what it sees of its past is without x. Dropout of the inputs acts inside the inner
    cell; the sum takes x as it is.

    Args:
        cell: The inner cell, as in `WrapperCell`. Its output is of the size of the inputs.
        **kwargs: As in `WrapperCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: As those of the inner cell.
        training: Bool. Whether dropout is applied, if the inner cell's `call` does so.

    Returns:
        The output, `(batch, features)`, and the new states of the inner cell.

    Raises:
        ValueError: The output of the inner cell is of another size than the inputs.

    Weights: those of the inner cell.

    Reference: Wu et al., 2016, https://arxiv.org/abs/1609.08144
    """

    def build(self, input_shape):
        if input_shape[-1] != self.output_size:
            raise ValueError(
                f"the inputs of {type(self).__name__} must have the {self.output_size} features "
                f"of its cell's output, not {input_shape[-1]}"
            )
        super().build(input_shape)

    def loop_inputs(self, inputs, training):
        inputs, given = self._cut(inputs)
        return [*super().loop_inputs(given, training), inputs]

    def project(self, *inputs):
        return super().project(*inputs[:-1])

    def outputs(self, h, inputs):
        output = super().outputs(h, inputs[:-1])
        return output + ops.cast(inputs[-1], output.dtype)

    def drop_inputs(self, inputs, training):
        """x for the sum and, after it on the last axis, what the inner cell gets; x alone where both are the same."""
        dropped = super().drop_inputs(inputs, training)
        return inputs if dropped is inputs else ops.concatenate([inputs, dropped], axis=-1)

    def step(self, inputs, states, training, change=None):
        inputs, given = self._cut(inputs)
        output, new = super().step(given, states, training, change)
        return output + ops.cast(inputs, output.dtype), new

    def _cut(self, inputs):
        """The two parts of what `drop_inputs` returned."""
        features = self.output_size
        return (inputs[..., :features], inputs[..., features:]) if inputs.shape[-1] > features else (inputs, inputs)
