"""Strings split into pieces by TensorFlow's own operations, the same while training and inside a SavedModel."""

from __future__ import annotations

import tensorflow as tf

KINDS = ("char", "byte", "word")

# One leading space belongs to the word after it; every other character stands alone, so nothing is lost.
_WORD = r" ?[\pL\pM\pN_]+|(?s:.)"
# A byte that no valid UTF-8 text holds, so it can mark where a piece begins.
_MARK = b"\xff"


def split(strings: tf.Tensor, kind: str) -> tf.RaggedTensor:
    """Splits each string into pieces; a row's pieces joined give its text back.

    Args:
        strings: `(batch,)` string. UTF-8 for `"char"` and `"word"`: bytes that are not become U+FFFD. Any
            bytes for `"byte"`.
        kind: `"char"` (Unicode code points), `"byte"`, or `"word"`: a run of letters, marks, digits and
            underscores with one space before it if there is one; any other character alone.

    Returns:
        Ragged string tensor `(batch, pieces)`; an empty string has no pieces.

    Raises:
        ValueError: `kind` is none of the three.
    """
    strings = tf.convert_to_tensor(strings, tf.string)
    if kind == "char":
        return tf.strings.unicode_split(strings, "UTF-8", errors="replace")
    if kind == "byte":
        return tf.strings.bytes_split(strings)
    if kind == "word":
        valid = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")
        marked = tf.strings.regex_replace(valid, _WORD, _MARK + rb"\0")
        return tf.strings.split(marked, sep=_MARK)[:, 1:]  # What stands before the first mark is empty.
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
