"""What is written keeps its characters: sentences in NFC, as those that are read are in NFKC."""

from __future__ import annotations

import unicodedata

import pytest
import tensorflow as tf

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.ops.strings import FORMS, clean, normalised

KEPT = ["你好，世界！", "½ m² … ﬁn №", "Ｆｕｌｌ ｗｉｄｔｈ ｶﾞ", "über Å 한글"]
SPELT = ["u\u0308ber A\u030a \u1112\u1161\u11ab\u1100\u1173\u11af", "\u2126 \u212b \u0344 \u0958 q\u0307\u0323"]


def texts(strings):
    return [text.decode("utf-8") for text in strings.numpy()]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.full)])
def test_a_form_is_python_s(form, step):
    every = [chr(code) for code in range(0, 0x110000, step) if not 0xD800 <= code < 0xE000]
    every += [base + mark for base in "aAeqI\u1100\uac00\u0915\u03b1" for mark in map(chr, range(0x300, 0x370))]
    every += [*KEPT, *SPELT]
    assert texts(normalised(tf.constant(every), form)) == [unicodedata.normalize(form, text) for text in every]


def test_clean_text_stays_as_it_is():
    wild = [*KEPT, *SPELT, "ẞ İ ſ", " a\u3000b "]
    once = clean(tf.constant(wild), True, "NFC")
    assert texts(clean(once, True, "NFC")) == texts(once)
    assert texts(clean(tf.constant(KEPT), False, "NFC")) == KEPT != texts(clean(tf.constant(KEPT)))


@pytest.mark.parametrize("kind", ["char", "word", "subword"])
def test_a_vocabulary_of_what_is_written_gives_it_back(kind, tmp_path):
    learnt = SentenceVocabulary.learn(kind, [[*KEPT, *SPELT] * 9], 400, form="NFC")
    learnt.save(tmp_path / "v.json")
    codec = SentenceCodec(SentenceVocabulary.load(tmp_path / "v.json"))
    for given, wanted in ((KEPT, KEPT), (SPELT, [unicodedata.normalize("NFC", text) for text in SPELT])):
        ids = codec.encode(tf.constant(given))
        assert texts(codec.decode(ids.to_tensor(), tf.cast(ids.row_lengths(), tf.int32))) == wanted


def test_a_vocabulary_that_says_no_form_is_one_of_earlier():
    content = SentenceVocabulary("char", "ab", form="NFC").to_dict()
    assert SentenceVocabulary.from_dict(content).form == "NFC"
    del content["form"]
    found = SentenceVocabulary.from_dict(content)
    assert found.form == "NFKC" and found == SentenceVocabulary("char", "ab") != SentenceVocabulary(
        "char", "ab", form="NFC"
    )
    with pytest.raises(ValueError, match="form must be one of NFC, NFKC, not 'NFD'"):
        SentenceVocabulary("char", "ab", form="NFD")
