"""The cost of tokens under a softmax over a vocabulary, with the product that makes its logits.

With a large vocabulary a network spends most of its time here: in three products with the output matrix, and in passes
over an array with a number for each token and each entry of the vocabulary. TensorFlow's own operations make one such
pass for each of bias, label smoothing and weights, and again in the gradient; here only the softmax's are left.
"""

from __future__ import annotations

import tensorflow as tf


def softmax_cost(
    features: tf.Tensor,
    matrix: tf.Tensor,
    bias: tf.Tensor | None,
    targets: tf.Tensor,
    weights: tf.Tensor,
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """The weighted sum of the costs of tokens in nats.

        cost = sum_n w_n [(1 - e) (-log p_n(y_n)) + e mean_k (-log p_n(k))]        p_n = softmax(W f_n + b)

    Args:
        features: f, `(n, units)`.
        matrix: W, `(vocabulary, units)`.
        bias: b, `(vocabulary,)`, or None.
        targets: y, `(n,)` int32.
        weights: w, `(n,)`; they are constants, to the gradient.
        label_smoothing: e, in [0, 1).

    Reference: Szegedy et al., 2015, https://arxiv.org/abs/1512.00567 (label smoothing)
    """
    chosen = tf.stack([tf.range(tf.shape(targets)[0]), targets], axis=1)
    likely = 1 - label_smoothing

    @tf.custom_gradient
    def run(features, matrix, *biases):
        logits = tf.matmul(features, matrix, transpose_b=True)
        logits = tf.nn.bias_add(logits, biases[0]) if biases else logits
        p = tf.nn.softmax(logits)
        # log sum exp, from the largest p, which is never too small for its logarithm.
        costs = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(p, axis=1))
        costs -= likely * tf.gather_nd(logits, chosen)
        if label_smoothing:
            costs -= label_smoothing * tf.reduce_mean(logits, axis=1)

        def gradient(d_cost):  # of the logits: p - (1 - e) one_hot(y) - e / K, without passes over p
            scale = (d_cost * weights)[:, tf.newaxis]
            weighted = features * scale
            d_features = tf.matmul(p, matrix) - likely * tf.gather(matrix, targets)
            d_matrix = tf.matmul(p, weighted, transpose_a=True)
            d_matrix = tf.tensor_scatter_nd_sub(d_matrix, targets[:, tf.newaxis], likely * weighted)
            d_biases = [tf.matmul(p, scale, transpose_a=True)[:, 0] for _ in biases]
            d_biases = [tf.tensor_scatter_nd_sub(d, targets[:, tf.newaxis], likely * scale[:, 0]) for d in d_biases]
            if label_smoothing:
                share = label_smoothing / matrix.shape[0]
                d_features -= share * tf.reduce_sum(matrix, axis=0)
                d_matrix -= share * tf.reduce_sum(weighted, axis=0)
                d_biases = [d - share * tf.reduce_sum(scale) for d in d_biases]
            return d_features * scale, d_matrix, *d_biases

        return tf.reduce_sum(costs * weights), gradient

    return run(features, matrix, *([] if bias is None else [bias]))
