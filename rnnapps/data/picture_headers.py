"""What the head of a picture's file says before its pixels, read in a graph: its size, how it stands, what is clear.

`tf.io.decode_image` overlooks all of it: it gives photographs as the camera was held, colours that nobody sees where a
picture is transparent, and it unpacks whatever a short file asks for.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Before its pixels a file has few segments; of one with more, the rest is not read.
MOST_SEGMENTS = 1024
EXIF, ORIENTATION, SHORT = b"Exif\0\0", 0x0112, 3
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_MOST_BLOCKS = 1 << 16  # of 255 bytes: pixels of a GIF, as large as a server takes it
_LONGEST = 2**31 - 1  # bytes of a string's part: as many as there are


class Head(NamedTuple):
    """What a file says of its picture.

    Attributes:
        pixels: int64, width times height.
        orientation: int32, 1 to 8 as Exif numbers them: 1 is upright. What says nothing is upright.
        clear: bool, whether it may be transparent in places.
    """

    pixels: tf.Tensor
    orientation: tf.Tensor
    clear: tf.Tensor


def of_jpeg(file: tf.Tensor) -> Head:
    """Of a scalar string that begins as a JPEG: its frame and Exif, from the segments before the pixels."""
    found = _Bytes(file)

    def more(at: tf.Tensor, count: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        marker = found.number(at + 1, 1)
        return (found.number(at, 1) == 0xFF) & (marker != 0xDA) & (marker != 0xD9) & (count < MOST_SEGMENTS)

    def segment(at: tf.Tensor, count: tf.Tensor, pixels: tf.Tensor, exif: tf.Tensor) -> tuple[tf.Tensor, ...]:
        marker = found.number(at + 1, 1)
        size = found.number(at + 5, 2, tf.int64) * found.number(at + 7, 2, tf.int64)
        is_frame = tf.reduce_any(marker == tf.constant(_FRAMES))
        is_exif = (marker == 0xE1) & (found.text(at + 4, len(EXIF)) == EXIF) & (exif < 0)
        return (
            tf.where(marker == 0xFF, at + 1, at + 2 + found.number(at + 2, 2)),  # of these any number may stand there
            count + 1,
            tf.where(is_frame, tf.maximum(pixels, size), pixels),
            tf.where(is_exif, at + 4 + len(EXIF), exif),
        )

    start = (tf.constant(2), tf.constant(0), tf.constant(0, tf.int64), tf.constant(-1))
    _, _, pixels, exif = tf.while_loop(more, segment, start)
    return Head(pixels, _orientation(found, exif), tf.constant(False))


def of_png(file: tf.Tensor) -> Head:
    """Of a scalar string that begins as a PNG: header, clear colour and Exif, from the chunks before the pixels."""
    found = _Bytes(file)

    def more(at: tf.Tensor, count: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        is_there = (at >= 0) & (at < found.size) & (found.number(at, 4) >= 0)
        return is_there & (found.text(at + 4, 4) != b"IDAT") & (count < MOST_SEGMENTS)

    def chunk(at: tf.Tensor, count: tf.Tensor, clear: tf.Tensor, exif: tf.Tensor) -> tuple[tf.Tensor, ...]:
        kind = found.text(at + 4, 4)
        is_exif = (kind == b"eXIf") & (exif < 0)
        return at + 12 + found.number(at, 4), count + 1, clear | (kind == b"tRNS"), tf.where(is_exif, at + 8, exif)

    start = (tf.constant(8), tf.constant(0), tf.constant(False), tf.constant(-1))
    _, _, clear, exif = tf.while_loop(more, chunk, start)
    has_alpha = tf.reduce_any(found.number(25, 1) == tf.constant([4, 6]))
    pixels = found.number(16, 4, tf.int64) * found.number(20, 4, tf.int64)
    return Head(pixels, _orientation(found, exif), clear | has_alpha)


def of_bmp(file: tf.Tensor) -> Head:
    """Of a scalar string that begins as a BMP; a height below 0 is one from the top."""
    found = _Bytes(file)
    width, height = (tf.abs(tf.cast(found.number(at, 4, little=True), tf.int64)) for at in (18, 22))
    return Head(width * height, tf.constant(1), tf.constant(False))


def of_gif(file: tf.Tensor) -> tuple[Head, tf.Tensor]:
    """Of a scalar string that begins as a GIF: its head, and the file with its first picture alone, over white.

    Of a picture that does not fill the canvas, `pixels` is -1.
    """
    found = _Bytes(file)

    def after_blocks(at: tf.Tensor) -> tf.Tensor:
        """The place after blocks that each have their length before them; an empty one ends them."""
        last, _ = tf.while_loop(
            lambda at, count: (found.number(at, 1) > 0) & (count < _MOST_BLOCKS),
            lambda at, count: (at + 1 + found.number(at, 1), count + 1),
            (at, tf.constant(0)),
        )
        return last + 1

    def colours(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of a table of colours, if there is one."""
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def extension(at: tf.Tensor, count: tf.Tensor, control: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return after_blocks(at + 2), count + 1, tf.where(found.number(at + 1, 1) == 0xF9, at, control)

    def more(at: tf.Tensor, count: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (found.number(at, 1) == 0x21) & (count < MOST_SEGMENTS)

    start = (13 + colours(found.number(10, 1)), tf.constant(0), tf.constant(-1))
    at, _, control = tf.while_loop(more, extension, start)
    flags = found.number(at + 9, 1)
    end = after_blocks(at + 11 + colours(flags))
    fills = tf.reduce_all(found.text(at + 1, 8) == tf.strings.join([b"\0\0\0\0", found.text(6, 4)]))
    pixels = found.number(6, 2, tf.int64, little=True) * found.number(8, 2, tf.int64, little=True)
    first = tf.strings.join([tf.strings.substr(file, 0, end), b";"])
    control_flags = found.number(control + 3, 1)
    # White in the place of the colour that stands for none, and the flag that there is one taken away.
    hole = tf.where(flags >= 128, at + 10, 13) + 3 * found.number(control + 6, 1)
    opaque = _put(_put(first, hole, b"\xff\xff\xff", 3), control + 3, _letter(control_flags - 1), 1)
    is_clear = (control >= 0) & (control_flags % 2 == 1)
    head = Head(tf.where(fills, pixels, -1), tf.constant(1), tf.constant(False))
    return head, tf.where(is_clear, opaque, first)


class _Bytes:
    """A string of one byte or more as numbers; beyond its ends are zeros."""

    def __init__(self, file: tf.Tensor):
        self.size, self._file, self._bytes = tf.strings.length(file), file, tf.io.decode_raw(file, tf.uint8)

    def number(
        self, at: tf.Tensor | int, length: int, dtype: tf.DType = tf.int32, little: tf.Tensor | bool = False
    ) -> tf.Tensor:
        """The whole number of so many bytes, the last of which is the lowest unless `little`."""
        order = tf.range(length)
        places = at + tf.where(little, order[::-1], order)
        values = tf.gather(self._bytes, tf.clip_by_value(places, 0, self.size - 1))
        there = (places >= 0) & (places < self.size)
        worth = tf.constant([1 << 8 * i for i in reversed(range(length))], tf.int64)
        number = tf.reduce_sum(tf.where(there, tf.cast(values, tf.int64), 0) * worth)
        return tf.cast(number, dtype)

    def text(self, at: tf.Tensor | int, length: int) -> tf.Tensor:
        """So many bytes, fewer at the end."""
        return tf.strings.substr(self._file, tf.clip_by_value(at, 0, self.size), length)


def _orientation(found: _Bytes, at: tf.Tensor) -> tf.Tensor:
    """What Exif that begins at a place (-1: nowhere) says, as `pictures.orientation` reads it."""
    little = found.text(at, 2) == b"II"
    known = (at >= 0) & (little | (found.text(at, 2) == b"MM"))
    table = at + found.number(at + 4, 4, little=little)
    count = tf.where(known, found.number(table, 2, little=little), 0)

    def tag(entry: tf.Tensor) -> tf.Tensor:
        return found.number(table + 2 + 12 * entry, 2, little=little)

    entry, _ = tf.while_loop(
        lambda entry, _: (entry < tf.minimum(count, MOST_SEGMENTS)) & (tag(entry) != ORIENTATION),
        lambda entry, _: (entry + 1, 0),
        (tf.constant(0), tf.constant(0)),
    )
    place = table + 2 + 12 * entry
    is_short = found.number(place + 2, 2, little=little) == SHORT
    value = found.number(place + 8, 2, little=little)
    good = (entry < count) & (tag(entry) == ORIENTATION) & is_short & (value >= 1) & (value <= 8)
    return tf.where(good, value, 1)


def _put(text: tf.Tensor, at: tf.Tensor, new: tf.Tensor | bytes, length: int) -> tf.Tensor:
    """A string with other bytes in the place of as many; unchanged where they do not fit."""
    size = tf.strings.length(text)
    place = tf.clip_by_value(at, 0, size)
    after = tf.strings.substr(text, tf.minimum(place + length, size), _LONGEST)
    put = tf.strings.join([tf.strings.substr(text, 0, place), new, after])
    return tf.where((at >= 0) & (at + length <= size), put, text)


def _letter(byte: tf.Tensor) -> tf.Tensor:
    """A byte as a string of one."""
    return tf.constant([bytes([i]) for i in range(256)])[tf.clip_by_value(byte, 0, 255)]
