"""Random numbers from integer arithmetic: one seed gives one text, on every path.

The numbers of `tf.random.stateless_*` change when XLA compiles them, and a generator with hidden state would make a
row's text depend on its neighbours in the batch. Here a number is a hash of (seed, step, position): equal to the last
bit in eager mode, in a graph, under XLA and in a SavedModel, and the same for a row alone or in any batch.
"""

from __future__ import annotations

import tensorflow as tf

# An odd multiplier for each coordinate keeps (seed, step, position) apart before the mixing.
_SEED_OFFSET = 0x9E3779B9
_STEP_FACTOR = 0x85EBCA6B
_POSITION_FACTOR = 0xC2B2AE35

# 23 bits, because k + 0.5 must be exact in float32: with 24 bits the largest would round up to 1.0.
_BITS = 23


def uniform(seed: tf.Tensor, step: tf.Tensor, n: int) -> tf.Tensor:
    """Returns uniform numbers strictly between 0 and 1, a function of seed, step and position alone.

    A number is an odd multiple of 2**-24: it is never 0 and never 1, so its logarithms are finite.

    Args:
        seed: `(batch,)` int32, any value: one seed per row.
        step: `(batch,)` int32: the index of the draw within the row.
        n: How many numbers per row.

    Returns:
        `(batch, n)` float32.
    """
    row = _mix(tf.bitcast(seed, tf.uint32) + _uint32(_SEED_OFFSET))
    row = _mix(row + tf.bitcast(step, tf.uint32) * _uint32(_STEP_FACTOR))
    position = tf.cast(tf.range(n), tf.uint32) * _uint32(_POSITION_FACTOR)
    bits = _mix(_mix(row[:, None] + position[None, :]))  # (batch, n)
    high = tf.bitwise.right_shift(bits, _uint32(32 - _BITS))
    return (tf.cast(high, tf.float32) + 0.5) * (0.5**_BITS)


def _mix(x: tf.Tensor) -> tf.Tensor:
    """One round of the `lowbias32` integer hash: a bijection of uint32.

    Reference: Wellons, 2018, https://nullprogram.com/blog/2018/07/31/
    """
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _uint32(16))) * _uint32(0x7FEB352D)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _uint32(15))) * _uint32(0x846CA68B)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _uint32(16)))


def _uint32(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)
