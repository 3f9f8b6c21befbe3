"""An exported translator: the same answers in Python, in TensorFlow's C API, and through its parts."""

from __future__ import annotations

import numpy as np
import pytest
import small_exports
import tensorflow as tf
from export_helpers import assert_same, own_answers
from small_exports import drawn

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.decoding import Search
from rnnapps.models.translator import translator
from rnnapps.serving import translation as module
from rnnapps.serving.capi import run_in_c_api
from rnnapps.serving.decoder_parts import NetworkParts
from rnnapps.serving.sentence_writer import Draws
from rnnapps.serving.translation import MAX_SOURCE, Translator
from rnnapps.serving.translation_endpoints import TranslationEndpoints
from rnnapps.serving.translation_model import TranslationModel

pytestmark = pytest.mark.usefixtures("one_step_a_turn", "unicode_tables")
SOURCE = SentenceVocabulary("word", [" a", " dog", " runs", ".", " the"])
TARGET = SentenceVocabulary("word", [" ein", " Hund", " läuft", " .", " der", " rennt"])
SENTENCES = [b"a dog runs.", b"the dog", b"", b"the   zebra runs the dog .", b"\t \n"]
SEARCH = Search(beam=3, max_length=5)


def build(**options):
    """A network that has learnt nothing and writes many words all the same."""
    options = {"cell": "simple_rnn", "units": 8, "embedding": 6, **options}
    return drawn(translator(SOURCE.size, TARGET.size, **options), seed=8, size=0.8)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def codecs():
    return SentenceCodec(SOURCE), SentenceCodec(TARGET)


@pytest.fixture(scope="module")
def writer(model, codecs):
    return Translator(NetworkParts(model), *codecs)


@pytest.fixture(scope="module")
def endpoints(model, codecs):
    return TranslationEndpoints(model, *codecs, SEARCH)


def translated(writer, sentences, options=SEARCH, **more):
    return {name: t.numpy() for name, t in writer.translate(tf.constant(sentences), options, **more).items()}


def test_a_sentence_alone_is_translated_as_among_others(writer):
    search = Search(beam=3, max_length=4)
    together = translated(writer, SENTENCES, search)
    assert len(set(together["translation"][:, 0].tolist())) > 3
    for row in (0, 2):  # one that is filled up, and nothing
        alone = translated(writer, SENTENCES[row : row + 1], search)
        assert alone["translation"].tolist() == together["translation"][row : row + 1].tolist()
        np.testing.assert_allclose(alone["score"], together["score"][row : row + 1], atol=1e-4)
        size = alone["alignment"].shape[1:]
        np.testing.assert_allclose(alone["alignment"][0], together["alignment"][row, : size[0], : size[1]], atol=1e-4)


def test_nothing_is_translated_to_nothing(writer):
    found = translated(writer, SENTENCES)
    assert not any(
        text for (text,), sentence in zip(found["translation"], SENTENCES, strict=True) if not sentence.strip()
    )
    assert any(text for (text,) in found["translation"])
    empty = translated(writer, np.array([], object).astype(str))
    assert {name: len(value) for name, value in empty.items()} == dict.fromkeys(empty, 0)


def test_score_is_that_of_the_search(codecs):
    model = build(tied=False)
    model.get_layer("logits").bias.assign([0, 4, *[0] * (TARGET.size - 2)])  # sentences that end
    writer = Translator(NetworkParts(model), *codecs)
    found = translated(
        writer, SENTENCES, Search(beam=3, max_length=30, length_penalty=0.3, min_length=2, block_unseen=True)
    )
    scored = writer.score(tf.constant(SENTENCES), tf.constant(found["translation"][:, 0]))
    written = found["tokens"][:, 0] > 0
    assert written.sum() > 1 and found["tokens"].max() < 10
    np.testing.assert_allclose(scored["log_prob"].numpy()[written], found["log_prob"][written, 0], atol=1e-4)
    np.testing.assert_array_equal(scored["tokens"].numpy()[written], found["tokens"][written, 0] + 1)


def test_score_is_that_of_the_network_on_whole_sentences(writer, model):
    ids = {"source": [[4, 5, 1]], "target": [[0, 3, 4]]}  # "dog runs" and its end; the start, "ein Hund"
    log_p = tf.nn.log_softmax(model({name: tf.constant(rows) for name, rows in ids.items()})["logits"])[0].numpy()
    wanted = log_p[0, 3] + log_p[1, 4] + log_p[2, 1]
    scored = writer.score(tf.constant(["dog runs"]), tf.constant(["ein Hund"]))
    np.testing.assert_allclose(scored["log_prob"], [wanted], atol=1e-5)


def test_words_that_the_vocabulary_lacks_are_copied_from_where_it_looked(writer):
    found = translated(writer, ["the zebra"], prefix=tf.constant(["Zebra"]))
    looked = found["alignment"][0, 0].argmax()
    source = [b" the", b" zebra", b""]
    assert found["source_pieces"][0].tolist() == source
    assert found["translation"][0, 0].startswith(source[looked].strip())
    unaligned = translated(writer, ["the zebra"], prefix=tf.constant(["Zebra"]), align=False)
    assert unaligned["translation"][0, 0].decode().startswith("\N{REPLACEMENT CHARACTER}")
    assert found["pieces"][0, 0] == source[looked]


def test_alignment_is_that_of_the_network_on_the_whole_translation(writer, model):
    found = translated(writer, ["a dog runs."])
    ids = writer.writer.target.encode(found["translation"][:, 0]).to_tensor()
    read = writer.source.encode(tf.constant(["a dog runs."])).to_tensor()
    whole = model(
        {"source": tf.pad(read, [[0, 0], [0, 1]], constant_values=1), "target": tf.pad(ids, [[0, 0], [1, 0]])}
    )
    steps = found["tokens"][0, 0] + (found["tokens"][0, 0] < SEARCH.max_length)
    np.testing.assert_allclose(found["alignment"][0, :steps], whole["alignment"][0, :steps], atol=1e-4)


@pytest.mark.parametrize("longest", [6, pytest.param(MAX_SOURCE, marks=pytest.mark.full)])
def test_long_sentences_are_cut(writer, longest, monkeypatch):
    monkeypatch.setattr(module, "MAX_SOURCE", longest)
    word, more = "dog " * longest, "runs " * 5
    cut = translated(writer, [word + more])
    assert cut["translation"].tolist() == translated(writer, [word])["translation"].tolist()
    assert cut["source_pieces"].shape == (1, longest + 1)


def test_draws_are_of_their_seed_and_not_of_their_batch(writer):
    draws = Draws(num_samples=3, max_length=5, seed=5)
    together, alone = translated(writer, SENTENCES[:2], draws), translated(writer, SENTENCES[1:2], draws)
    assert together["translation"][1].tolist() == alone["translation"][0].tolist()
    assert len(set(together["translation"][0].tolist())) > 1
    other = translated(writer, SENTENCES[:1], Draws(num_samples=3, max_length=5, seed=6))
    assert other["translation"][0, :2].tolist() == together["translation"][0, 1:].tolist()  # sample i is of seed + i


def test_the_coldest_draws_are_those_of_a_greedy_search(writer):
    cold = translated(writer, SENTENCES[:2], Draws(num_samples=1, max_length=4, temperature=0.0), align=False)
    greedy = translated(writer, SENTENCES[:2], Search(beam=1, max_length=4), align=False)
    assert cold["translation"].tolist() == greedy["translation"].tolist()
    np.testing.assert_allclose(cold["log_prob"], greedy["log_prob"], atol=1e-4)
    few = translated(writer, SENTENCES[:2], Draws(2, 4, top_k=1, top_p=0.9, min_p=0.1), align=False)
    assert few["translation"][:, 0].tolist() == few["translation"][:, 1].tolist()


@pytest.mark.full
def test_long_sentences_and_bytes_that_are_no_text_are_answered_alike_without_python(kept):
    """In graphs, as they are exported."""
    path, made = small_exports.translation(kept)
    asked = [b"zebra " * 700, "fünf sechs".encode()]
    requests = [
        ("serving_default", {"sentence": np.array([b"\xff\xfe one", *asked], object)}),
        ("score", {"source": np.array(asked, object), "target": np.array(asked[::-1], object)}),
    ]
    assert_same(run_in_c_api(path, requests), own_answers(made.endpoints, requests, traced=True))


@pytest.fixture(scope="module")
def both_sides(kept):
    """A run's export, and the run."""
    path, made = small_exports.translation(kept)
    vocabulary = SentenceVocabulary.from_dict(made.manifest["source_vocabulary"])
    here = TranslationModel.from_keras(made.model, (vocabulary, vocabulary), made.manifest["max_length"])
    return TranslationModel.from_saved_model(path.parent), here


NUMBERS = ["one two three", "", "five"]
SEARCHES = {
    "one": Search(beam=2, max_length=5),
    "n-best": Search(beam=4, num_best=3, max_length=8),
    "penalties": Search(
        beam=4, max_length=8, coverage_penalty=0.2, no_repeat_ngram=2, groups=2, diversity=0.4
    ),
    "draws": Draws(num_samples=2, max_length=8, seed=3, temperature=2.0),
}  # fmt: skip


@pytest.mark.full  # an export in the place of a run is quick
@pytest.mark.parametrize("name", SEARCHES)
def test_export_translates_like_the_run(both_sides, eagerly, name):
    options = SEARCHES[name]
    loaded, here = both_sides
    assert loaded.max_length == here.max_length
    for prefix in ("eins",) if name == "one" else (None, "eins"):
        one, other = (m.translate(NUMBERS, options, prefix, batch_size=2, align=True) for m in (loaded, here))
        assert len({answer["translation"][0] for answer in one}) == len(NUMBERS)
        for found, wanted in zip(one, other, strict=True):
            assert found["translation"].tolist() == wanted["translation"].tolist()
            np.testing.assert_allclose(found["log_prob"], wanted["log_prob"], atol=1e-4)
            np.testing.assert_allclose(found["alignment"], wanted["alignment"], atol=1e-4)
    streamed = here.stream(iter(NUMBERS[1:]), options, "eins", align=True)
    assert [answer["translation"].tolist() for answer in streamed] == [one["translation"].tolist() for one in other[1:]]


def test_of_what_is_compiled_the_widths_are_few_and_the_translations_the_same(writer, codecs, model, monkeypatch):
    """Without XLA: the room for sources that it has to have."""
    monkeypatch.setattr(module, "PLACES", (4, 9))
    widths = []

    def compiled(function):
        def run(first, *more):
            widths.append(first.shape[1] if isinstance(first, tf.Tensor) else None)
            return function(first, *more)

        return run

    roomy = Translator(NetworkParts(model), *codecs, shards=1, compiled=compiled)
    sentences, search = [*SENTENCES[:3], b"dog " * 4], Search(beam=2, max_length=4)  # with an end, five places
    found, wanted = translated(roomy, sentences, search), translated(writer, sentences, search)
    assert widths[0] == 9 and len(widths) == 2  # reading, and the search
    for name in ("translation", "pieces", "source_pieces"):
        assert found[name].tolist() == wanted[name].tolist()
    for name in ("score", "alignment"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)


@pytest.mark.full
def test_compiled_by_xla_the_translations_are_the_same(model, codecs, endpoints):
    compiled = TranslationEndpoints(model, *codecs, SEARCH, xla=True).functions
    plain = endpoints.functions
    sentences = tf.constant([*SENTENCES, b"a dog " * 20])
    found, wanted = (functions["serving_default"](sentences) for functions in (compiled, plain))
    for name in ("translation", "pieces", "source_pieces"):
        assert found[name].numpy().tolist() == wanted[name].numpy().tolist()
    for name in ("score", "alignment"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)
    ids = tf.constant([[2, 3, 1, 5, 5], [2, 3, 4, 3, 1]])
    read = plain["encode"](ids)
    for functions in (compiled, plain):
        again = functions["encode"](ids)
        assert again["places"].numpy().tolist() == [3, 5]
        logits = functions["step"](tf.constant([0, 2]), read)["logits"]
        np.testing.assert_allclose(logits, plain["step"](tf.constant([0, 2]), read)["logits"], atol=1e-4)


def test_what_fills_up_a_shorter_source_changes_nothing(endpoints, eagerly):
    """A server that joins requests fills up ids, keys and values with the first element of each."""
    encode, step = (endpoints.functions[name] for name in ("encode", "step"))
    short = encode(tf.constant([[4, 2, 1]]))
    filled = encode(tf.constant([[4, 2, 1, 4, 4, 4]]))
    assert short["places"].numpy().tolist() == filled["places"].numpy().tolist() == [3]
    wide = ("keys", "values", "alignment")
    for name, value in short.items():
        there = filled[name][:, :3] if name in wide else filled[name]
        np.testing.assert_allclose(there, value, atol=1e-6, err_msg=name)
    spread = dict(short)
    for name in wide:
        more = [[0, 0], [0, 2], *[[0, 0]] * (short[name].shape.rank - 2)]
        spread[name] = tf.pad(short[name], more, constant_values=7.0)
    token = tf.constant([3])
    alone, beside = step(token, short), step(token, spread)
    np.testing.assert_allclose(beside["logits"], alone["logits"], atol=1e-6)
    np.testing.assert_allclose(beside["alignment"][:, :3], alone["alignment"], atol=1e-6)
    assert not beside["alignment"][:, 3:].numpy().any()
