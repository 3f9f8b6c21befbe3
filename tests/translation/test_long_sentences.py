"""Texts longer than a model writes: cut at the ends of sentences, and said where that does not help."""

import json

import pytest
import tensorflow as tf

from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.serving.decoder_parts import ALIGNMENT, Read
from rnnapps.serving.sentence_writer import Draws
from rnnapps.serving.translation import MAX_SOURCE
from rnnapps.serving.translation_model import TranslationModel
from rnnapps.translation import answers
from rnnapps.translation.config import Predict
from rnnapps.translation.long_sentences import in_parts, joined


def words(texts):
    return [len(text.split()) for text in texts]


@pytest.mark.parametrize(
    ("text", "longest", "parts"),
    [
        ("One two. Three four.", 4, ["One two. Three four."]),
        ("One two. Three four.", 3, ["One two.", "Three four."]),
        ('He said "stop!" Then (he left.) Why?  Nobody knows… Well', 3,
         ['He said "stop!"', "Then (he left.)", "Why?", "Nobody knows…", "Well"]),
        ("no end in four words", 3, ["no end in four words"]),
        ("3.14 is a number of www.example.org", 3, ["3.14 is a number of www.example.org"]),
    ],
)  # fmt: skip
def test_a_text_is_cut_at_the_ends_of_its_sentences(text, longest, parts):
    assert in_parts(text, longest, words) == parts
    assert joined(parts).split() == text.split()


def test_scripts_without_spaces_have_ends_too():
    parts = in_parts("你好。世界！再见", 3, lambda texts: list(map(len, texts)))
    assert parts == ["你好。", "世界！", "再见"] and joined(parts) == "你好。世界！再见"


VOCABULARY = SentenceVocabulary("word", [*(f" {letter}" for letter in "abcdefgh"), ".", *"abcdefgh"])


class Echo:
    """A network that writes what it reads, token by token."""

    def encode(self, source):
        rows = tf.shape(source)[0]
        states = {"place": tf.zeros((rows, 1)), ALIGNMENT: tf.zeros(tf.shape(source))}
        return Read({"source": source, "mask": tf.not_equal(source, 0)}, states)

    def step(self, memory, beams=1):
        source = tf.repeat(memory["source"], beams, axis=0)

        def step(tokens, states):
            place = tf.minimum(tf.cast(states["place"][:, 0], tf.int32), tf.shape(source)[1] - 1)
            logits = 20.0 * tf.one_hot(tf.gather(source, place, batch_dims=1), VOCABULARY.size)
            return logits, {"place": states["place"] + 1, ALIGNMENT: tf.one_hot(place, tf.shape(source)[1])}

        return step


@pytest.fixture(scope="module")
def model():
    made = TranslationModel(Echo(), (VOCABULARY, VOCABULARY), 6)
    made.translator.writer.shards = 1  # half as much to trace
    return made


@pytest.fixture
def ask(model, eagerly, monkeypatch, capsys):
    """Predicts with translations of at most 6 tokens, the end included: texts, and what was printed where."""
    monkeypatch.setattr(answers, "translation_model", lambda run, model_=None: model)

    def predict(**options):
        texts = answers.predict(Predict(**{"beam": 1, **options}))
        return texts, *capsys.readouterr()

    return predict


def test_a_long_text_is_translated_whole_sentence_by_sentence(ask, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("a b. c d e. f.\na b c.\n")
    texts, out, err = ask(file=path)
    assert texts == [["a b. c d e. f."], ["a b c."]] and out == "a b. c d e. f.\na b c.\n" and err == ""
    _, out, _ = ask(file=path, json=True)
    long, short = map(json.loads, out.splitlines())
    assert long["translation"] == "a b. c d e. f." and not long["truncated"] and not short["truncated"]
    assert [part["translation"] for part in long["parts"]] == ["a b.", "c d e.", "f."]
    assert short["pieces"] == [" a", " b", " c", "."] and "parts" not in short


def test_what_is_cut_all_the_same_is_said(ask):
    texts, _, err = ask(sentence="a b. a b c d e f g h")
    assert texts == [["a b. a b c d e f"]]
    assert err.startswith("translation 1 ran to its limit of --max-length 6 tokens") and "source has 11\n" in err
    _, out, err = ask(sentence="a b c d e f g h", json=True)
    assert json.loads(out)["truncated"] is True and err.count("\n") == 1
    assert ask(sentence="a b c d e f g h", max_length=10)[0::2] == ([["a b c d e f g h"]], "")


def test_several_answers_are_of_the_whole_text_and_numbered(ask, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("a.\na b. c d e. f.\n")
    texts, out, err = ask(file=path, nbest=2, beam=2)
    assert texts[1][0] == "a b. c d" and "translation 2 ran to its limit" in err
    assert [line.partition("\t")[0] for line in out.splitlines()] == ["1", "1", "2", "2"]


def test_a_prefix_is_that_of_the_whole_text(ask):
    texts, _, err = ask(sentence="a b. c d e. f.", prefix="a")
    assert texts == [["a b. c d e"]] and "ran to its limit" in err


def test_a_source_of_more_tokens_than_are_read_is_said():
    model = TranslationModel(Echo(), (VOCABULARY, VOCABULARY), 3000)
    for count, truncated in ((MAX_SOURCE, False), (MAX_SOURCE + 1, True)):
        (answer,) = model.translate(["a " * count], Draws(1, 2 * MAX_SOURCE, temperature=0.0))
        assert answer["truncated"].tolist() == [truncated], count
