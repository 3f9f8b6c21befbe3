"""The product of a state with a recurrent kernel, and its gradients: a matrix product or a convolution.

Two axes, `(units, width)`, make a kernel a matrix, which the last axis of the state is multiplied by. Four axes,
`(rows, columns, channels, width)`, make it a window that moves over states `(batch, height, width, channels)`, with
zeros around them such that their size stays. The functions take states with any leading axes.
"""

from collections.abc import Callable

import tensorflow as tf

# Of the window: a step each way, the size of the state kept.
_MOVES = {"strides": [1, 1, 1, 1], "padding": "SAME"}


def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The product in the dtype of the kernel, returned in that of `x`."""
    narrow = tf.cast(x, kernel.dtype)
    if _is_matrix(kernel):
        return tf.cast(tf.matmul(narrow, kernel), x.dtype)
    return tf.cast(_convolution(narrow, kernel), x.dtype)


def transposed(kernel: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function that takes the gradient with respect to a product to that with respect to the state."""
    if _is_matrix(kernel):
        matrix = tf.transpose(kernel)  # once, where the function runs at every step
        return lambda d_product: product(d_product, matrix)

    def run(d_product):
        sizes = tf.concat([tf.shape(d_product)[:-1], kernel.shape[-2:-1]], 0)
        narrow = tf.cast(d_product, kernel.dtype)
        d_x = tf.raw_ops.Conv2DBackpropInput(input_sizes=sizes, filter=kernel, out_backprop=narrow, **_MOVES)
        return tf.cast(tf.ensure_shape(d_x, (*d_product.shape[:-1], kernel.shape[-2])), d_product.dtype)

    return run


def kernel_gradient(x: tf.Tensor, d_product: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The gradient with respect to the kernel, summed over all leading axes."""
    x, d_product = _fold(x, kernel, kernel.shape[-2]), _fold(d_product, kernel, kernel.shape[-1])
    if _is_matrix(kernel):
        return tf.matmul(x, d_product, transpose_a=True)
    return tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, out_backprop=d_product, **_MOVES)


def _convolution(x, kernel):
    if x.shape[0]:
        return tf.nn.conv2d(x, kernel, **_MOVES)
    # A shard can be left without rows, of which TensorFlow's convolution on processors gets the shape wrong.
    rows = tf.shape(x)[0]
    one_for_none = tf.cast(tf.equal(rows, 0), rows.dtype)
    padded = tf.pad(x, [[0, one_for_none], [0, 0], [0, 0], [0, 0]])
    return tf.nn.conv2d(padded, kernel, **_MOVES)[:rows]


def _is_matrix(kernel):
    return len(kernel.shape) == 2


def _fold(sequence, kernel, channels):
    """`sequence` with its leading axes in one, in the dtype of the kernel."""
    window = [] if _is_matrix(kernel) else sequence.shape[-3:-1]
    return tf.cast(tf.reshape(sequence, (-1, *window, channels)), kernel.dtype)
