"""Linear cells over time: no loop over steps, one recurrence that is solved for all of them."""

from keras import ops

from rnnapps.layers.masking import hold, masked_outputs, time_major
from rnnapps.ops.linear_recurrence import linear_recurrence


def run(cell, inputs, states, mask=None, go_backwards=False, zero_output_for_mask=False):
    """A `LinearCell` over all steps.

    Args:
        cell: The cell, built.
        inputs: `(batch, time, features)`.
        states: What the cell starts from, `(batch, size)` each.
        mask: Bool `(batch, time)`, or with more axes of the states, or None. A False step keeps the states, and repeats
            the last output.
        go_backwards: Bool. Whether the last step comes first; the outputs then stand in that order.
        zero_output_for_mask: Bool. Whether the output of a masked step is zero instead.

    Returns:
        The last output, `(batch, units)`, all outputs, `(batch, time, units)`, and the states after the last step.
    """
    states = [ops.cast(state, cell.gate_dtype) for state in states]
    if inputs.shape[1] == 1 and mask is None:
        output, states = cell.call(inputs[:, 0], states)
        return output, ops.expand_dims(output, 1), states
    inputs = ops.transpose(inputs, (1, 0, 2))  # (time, batch, features)
    mask = time_major(mask, 3)
    if go_backwards:
        inputs = ops.flip(inputs, 0)
        mask = None if mask is None else ops.flip(mask, 0)
    left = [hold(new, mask, start) for new, start in zip(cell.carried(inputs), states[1:], strict=True)]
    before = [ops.concatenate([start[None], new[:-1]]) for new, start in zip(left, states[1:], strict=True)]
    a, b, rest = cell.coefficients(inputs, before)
    if mask is not None:
        a, b = ops.where(mask, a, ops.ones_like(a)), ops.where(mask, b, ops.zeros_like(b))
    sequence, last = linear_recurrence(a, b, states[0])
    outputs = cell.output(sequence, rest)
    if mask is not None:
        outputs = masked_outputs(outputs, mask, zero_output_for_mask, is_held=rest is None)
    return outputs[-1], ops.transpose(outputs, (1, 0, 2)), [last, *(new[-1] for new in left)]
