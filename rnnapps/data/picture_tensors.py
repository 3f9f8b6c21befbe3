"""From the files of pictures to pixels, in a graph: the same in training and in a SavedModel."""

from __future__ import annotations

import tensorflow as tf


def decoded(files: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes JPEG, PNG, GIF or BMP files, of a GIF the first frame, and scales each to a square.

    The whole picture is kept, so that one that is no square is squeezed.

    Args:
        files: `(batch,)` string.
        size: Rows and columns.

    Returns:
        `(batch, size, size, 3)` float32: red, green and blue from 0 to 255.
    """

    def one(file: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(file, channels=3, expand_animations=False)
        pixels.set_shape((None, None, 3))
        return tf.clip_by_value(tf.image.resize(pixels, (size, size), antialias=True), 0, 255)

    return tf.map_fn(one, files, fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32))


def flipped(pictures: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Mirrors the pictures `(batch, rows, columns, 3)` for which the bool `chosen (batch,)` is true, left to right."""
    return tf.where(chosen[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.reverse(pictures, [2]), pictures)
