"""Splitting is lossless, and words are what their definition says."""

from __future__ import annotations

import random
import unicodedata

import pytest
import tensorflow as tf

from rnnapps.ops.strings import split

TEXTS = [
    "", " ", "  ", "a", " a", "a  b", "two words", "x_1 = 12.5\n\tif y:", "naïve café", "e\u0301 combined",
    "日本語 text", "😀 👩\u200d👩", "\0\r\n\x7f", "\ufeffmark", "a\n b", "don't", "\u00a0nbsp", "٣٤ arabic-indic",
]  # fmt: skip


def words_by_hand(text: str) -> list[str]:
    """The definition, a character at a time: a word character goes on a word or a space; all else begins a piece."""
    pieces: list[str] = []
    for character in text:
        word = _is_word(character)
        if word and pieces and (pieces[-1] == " " or _is_word(pieces[-1][-1])):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character == "_"


def pieces(texts: list[str], kind: str) -> list[list[str]]:
    return [[piece.decode("utf-8") for piece in row] for row in split(texts, kind).to_list()]


def test_characters_are_code_points() -> None:
    assert pieces(TEXTS, "char") == [list(text) for text in TEXTS]


def test_bytes_are_bytes() -> None:
    data = [bytes(range(256)), b"", b"\xff\x00"]
    assert split(data, "byte").to_list() == [[bytes([b]) for b in row] for row in data]


def test_words_follow_the_definition() -> None:
    assert pieces(TEXTS, "word") == [words_by_hand(text) for text in TEXTS]
    chance = random.Random(1)
    texts = ["".join(chance.choices("ab_1 é\u0301日.,\n\t'-😀\0", k=chance.randint(0, 30))) for _ in range(500)]
    assert pieces(texts, "word") == [words_by_hand(text) for text in texts]


@pytest.mark.parametrize("kind", ["char", "word"])
def test_nothing_is_lost(kind: str) -> None:
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert b"".join(split([every], kind).flat_values.numpy()) == every.encode("utf-8")


@pytest.mark.parametrize("kind", ["char", "word"])
def test_bytes_that_are_not_text_become_replacement_characters(kind: str) -> None:
    data = [b"a\xffb", b"\xc3", b"\xed\xa0\x80", b"\xff", b"ok"]
    joined = tf.strings.reduce_join(split(data, kind), axis=1).numpy().tolist()
    assert joined == [item.decode("utf-8", "replace").encode("utf-8") for item in data]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of char, byte, word, not 'line'"):
        split(["a"], "line")
