"""The codec in the graph equals the vocabulary in Python, also after a trip through a SavedModel."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tensorflow as tf

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.ops.strings import split
from rnnapps.serving.tokenization import TextCodec

TEXTS = ["", "hello", "naïve café", "日本語 😀 x", "\0\n\t", "unseen: ŧ☃", "a  b", "\ufeffx"]
KNOWN = "helo naïvecfé日本語😀x\0\n\tab"
KINDS = ["char", "byte", "word"]


def vocabulary(kind: str) -> Vocabulary:
    return Vocabulary(kind, sorted(set(split([KNOWN], kind).flat_values.numpy().tolist())))


def noise(count: int) -> list[bytes]:
    """Bytes that are mostly not UTF-8."""
    chance = random.Random(3)
    some = [0x00, 0x61, 0x80, 0xBF, 0xC3, 0xA9, 0xE0, 0xE6, 0xED, 0xF0, 0x9F, 0x98, 0xF4, 0xFF]
    return [bytes(chance.choices(some, k=chance.randint(0, 9))) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_encode_equals_the_vocabulary(kind: str) -> None:
    known = vocabulary(kind)
    strings = [text.encode("utf-8") for text in TEXTS] + noise(500)
    ids = TextCodec(known).encode(tf.constant(strings))
    assert ids.dtype == tf.int32
    assert ids.to_list() == [known.encode(string).tolist() for string in strings]
    assert 0 in ids.flat_values.numpy() and known.size - 1 in ids.flat_values.numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_decode_equals_the_vocabulary(kind: str) -> None:
    known = vocabulary(kind)
    chance = random.Random(4)
    rows = [[chance.randrange(known.size) for _ in range(12)] for _ in range(300)]
    lengths = [chance.randint(0, 12) for _ in rows]
    got = TextCodec(known).decode(tf.constant(rows, tf.int32), tf.constant(lengths, tf.int32))
    assert [text.decode("utf-8") for text in got.numpy()] == [
        known.decode(row[:length]) for row, length in zip(rows, lengths, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_vocabulary_has_not_is_shown(kind: str) -> None:
    known = vocabulary(kind)
    codec = TextCodec(known)
    text = codec.decode(tf.constant([[0, known.size, 1]]), tf.constant([3])).numpy()[0].decode("utf-8")
    assert text == 2 * "\N{REPLACEMENT CHARACTER}" + known.decode([1])


@pytest.mark.parametrize("kind", ["char", pytest.param("byte", marks=pytest.mark.full), "word"])
def test_it_works_inside_a_saved_model(kind: str, tmp_path: Path) -> None:
    known = vocabulary(kind)
    module = tf.Module()
    module.codec = TextCodec(known)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def echo(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = module.codec.encode(text)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        return {"text": module.codec.decode(ids.to_tensor(), lengths), "num_chars": lengths}

    tf.saved_model.save(module, str(tmp_path / "echo"), signatures=echo)
    answer = tf.saved_model.load(str(tmp_path / "echo")).signatures["serving_default"](text=tf.constant(TEXTS))
    assert answer["num_chars"].numpy().tolist() == [len(known.encode(text)) for text in TEXTS]
    assert [text.decode("utf-8") for text in answer["text"].numpy()] == [
        known.decode(known.encode(text)) for text in TEXTS
    ]
