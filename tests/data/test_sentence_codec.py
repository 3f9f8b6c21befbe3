"""The codec in the graph: SentencePiece's subwords, nothing lost on the way back, the same in a SavedModel."""

from __future__ import annotations

import argparse
import datetime
import functools
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from rnnapps.data.sentence_codec import SentenceCodec, encoder
from rnnapps.data.sentences import END, PAD, UNSEEN, SentenceVocabulary, pieces_of, pretokens, train_subwords
from rnnapps.serving.capi import run_in_c_api

KINDS = ["subword", "word", "char"]
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
BAD = "\N{REPLACEMENT CHARACTER}"
ALL_PROSE = [
    line
    for module in (argparse, datetime)
    for line in Path(module.__file__).read_text(encoding="utf-8").splitlines()
    if line.strip()
]
PROSE = ALL_PROSE[::5]
MESS = [
    "", " ", "\n\t", "nul\0nul", f"a{SPACE}b {SPACE} c", "<unk> </s>", "x" * 1000, "\U0001f600 \U0001f469\u200d",
    "Cafe\u0301 Stra\u00dfe", "\u65e5\u672c\u8a9e", "  two   spaces ", "(a) - b, 12.5!", "e" + "\u0301" * 200,
]  # fmt: skip


def learned(kind: str, lowercase: bool = False) -> SentenceVocabulary:
    return SentenceVocabulary.learn(kind, [PROSE, MESS], 1000, lowercase)


@functools.cache
def codec_of(kind: str) -> SentenceCodec:
    return SentenceCodec(learned(kind))


def tidy(text: str) -> str:
    """The definition of a normalised sentence by Python's `unicodedata`."""
    text = unicodedata.normalize("NFKC", text)
    spaced = "".join(" " if unicodedata.category(c) in ("Cc", "Zs", "Zl", "Zp") else c for c in text)
    return " ".join(part for part in spaced.split(" ") if part)


def split_by_hand(word: str, order: dict[str, int]) -> list[str]:
    """Byte pair encoding a merge at a time: the earliest symbol, the leftmost of several."""
    parts = list(word)
    while True:
        ranks = [order.get(a + b, len(order)) for a, b in zip(parts, parts[1:], strict=False)]
        if not ranks or min(ranks) == len(order):
            return parts
        i = ranks.index(min(ranks))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def test_subwords_are_those_of_sentencepiece() -> None:
    counts = Counter(piece.decode("utf-8") for piece in pretokens(tf.constant(ALL_PROSE)).flat_values.numpy().tolist())
    model = train_subwords(counts, 700)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    codec = SentenceCodec(SentenceVocabulary("subword", [piece.replace(SPACE, " ") for piece in pieces_of(model)]))
    chance = random.Random(2)
    noise = ["".join(chance.choices("etaoinsr", k=chance.randint(1, 30))) for _ in range(2000)]
    noise += ["".join(chance.choices(["a", "aa", "self", "th", "e"], k=chance.randint(1, 12))) for _ in range(1000)]
    words = sorted({piece.strip() for piece in counts if len(piece.strip()) < 60 and piece.strip()} | set(noise))
    assert len(words) > 4000
    got = codec.pieces(tf.constant(words)).to_list()
    ids = codec.encode(tf.constant(words)).to_list()
    for word, split, pieces, numbers in zip(words, pretokens(tf.constant(words)).to_list(), got, ids, strict=True):
        expected = [piece for part in split for piece in processor.encode(part.decode("utf-8"), out_type=str)]
        assert [piece.decode("utf-8").replace(" ", SPACE) for piece in pieces] == expected, word
        assert [processor.piece_to_id(piece) + 2 for piece in expected] == numbers, word


def test_a_pair_in_two_ways_and_the_leftmost_of_several() -> None:
    # "abc" comes before what it is made of, "aa" can begin at two places, and "bb" cannot be reached by merging.
    symbols = ["abc", "ab", "bc", "aa", "aaaa", "bbbb", "a", "b", "c", " "]
    codec = SentenceCodec(SentenceVocabulary("subword", symbols))
    order = {symbol: i for i, symbol in enumerate(symbols)}
    chance = random.Random(3)
    texts = ["".join(chance.choices("aabbc", k=chance.randint(1, 40))) for _ in range(500)] + ["aaa", "bbbb", "abcabc"]
    got = codec.pieces(tf.constant(texts)).to_list()
    assert [[piece.decode() for piece in row] for row in got] == [split_by_hand(f" {text}", order) for text in texts]


def test_a_vocabulary_without_merges() -> None:
    codec = SentenceCodec(SentenceVocabulary("subword", ["a", "b"]))
    assert codec.encode(tf.constant(["ab a"])).to_list() == [[UNSEEN, 3, 4, UNSEEN, 3]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_back_loses_nothing(kind: str) -> None:
    # Large enough for every word and character of the text.
    codec = SentenceCodec(SentenceVocabulary.learn(kind, [PROSE[::4], MESS], 20_000))
    texts = tf.constant(MESS + PROSE[::4])
    ids = codec.encode(texts)
    assert ids.dtype == tf.int32 and UNSEEN not in ids.flat_values.numpy()
    text = codec.decode(ids.to_tensor(), tf.cast(ids.row_lengths(), tf.int32))
    assert text.numpy().tolist() == codec.normalise(texts).numpy().tolist()
    assert text.numpy()[8].decode("utf-8") == "Caf\u00e9 Stra\u00dfe" and text.numpy()[10] == b"two spaces"


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_stand_beside_their_ids(kind: str) -> None:
    codec = codec_of(kind)
    texts = tf.constant([*MESS, *PROSE[:100], "\u4e00\u4e01 unheardofword\u4e02s"])
    ids, pieces = codec.encode(texts), codec.pieces(texts)
    assert [part.to_list() for part in codec.tokens(texts)] == [ids.to_list(), pieces.to_list()]
    assert ids.row_splits.numpy().tolist() == pieces.row_splits.numpy().tolist()
    symbols = np.array([b"", b"", b"", *learned(kind).symbols], object)
    unseen = ids.flat_values.numpy() == UNSEEN
    assert unseen.any() and not unseen.all()
    np.testing.assert_array_equal(pieces.flat_values.numpy()[~unseen], symbols[ids.flat_values.numpy()[~unseen]])
    assert not set(pieces.flat_values.numpy()[unseen].tolist()) & set(learned(kind).symbols)
    lengths = tf.cast(ids.row_lengths(), tf.int32)
    whole = codec.decode(ids.to_tensor(), lengths, unseen=pieces.to_tensor())
    assert whole.numpy().tolist() == codec.normalise(texts).numpy().tolist()
    holes = codec.decode(ids.to_tensor(), lengths).numpy()[-1].decode("utf-8")
    assert BAD in holes and "\u4e00" not in holes


def test_ids_by_hand() -> None:
    texts = tf.constant(["A dog  (a)", "", "dog"])
    word = SentenceCodec(SentenceVocabulary("word", [" A", " dog", " (", "a", ")"]))
    assert word.encode(texts).to_list() == [[3, 4, 5, 6, 7], [], [4]]
    char = SentenceCodec(SentenceVocabulary("char", "aA (dg"))
    assert char.encode(texts).to_list() == [[4, 5, 7, 2, 8, 5, 6, 3, 2], [], [7, 2, 8]]
    small = SentenceCodec(SentenceVocabulary("word", [" a", " dog", " ("], lowercase=True))
    assert small.encode(texts).to_list() == [[3, 4, 5, 2, 2], [], [4]]
    assert small.pieces(texts).to_list()[0] == [b" a", b" dog", b" (", b"a", b")"]


def test_decode_by_hand() -> None:
    codec = SentenceCodec(SentenceVocabulary("word", [" a", " b", "!"]))
    ids = tf.constant([[3, 4, 5, END, 4], [PAD, 3, UNSEEN, 5, 3], [6, -1, 3, 3, 3], [3, 3, 3, 3, 3]], tf.int32)
    lengths = tf.constant([5, 4, 3, 0], tf.int32)
    assert [text.decode("utf-8") for text in codec.decode(ids, lengths).numpy()] == [
        "a b! b", f"a{BAD}!", f"{BAD}{BAD} a", ""
    ]  # fmt: skip
    unseen = tf.fill(tf.shape(ids), " x")
    assert codec.decode(ids, lengths, unseen=unseen).numpy().tolist() == [b"a b! b", b"a x!", b"x x a", b""]


def test_long_words_and_long_sentences() -> None:
    chance = random.Random(4)
    words = ["".join(chance.choices("abcdefgh", k=chance.choice([1, 5, 63, 64, 65, 3000]))) for _ in range(200)]
    texts = tf.constant([" ".join(words), "a " * 10_000])
    for codec in map(codec_of, KINDS):
        pieces = codec.pieces(texts)
        joined = tf.strings.strip(tf.strings.reduce_join(pieces, axis=1))
        assert joined.numpy().tolist() == codec.normalise(texts).numpy().tolist()
    assert pretokens(texts)[1].shape[0] == 10_001  # the last space stands alone: this text is not normalised


@pytest.mark.parametrize("kind", KINDS)
def test_no_sentences_and_empty_sentences(kind: str) -> None:
    none = tf.constant([], tf.string)
    assert codec_of(kind).encode(none).to_list() == [] and codec_of(kind).pieces(none).to_list() == []
    assert codec_of(kind).encode(tf.constant(["", "\0"])).to_list() == [[], []]
    empty = codec_of(kind).decode(tf.zeros((2, 0), tf.int32), tf.zeros((2,), tf.int32))
    assert empty.numpy().tolist() == [b"", b""]


def test_bytes_that_are_not_text() -> None:
    chance = random.Random(5)
    some = [0x00, 0x61, 0x80, 0xBF, 0xC3, 0xA9, 0xE0, 0xE6, 0xED, 0xF0, 0x9F, 0x98, 0xF4, 0xFF]
    noise = [bytes(chance.choices(some, k=chance.randint(0, 9))) for _ in range(500)]
    for codec in map(codec_of, KINDS):
        joined = tf.strings.strip(tf.strings.reduce_join(codec.pieces(tf.constant(noise)), axis=1)).numpy()
        assert [text.decode("utf-8") for text in joined] == [tidy(item.decode("utf-8", "replace")) for item in noise]


def run_here(folder: Path, requests: list[Any]) -> list[Any]:
    """As `run_in_c_api`, in this process, whose Python it must not need."""
    assert b"PyFunc" not in (folder / "saved_model.pb").read_bytes()
    signatures = tf.saved_model.load(str(folder)).signatures
    return [
        {key: value.numpy() for key, value in signatures[name](text=tf.constant(inputs["text"])).items()}
        for name, inputs in requests
    ]


@pytest.mark.parametrize(
    ("kind", "run"),
    [("subword", run_here), pytest.param("char", run_here, marks=pytest.mark.full),
     *(pytest.param(kind, run_in_c_api, marks=pytest.mark.full) for kind in KINDS)],
)  # fmt: skip
def test_it_works_inside_a_server(kind: str, run: Callable[[Path, list[Any]], list[Any]], tmp_path: Path) -> None:
    module = tf.Module()
    module.codec = codec_of(kind)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def echo(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids, pieces = module.codec.tokens(text)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        back = module.codec.decode(ids.to_tensor(), lengths, unseen=pieces.to_tensor())
        return {"ids": ids.to_tensor(), "pieces": pieces.to_tensor(), "text": back}

    folder = tmp_path / "echo" / "1"
    tf.saved_model.save(module, str(folder), signatures=echo.get_concrete_function())
    texts = [*(text for text in MESS if len(text) < 100), "unheardofword\u4e00 \u1112\u1161\u11ab", *PROSE[:5]]
    requests = [("serving_default", {"text": np.array(texts, object)}), ("serving_default", {"text": ["one"]})]
    answers = run(folder, requests)
    ids, pieces = codec_of(kind).tokens(tf.constant(texts))
    np.testing.assert_array_equal(answers[0]["ids"], ids.to_tensor().numpy())
    assert answers[0]["text"].tolist() == codec_of(kind).normalise(tf.constant(texts)).numpy().tolist()
    assert answers[0]["pieces"].tolist() == pieces.to_tensor().numpy().tolist()
    assert answers[1]["text"].tolist() == [b"one"]


def test_encoder_gives_arrays_with_or_without_an_end():
    codec = SentenceCodec(SentenceVocabulary("char", "abc"))
    encode = encoder(codec)
    assert [row.tolist() for row in encode(["ba", "", "cx"])] == [[4, 3], [], [5, UNSEEN]]
    assert [row.tolist() for row in encoder(codec, ends=True)(["ba", ""])] == [[4, 3, END], [END]]
    assert encode([]) == []
    assert encode(["a"])[0].dtype == np.int32
