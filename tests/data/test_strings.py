"""Splitting is lossless, and words are what their definition says."""

from __future__ import annotations

import random
import sys
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from rnnapps.ops.pieces import KINDS, split_text
from rnnapps.ops.strings import MAX_PIECE, clean, normalised, split, split_sentence

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


def every_character(step: int) -> list[str]:
    """That can be in a text, or some of them."""
    return [chr(code) for code in range(0, 0x110000, step) if not 0xD800 <= code < 0xE000]


some_and_all = pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.full)])


@some_and_all
@pytest.mark.parametrize("kind", ["char", "word"])
def test_nothing_is_lost(kind: str, step: int) -> None:
    every = "".join(every_character(step))
    assert b"".join(split([every], kind).flat_values.numpy()) == every.encode("utf-8")


@pytest.mark.parametrize("kind", ["char", "word"])
def test_bytes_that_are_not_text_become_replacement_characters(kind: str) -> None:
    data = [b"a\xffb", b"\xc3", b"\xed\xa0\x80", b"\xff", b"ok"]
    joined = tf.strings.reduce_join(split(data, kind), axis=1).numpy().tolist()
    assert joined == [item.decode("utf-8", "replace").encode("utf-8") for item in data]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of char, byte, word, not 'line'"):
        split(["a"], "line")


def sentence_by_hand(text: str) -> list[str]:
    """The definition, a character at a time: letters and marks go on a run, any character goes on a space."""
    pieces: list[str] = []
    for character in text:
        letter = unicodedata.category(character)[0] in "LM"
        space = bool(pieces) and pieces[-1] == " " and character != " "
        if space or (letter and pieces and unicodedata.category(pieces[-1][-1])[0] in "LM"):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def test_sentences_follow_the_definition() -> None:
    chance = random.Random(2)
    texts = ["".join(chance.choices("ab  1é\u0301日.,\n-_😀\0", k=chance.randint(0, 30))) for _ in range(500)]
    texts += [*TEXTS, "He (the dog) isn't 12 - x.", " ¿qué?", "   "]
    got = [[piece.decode("utf-8") for piece in row] for row in split_sentence(tf.constant(texts)).to_list()]
    assert got == [sentence_by_hand(text) for text in texts]


@some_and_all
def test_sentences_lose_nothing(step: int) -> None:
    every = "".join(every_character(step))
    pieces = split_sentence(tf.constant([every])).flat_values.numpy()
    assert b"".join(pieces) == every.encode("utf-8")
    assert max(len(piece.decode("utf-8")) for piece in pieces) == MAX_PIECE


@pytest.mark.parametrize("length", [1, 62, 63, 64, 65, 126, 127, 128, 129, 1000])
def test_a_long_run_is_cut(length: int) -> None:
    run = " " + "é" * (length - 1)
    expected = [run] if length < 64 else [run[:63], *(run[i : i + 64] for i in range(63, length, 64))]
    got = split_sentence(tf.constant(["1" + run + "." + run, run])).to_list()
    assert [[piece.decode("utf-8") for piece in row] for row in got] == (
        [["1", *expected, ".", *expected], expected] if length > 1 else [["1", " .", " "], [" "]]
    )
    assert max(len(piece) for piece in expected) <= MAX_PIECE


SENTENCES = [
    "Größe u\u0308ber alles, naïve cafe\u0301s, ﬁn ﬂuß ½ № ™ x² …",
    "Tie\u0302\u0301ng Vie\u0323\u0302t Vie\u0302\u0323t",
    "Ελλα\u0301δα α\u0313\u0301\u0345", "Ｆｕｌｌ　ｗｉｄｔｈ　ｶﾞｷﾞ カ\u3099 ㌔ ㍻",
    "\u1112\u1161\u11ab\u1100\u1173\u11af ㄱ ﾡ 한글",
    "й и\u0306 ѐ", "ẛ\u0323 ſ", "\u09c7\u09be \u0dd9\u0dcf\u0dca", "\u0301a", "Å Å Ω", "ﷺ", "\ufeffx",
    "\U0001d53b\U0002f800",
    "q\u0307\u0323 q\u0323\u0307", "\u0344 \u0f73 \u2adc", "",
]  # fmt: skip


def one_form(texts: list[str]) -> list[str]:
    return [text.decode("utf-8") for text in normalised(tf.constant(texts, tf.string)).numpy()]


def test_nfkc_of_sentences_is_python_s() -> None:
    assert one_form(SENTENCES) == [unicodedata.normalize("NFKC", text) for text in SENTENCES]
    assert one_form([]) == []


@some_and_all
def test_nfkc_of_every_character_is_python_s(step: int) -> None:
    every = every_character(step)
    assert one_form(every) == [unicodedata.normalize("NFKC", character) for character in every]


@pytest.mark.parametrize(
    ("bases", "marks"),
    [
        ((0x20, 0x600), (0x300, 0x346)), ((0x1E00, 0x2000), (0x300, 0x346)), ((0x900, 0xE00), (0x900, 0xE00)),
        ((0x1100, 0x1200), (0x1160, 0x1200)), ((0xAC00, 0xAC40), (0x1160, 0x1200)),
        ((0x3040, 0x3100), (0x3099, 0x309B)),
        ((0x590, 0x700), (0x590, 0x660)), ((0xFB00, 0x10000), (0x300, 0x346)),
    ],
)  # fmt: skip
def test_nfkc_of_characters_with_marks_is_python_s(bases: tuple[int, int], marks: tuple[int, int]) -> None:
    chance = random.Random(3)
    texts = [
        "".join(
            chr(chance.randrange(*bases)) + "".join(chr(chance.randrange(*marks)) for _ in range(chance.randint(0, 4)))
            for _ in range(chance.randint(1, 3))
        )
        for _ in range(2000)
    ]
    assert one_form(texts) == [unicodedata.normalize("NFKC", text) for text in texts]


def test_clean_text_has_single_spaces() -> None:
    dirty = [
        "",
        " a  b ",
        "\ta\r\n\0b\x85",
        "\u3000a\u00a0\u2003\u2028b\u1680",
        "e\x01\u0301",
        b"a\xff b",
        "\u200bx",
        "\u00a8",
    ]
    clean_ones = ["", "a b", "a b", "a b", "e \u0301", "a\ufffd b", "\u200bx", "\u0308"]
    assert [text.decode("utf-8") for text in clean(tf.constant(dirty)).numpy()] == clean_ones


def test_small_letters_are_in_one_form_too() -> None:
    # Only the small letter of the first has a code of its own; a sign of trade marks has letters inside.
    texts = ["H\u0331", "x™", "ΟΔΟΣ", "ÀÉ STRASSE", "İ"]
    small = [text.decode("utf-8") for text in clean(tf.constant(texts), lowercase=True).numpy()]
    assert small == ["\u1e96", "xtm", "οδος", "àé strasse", "i\u0307"]


@pytest.mark.parametrize("lowercase", [False, True])
def test_clean_text_stays_as_it_is(lowercase: bool) -> None:
    every = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    once = clean(tf.constant(every + SENTENCES), lowercase)
    assert clean(once, lowercase).numpy().tolist() == once.numpy().tolist()


@pytest.mark.parametrize(
    ("kind", "every"), [*((kind, 37) for kind in KINDS), pytest.param("word", 1, marks=pytest.mark.full)]
)
def test_the_host_splits_as_the_graph_does(kind, every):
    """Characters that Python knows, in the full tier every one, between others; and bytes that are no UTF-8."""
    codes = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    texts = [f"a{chr(code)} {chr(code)}_  b".encode() for code in codes[::every]]
    rng = np.random.default_rng(0)
    parts = [b"a", b" ", b"\xc3", b"\xa9", b"\xed", b"\xa0", b"\x80", b"\xf0", b"\x9f", b"\x98", b"\xe2\x82", b"\xff"]
    texts += [b"".join(rng.choice(np.array(parts, object), rng.integers(12))) for _ in range(300)]
    assert [split_text(text, kind) for text in texts] == split(texts, kind).to_list()


def test_the_host_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="one of char, byte, word, not 'chars'"):
        split_text("a", "chars")
