"""The bare loop over time, which the recurrences share: several steps a turn, over views of sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from rnnapps.ops.execution import is_compiled_by_xla

# Fewer turns of the loop cost less bookkeeping, more than five steps a turn cost compile time for nothing (measured).
_STEPS_PER_TURN = 5


def over(sequences: Sequence[tf.Tensor], body: Callable[..., Any], *carry: Any, backwards: bool = False) -> Any:
    """`carry = body(t, [sequence[t] for each], *carry)` for every step, several steps to a turn of the loop."""
    times = length(sequences[0])

    def turn(steps):
        def run(done, *carry):
            first = times - done - steps if backwards else done
            blocks = [_block(sequence, first, steps) for sequence in sequences]
            for step in reversed(range(steps)) if backwards else range(steps):
                carry = body(first + step, [block[step] for block in blocks], *carry)
            return done + steps, *carry

        return run

    is_known = isinstance(times, int)
    # XLA learns an unknown length later, and then wants it to be a turn at least.
    steps = _STEPS_PER_TURN if is_known or not is_compiled_by_xla() else 1
    many = times - times % steps
    done = tf.constant(0)
    if not (is_known and many == 0):
        done, *carry = tf.while_loop(lambda done, *_: done < many, turn(steps), (done, *carry))
    if not is_known:
        _, *carry = tf.while_loop(lambda done, *_: done < times, turn(1), (done, *carry))
    elif times > many:
        _, *carry = turn(times - many)(many, *carry)
    return carry


def time_array(like: tf.Tensor, size: int | tf.Tensor) -> tf.TensorArray:
    """An array of `size` tensors like this one, which may be read more than once."""
    return tf.TensorArray(like.dtype, size=size, element_shape=like.shape, clear_after_read=False)


def length(sequence: tf.Tensor) -> int | tf.Tensor:
    """The first axis: a number where it is known while the graph is made, else a tensor."""
    return sequence.shape[0] if sequence.shape[0] is not None else tf.shape(sequence)[0]


def _block(sequence, first, steps):
    """The rows `first` to `first + steps` of a sequence: views, where those of a TensorArray would be copies."""
    begin = tf.stack([first] + [0] * (len(sequence.shape) - 1))
    size = tf.concat([[steps], tf.shape(sequence)[1:]], 0)
    block = tf.ensure_shape(tf.slice(sequence, begin, size), (steps, *sequence.shape[1:]))
    return tf.unstack(block, num=steps)
