"""Attention over a memory: scores of queries, and the weights that they make.

Queries are `(batch, queries, units)`: one for each sequence, or more where several share a memory, as the hypotheses of
a beam do. Memory is `(batch, memory, ...)`, scores and weights `(batch, queries, memory)`.
"""

from __future__ import annotations

import tensorflow as tf

SCORES = ("additive", "dot", "general", "scaled")


def additive(queries: tf.Tensor, keys: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """Scores v^T tanh(q + k).

    Args:
        queries: `(batch, queries, units)`, already projected.
        keys: `(batch, memory, units)`, already projected; or `(batch, queries, memory, units)`.
        vector: `(units,)`.

    Reference: Bahdanau et al., 2014, https://arxiv.org/abs/1409.0473
    """
    if len(keys.shape) == 3:
        keys = keys[:, tf.newaxis]
    activations = tf.tanh(queries[:, :, tf.newaxis] + keys)
    # As one matrix product: TensorFlow's batched one is slow with a vector, and has been seen to crash.
    scores = tf.matmul(tf.reshape(activations, (-1, vector.shape[0])), vector[:, tf.newaxis])
    return tf.reshape(scores, tf.shape(activations)[:-1])


def dot(queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Scores q^T k, for queries and keys of equal size.

    Reference: Luong et al., 2015, https://arxiv.org/abs/1508.04025 ("dot"; "general" where the keys are W times the
    memory)
    """
    return tf.matmul(queries, keys, transpose_b=True)


def weights(scores: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """The softmax of scores over the memory, in float32 at least; 0 where masked, and all 0 where everything is.

    Args:
        scores: `(batch, queries, memory)`.
        mask: Bool `(batch, memory)`: what there is.
    """
    scores = tf.cast(scores, tf.float64 if scores.dtype == tf.float64 else tf.float32)
    if mask is None:
        return tf.nn.softmax(scores)
    there = mask[:, tf.newaxis]
    chosen = tf.nn.softmax(tf.where(there, scores, tf.constant(-1e9, scores.dtype)))
    return tf.where(there, chosen, tf.zeros_like(chosen))
