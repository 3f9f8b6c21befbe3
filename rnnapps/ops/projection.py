"""The projection of a whole sequence by one matrix, with its gradient."""

import tensorflow as tf


def project(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None, dtype: tf.DType | str) -> tf.Tensor:
    """`x W + b` for any leading axes, as one matrix product.

    The product is in the dtype of `kernel`, what is returned in `dtype`. The gradient of `b` is a product with ones,
    which reads the large gradient once and faster than a sum over its leading axes.

    Args:
        inputs: `(..., features)`.
        kernel: `(features, width)`.
        bias: `(width,)`, in `dtype`, or None.
        dtype: Of the result.

    Returns:
        `(..., width)`.
    """

    @tf.custom_gradient
    def run(inputs, kernel, *biases):
        rows = tf.reshape(tf.cast(inputs, kernel.dtype), (-1, kernel.shape[0]))
        product = tf.cast(tf.matmul(rows, kernel), dtype)
        if biases:
            product = tf.nn.bias_add(product, biases[0])
        shape = tf.concat([tf.shape(inputs)[:-1], kernel.shape[1:]], 0)

        def gradient(d_result):
            d_rows = tf.reshape(d_result, (-1, kernel.shape[1]))
            narrow = tf.cast(d_rows, kernel.dtype)
            d_inputs = tf.cast(tf.matmul(narrow, kernel, transpose_b=True), inputs.dtype)
            d_kernel = tf.matmul(rows, narrow, transpose_a=True)
            return [tf.reshape(d_inputs, tf.shape(inputs)), d_kernel, *(sum_of_rows(d_rows) for _ in biases)]

        return tf.ensure_shape(tf.reshape(product, shape), (*inputs.shape[:-1], kernel.shape[1])), gradient

    return run(inputs, kernel, *([] if bias is None else [bias]))


def sum_of_rows(rows: tf.Tensor) -> tf.Tensor:
    """The sum over the first axis of a matrix, as a product with ones."""
    return tf.matmul(tf.ones((1, tf.shape(rows)[0]), rows.dtype), rows)[0]
