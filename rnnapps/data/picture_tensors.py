"""From the files of pictures to pixels, in a graph: the same in training and in a SavedModel."""

from __future__ import annotations

import functools

import tensorflow as tf

from rnnapps.data import picture_headers
from rnnapps.data.picture_headers import Head
from rnnapps.data.pictures import MAX_PIXELS

_STRIP = 256  # rows that are put over white at once: a whole picture would take several times its size


def decoded(files: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes JPEG, PNG, GIF or BMP files, as `pixels` does, and scales each to a square.

    The whole picture is kept, so that one that is no square is squeezed.

    Args:
        files: `(batch,)` string.
        size: Rows and columns.

    Returns:
        `(batch, size, size, 3)` float32: red, green and blue from 0 to 255.
    """

    def one(file: tf.Tensor) -> tf.Tensor:
        found = pixels(file)
        # What `tf.image.resize` does with antialias, but for a copy of the whole picture in float32.
        scale = tf.cast((size, size), tf.float32) / tf.cast(tf.shape(found)[:2], tf.float32)
        scaled = tf.raw_ops.ScaleAndTranslate(
            images=found[tf.newaxis], size=(size, size), scale=scale, translation=(0.0, 0.0), kernel_type="triangle"
        )
        return tf.clip_by_value(scaled[0], 0, 255)

    return tf.map_fn(one, files, fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32))


# A function, so that it is traced and written once, however many endpoints take pictures.
@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def pixels(file: tf.Tensor) -> tf.Tensor:
    """Decodes a picture as a person sees it: upright, over white where it is transparent, of several the first.

    Gives the very pixels of what `pictures.readable` makes of the file; of a JPEG in CMYK, nearly.

    Args:
        file: Scalar string: JPEG, PNG, GIF or BMP.

    Returns:
        `(height, width, 3)` uint8: red, green and blue.

    Raises:
        tf.errors.InvalidArgumentError: It is something else, damaged, or has more than `MAX_PIXELS`, which its head
            tells before anything is unpacked.
    """
    begins = tf.stack([tf.strings.substr(file, 0, len(start)) == start for start in _READERS])
    message = "a picture is of no kind that can be read: wanted JPEG, PNG, GIF or BMP"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_any(begins), [message])]):
        kind = tf.argmax(begins, output_type=tf.int32)
    found = tf.switch_case(kind, [functools.partial(read, file) for read in _READERS.values()])
    return tf.ensure_shape(found, (None, None, 3))


def _jpeg(file: tf.Tensor) -> tf.Tensor:
    head = picture_headers.of_jpeg(file)
    with tf.control_dependencies([_small_enough(head)]):
        # What stands upright is decoded fast; what is turned, as Pillow decodes it for `readable`.
        return tf.cond(
            head.orientation > 1,
            lambda: _upright(tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE"), head.orientation),
            lambda: _plain(file),
        )


def _png(file: tf.Tensor) -> tf.Tensor:
    head = picture_headers.of_png(file)
    with tf.control_dependencies([_small_enough(head)]):
        found = tf.cond(head.clear, lambda: _over_white(tf.io.decode_png(file, 4)), lambda: _plain(file))
    return tf.cond(head.orientation > 1, lambda: _upright(found, head.orientation), lambda: found)


def _gif(file: tf.Tensor) -> tf.Tensor:
    head, first = picture_headers.of_gif(file)
    message = "the first picture of a GIF does not fill it: wanted one that does, or a PNG"
    fills = tf.debugging.Assert(head.pixels >= 0, [message])
    with tf.control_dependencies([fills, _small_enough(head)]):
        return _plain(first)


def _bmp(file: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_small_enough(picture_headers.of_bmp(file))]):
        return _plain(file)


def _plain(file: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(file, channels=3, expand_animations=False)


def _small_enough(head: Head) -> tf.Operation:
    message = f"a picture has more than {MAX_PIXELS:,} pixels:"
    return tf.debugging.Assert(head.pixels <= MAX_PIXELS, [message, head.pixels])


def _over_white(picture: tf.Tensor) -> tf.Tensor:
    """Red, green and blue of `(height, width, 4)` uint8, rounded as Pillow rounds."""
    height = tf.shape(picture)[0]
    strips = (height + _STRIP - 1) // _STRIP
    eight = tf.constant(8, tf.uint16)

    def strip(i: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        wide = tf.cast(picture[i * _STRIP : (i + 1) * _STRIP], tf.uint16)  # 16 bits hold it all
        alpha = wide[..., 3:]
        summed = wide[..., :3] * alpha + (255 - alpha) * 255 + 128
        shifted = tf.bitwise.right_shift(summed + tf.bitwise.right_shift(summed, eight), eight)
        return i + 1, done.write(i, tf.cast(shifted, tf.uint8))

    done = tf.TensorArray(tf.uint8, strips, infer_shape=False, element_shape=(None, None, 3))
    _, done = tf.while_loop(lambda i, _: i < strips, strip, (tf.constant(0), done), parallel_iterations=1)
    return done.concat()


def _upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A picture that the camera did not hold upright; `orientation` as Exif numbers them."""
    turned = tf.cond(orientation >= 5, lambda: tf.transpose(picture, (1, 0, 2)), lambda: picture)
    for axis, chosen in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        flips = tf.reduce_any(orientation == tf.constant(chosen))
        turned = tf.cond(flips, lambda axis=axis, one=turned: tf.reverse(one, [axis]), lambda one=turned: one)
    return turned


_READERS = {b"\xff\xd8\xff": _jpeg, b"\x89PNG\r\n\x1a\n": _png, b"GIF8": _gif, b"BM": _bmp}


def flipped(pictures: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Mirrors the pictures `(batch, rows, columns, 3)` for which the bool `chosen (batch,)` is true, left to right."""
    return tf.where(chosen[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.reverse(pictures, [2]), pictures)
