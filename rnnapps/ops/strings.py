"""Strings split into pieces by TensorFlow's own operations, the same while training and inside a SavedModel."""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
import tensorflow as tf

from rnnapps.ops.pieces import KINDS

# One leading space belongs to the word after it; every other character stands alone, so nothing is lost.
_WORD = r" ?[\pL\pM\pN_]+|(?s:.)"
# A byte that no valid UTF-8 text holds, so it can mark where a piece begins.
_MARK = b"\xff"
# In a sentence every sign takes the space before it: fewer pieces, and a space never stands alone.
_SENTENCE = r" ?[\pL\pM]+| ?[^ ]|(?s:.)"
MAX_PIECE = 64
# A match takes one character of the part after it along, hence one less than a part may hold.
_LONG = rf"((?s:.){{{MAX_PIECE - 1}}})((?s:.))"
_BLANK = r"[\x00-\x20\x7f-\x{9f}\pZ]+"
# Strings are there only; their numbers would go to a GPU and back for each operation.
CPU = "CPU:0"
Form = Literal["NFC", "NFKC"]
FORMS: tuple[Form, ...] = get_args(Form)
_PAGE = 256
# Hangul is composed by arithmetic (The Unicode Standard, section 3.12): first codes of L, V, T and of the syllables.
_L, _V, _T, _SYLLABLE = 0x1100, 0x1161, 0x11A7, 0xAC00
_L_COUNT, _V_COUNT, _T_COUNT = 19, 21, 28


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


def split_sentence(strings: tf.Tensor) -> tf.RaggedTensor:
    """Splits each sentence into pieces; a row's pieces joined give its text back.

    A piece is a run of letters and marks, or any one other character, each with one space before it if there is one.
    So in text that `clean` gave a space always begins a piece and is never one. A run that is longer than `MAX_PIECE`
    is cut into parts of at most that many characters, so that the work on one piece is bounded.

    Args:
        strings: `(batch,)` string, UTF-8; bytes that are not become U+FFFD.

    Returns:
        Ragged string tensor `(batch, pieces)`; an empty string has no pieces.
    """
    valid = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")
    marked = tf.strings.regex_replace(valid, _SENTENCE, _MARK + rb"\0")
    marked = tf.strings.regex_replace(marked, _LONG, rb"\1" + _MARK + rb"\2")
    return tf.strings.split(marked, sep=_MARK)[:, 1:]


def clean(strings: tf.Tensor, lowercase: bool = False, form: Form = "NFKC") -> tf.Tensor:
    """Text in one form, whatever form it came in.

    It is in a normalisation form of Unicode; each run of white space and control characters is one space; none stands
    at either end. With `lowercase` it is in small letters, and in that form after that. What `clean` gave, `clean`
    leaves as it is.

    Args:
        strings: `(batch,)` string, UTF-8; bytes that are not become U+FFFD.
        lowercase: As above.
        form: One of `FORMS`.

    Returns:
        `(batch,)` string, UTF-8.
    """
    text = normalised(strings, form)
    if lowercase:
        text = normalised(tf.strings.lower(text, encoding="utf-8"), form)
    return tf.strings.strip(tf.strings.regex_replace(text, _BLANK, " "))


def normalised(strings: tf.Tensor, form: Form = "NFKC") -> tf.Tensor:
    """A normalisation form of Unicode (Unicode Standard Annex 15), by the tables of Python's `unicodedata`.

    Args:
        strings: `(batch,)` string, UTF-8; bytes that are not become U+FFFD.
        form: One of `FORMS`. NFC keeps each character, in one spelling; NFKC also puts the plain character in place
            of one that differs from it in looks alone, such as a wide letter, a ligature or a raised digit.

    Returns:
        `(batch,)` string, UTF-8.
    """
    return _in_form(form)(strings)


@functools.cache
def _in_form(form: Form) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function, so that it is traced once, and its tables are written once, however many endpoints take text."""
    function = functools.partial(_normalise, form=form)
    found: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        function, input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False
    )
    return found


def _normalise(strings: tf.Tensor, form: Form) -> tf.Tensor:
    tables = _tables(form)
    strings = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")
    # Most text is in this form already, which one regular expression finds out.
    with tf.device(CPU):
        changed = tf.where(~tf.strings.regex_full_match(strings, tables.settled))
        text = tf.strings.unicode_decode(tf.gather_nd(strings, changed), "UTF-8")
        codes, rows = _composed(*_decomposed(text, tables), tables)
        text = tf.RaggedTensor.from_value_rowids(codes, rows, nrows=tf.shape(changed, tf.int64)[0], validate=False)
        return tf.tensor_scatter_nd_update(strings, changed, tf.strings.unicode_encode(text, "UTF-8"))


def _decomposed(text: tf.RaggedTensor, tables: _Tables) -> tuple[tf.Tensor, tf.Tensor]:
    """Code points of a ragged text taken apart, but for Hangul syllables, and the row of each: both `(codes,)`."""
    codes = text.flat_values
    image = tables.image.of(codes)
    itself = tf.size(tables.images) + tf.range(tf.size(codes))
    start = tf.where(image > 0, image // 32, itself)
    spread = tf.ragged.range(start, start + tf.where(image > 0, image % 32, 1), row_splits_dtype=tf.int64)
    codes = tf.gather(tf.concat([tables.images, codes], 0), spread.flat_values)
    rows = tf.gather(text.value_rowids(), spread.value_rowids())
    # Marks stand in the order of their class after the character that they belong to.
    kind = tables.mark.of(codes)
    order = tf.argsort(tf.cumsum(tf.cast(_heads(kind, rows), tf.int64)) * 256 + tf.cast(kind, tf.int64), stable=True)
    return tf.gather(codes, order), rows


def _composed(codes: tf.Tensor, rows: tf.Tensor, tables: _Tables) -> tuple[tf.Tensor, tf.Tensor]:
    """What `_decomposed` gave, with each character and the marks after it made one where Unicode has that one."""

    def compose(codes: tf.Tensor, rows: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        kind = tables.mark.of(codes)
        head = _heads(kind, rows)
        here = tf.range(tf.size(codes))
        before = tf.maximum(here - 1, 0)
        base = tf.gather(tf.where(head)[:, 0], tf.cumsum(tf.cast(head, tf.int32)) - 1)
        base = tf.cast(base, tf.int32)
        base = tf.where(head, tf.gather(base, before), base)
        # What stands between blocks it: a mark of the same class, or any mark before what is none. (No character is
        # the second of one pair and the first of another, so pairs that are found at the same time never overlap.)
        near = tf.equal(base, before) | (tf.gather(kind, before) < kind)
        one = _pair(tf.gather(codes, base), codes, tables)
        fits = near & (one >= 0) & (here > 0) & tf.equal(tf.gather(rows, base), rows)
        found = tf.where(fits)[:, 0]
        target = tf.gather(base, found)
        first = tf.not_equal(target, tf.concat([[-1], target[:-1]], 0))
        found, target = tf.boolean_mask(found, first), tf.boolean_mask(target, first)
        codes = tf.tensor_scatter_nd_update(codes, target[:, None], tf.gather(one, found))
        gone = tf.scatter_nd(found[:, None], tf.ones_like(target), tf.shape(codes, tf.int64))
        kept = tf.where(tf.equal(gone, 0))[:, 0]
        return tf.gather(codes, kept), tf.gather(rows, kept), tf.size(found) > 0

    any_length = tf.TensorShape([None])
    codes, rows, _ = tf.while_loop(
        lambda codes, rows, more: more,
        compose,
        (codes, rows, tf.size(codes) > 0),
        shape_invariants=(any_length, any_length, tf.TensorShape([])),
    )
    return codes, rows


def _heads(kind: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Whether marks may belong to each character: it is no mark, or it is the first of its row. `(codes,)` bool."""
    return tf.equal(kind, 0) | tf.not_equal(rows, tf.concat([[-1], rows[:-1]], 0))


def _pair(left: tf.Tensor, right: tf.Tensor, tables: _Tables) -> tf.Tensor:
    """The one character that two stand for, or -1. All `(codes,)` int32."""
    keys, ones = tables.pair_keys, tables.pair_ones
    key = tf.cast(left, tf.int64) * 2**32 + tf.cast(right, tf.int64)
    place = tf.minimum(tf.searchsorted(keys, key), keys.size - 1)
    one = tf.where(tf.equal(tf.gather(keys, place), key), tf.gather(ones, place), -1)
    vowel, tail, syllable = right - _V, right - _T, left - _SYLLABLE
    open_one = _SYLLABLE + ((left - _L) * _V_COUNT + vowel) * _T_COUNT
    is_open = (left >= _L) & (left < _L + _L_COUNT) & (vowel >= 0) & (vowel < _V_COUNT)
    is_closed = (syllable >= 0) & (syllable < _L_COUNT * _V_COUNT * _T_COUNT) & tf.equal(syllable % _T_COUNT, 0)
    is_closed &= (tail > 0) & (tail < _T_COUNT)
    return tf.where(is_open, open_one, tf.where(is_closed, left + tail, one))


class _Pages:
    """A number for each code point, 0 for most: each page of 256 of them that differs is held once."""

    def __init__(self, numbers: dict[int, int]):
        every = np.zeros(sys.maxunicode + 1, np.int32)
        every[list(numbers)] = list(numbers.values())
        pages, index = np.unique(every.reshape(-1, _PAGE), axis=0, return_inverse=True)
        self.numbers, self.index = pages.reshape(-1), index.reshape(-1).astype(np.int32)

    def of(self, codes: tf.Tensor) -> tf.Tensor:
        """The numbers of code points, `(codes,)` int32."""
        return tf.gather(self.numbers, tf.gather(self.index, codes // _PAGE) * _PAGE + codes % _PAGE)


class _Tables(NamedTuple):
    settled: str  # regular expression of text that is in the form, whatever its characters stand beside
    image: _Pages  # 32 times the start in `images`, plus the length, of each code point taken apart where that differs
    images: np.ndarray
    mark: _Pages  # canonical combining class
    pair_keys: np.ndarray  # first code * 2**32 + second code, rising
    pair_ones: np.ndarray


@functools.cache
def _tables(form: Form) -> _Tables:
    """Unicode's data as arrays. They go into a graph as constants, so an exported model keeps its own."""
    images: list[int] = []
    image, mark, pairs = {}, {}, {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if combining := unicodedata.combining(character):
            mark[code] = combining
        if not (parts := unicodedata.decomposition(character)):
            continue
        whole = unicodedata.normalize("NFD" if form == "NFC" else "NFKD", character)
        if whole == character:  # NFC leaves a character that differs from another in looks alone
            continue
        image[code] = 32 * len(images) + len(whole)
        images.extend(map(ord, whole))
        if not parts.startswith("<") and " " in parts and unicodedata.normalize("NFC", character) == character:
            left, right = (int(part, 16) for part in parts.split())
            pairs[left * 2**32 + right] = code
    unsettled = set(mark) | {key % 2**32 for key in pairs}
    unsettled |= {code for code in image if unicodedata.normalize(form, chr(code)) != chr(code)}
    unsettled |= {*range(_V, _V + _V_COUNT), *range(_T + 1, _T + _T_COUNT)}
    firsts = sorted(code for code in unsettled if code - 1 not in unsettled)
    lasts = sorted(code for code in unsettled if code + 1 not in unsettled)
    settled = "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in zip(firsts, lasts, strict=True))
    keys = np.array(sorted(pairs), np.int64)
    ones = np.array([pairs[key] for key in sorted(pairs)], np.int32)
    return _Tables(f"[^{settled}]*", _Pages(image), np.array(images, np.int32), _Pages(mark), keys, ones)
