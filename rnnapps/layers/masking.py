"""Masks, and what a layer puts out at masked steps."""

from keras import ops

from rnnapps.ops.linear_recurrence import linear_recurrence


def time_major(mask, rank):
    """The mask `(batch, time, ...)` as bool `(time, batch, ...)` of this rank, with ones for the axes it has not."""
    if mask is None:
        return None
    mask = ops.swapaxes(ops.cast(mask, "bool"), 0, 1)
    return ops.expand_dims(mask, list(range(len(mask.shape), rank)))


def masked_outputs(outputs, mask, zero, is_held):
    """The outputs with those of masked steps replaced: by zeros, or by the last one, which at first is zeros too."""
    if zero:
        return ops.where(mask, outputs, ops.zeros_like(outputs))
    if is_held:  # outputs of the state alone, which a masked step keeps
        seen = ops.cumsum(ops.cast(mask, "int32"), axis=0) > 0
        return ops.where(seen, outputs, ops.zeros_like(outputs))
    return hold(outputs, mask, ops.zeros_like(outputs[0]))


def hold(sequence, mask, start):
    """The values of unmasked steps, each held over the masked ones that follow; `start` before the first."""
    if mask is None:
        return sequence
    # Holding a value is a linear recurrence as well: s_t = 0 s_{t-1} + x_t, and 1 s_{t-1} + 0 where masked.
    zeros, ones = ops.zeros_like(sequence), ops.ones_like(sequence)
    return linear_recurrence(ops.where(mask, zeros, ones), ops.where(mask, sequence, zeros), start)[0]
