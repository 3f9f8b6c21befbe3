"""Captioning in a graph and as an export: encoded pictures in, sentences out, with and without Python."""

import sys

import colour_pictures
import numpy as np
import pytest
import small_exports
import tensorflow as tf
from export_helpers import assert_same, own_answers
from small_exports import PICTURES

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.decoding import Search
from rnnapps.errors import UsageError
from rnnapps.models.captioner import captioner, with_encoder
from rnnapps.models.picture_encoder import grid_size, picture_encoder
from rnnapps.serving.capi import run_in_c_api
from rnnapps.serving.caption_endpoints import CaptionEndpoints, parts_of
from rnnapps.serving.caption_model import CaptionModel
from rnnapps.serving.captioner import Captioner
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.sentence_writer import Draws

pytestmark = pytest.mark.usefixtures("one_step_a_turn", "unicode_tables")
WORDS = SentenceVocabulary("word", [" red", " blue", " green", " above", "."])
SEARCH = Search(beam=3, max_length=5, block_unseen=True)
SHORT = Search(beam=2, max_length=4, block_unseen=True)

NO_PICTURE = "no kind that can be read: wanted JPEG, PNG, GIF or BMP"


def build(kind="adaptive", **options):
    encoder = picture_encoder("cnn", 32, seed=2)
    _, places, channels = encoder.output.shape
    options = {"cell": "simple_rnn", "units": 8, "embedding": 8, "seed": 3, **options}
    writer = captioner(places, channels, WORDS.size, kind, **options)
    rng = np.random.default_rng(10)  # of captions that differ
    for variable in writer.trainable_variables:
        variable.assign(rng.normal(0, 2 / variable.shape[0] ** 0.5, variable.shape))
    return with_encoder(encoder, writer)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def writer(model):
    parts, see = parts_of(model)
    return Captioner(parts, SentenceCodec(WORDS), grid_size(model.get_layer("picture_encoder")), see)


def captioned(writer, files, options=SEARCH, **more):
    return {name: t.numpy() for name, t in writer.caption(tf.constant(files, tf.string), options, **more).items()}


def test_a_picture_alone_is_captioned_as_among_others(writer):
    together = captioned(writer, PICTURES, SHORT)
    assert len(set(together["caption"][:, 0].tolist())) > 1
    for row in (0, len(PICTURES) - 1):
        alone = captioned(writer, PICTURES[row : row + 1], SHORT)
        assert alone["caption"].tolist() == together["caption"][row : row + 1].tolist()
        np.testing.assert_allclose(alone["score"], together["score"][row : row + 1], atol=1e-4)
        time = alone["attention"].shape[1]
        np.testing.assert_allclose(alone["attention"][0], together["attention"][row, :time], atol=1e-4)


def test_attention_is_that_of_the_network_on_the_whole_caption(writer, model):
    found = captioned(writer, PICTURES[:1])
    tokens = writer.writer.target.encode(found["caption"][:, 0]).to_tensor()
    pixels = tf.image.resize(tf.io.decode_image(PICTURES[0], channels=3)[None], (32, 32), antialias=True)
    whole = model({"picture": pixels, "target": tf.pad(tokens, [[0, 0], [1, 0]])})
    steps = found["tokens"][0, 0] + (found["tokens"][0, 0] < SEARCH.max_length)
    alignment = whole["alignment"][0, :steps]
    np.testing.assert_allclose(found["attention"][0, :steps].reshape(steps, 16), alignment[:, :16], atol=1e-4)
    np.testing.assert_allclose(found["sentinel"][0, :steps], alignment[:, 16], atol=1e-4)
    looked = writer.looks(tf.constant(PICTURES[:1]), tf.constant(found["caption"][:, 0]))
    steps = int(found["tokens"][0, 0])
    np.testing.assert_allclose(looked["attention"][0, :steps], found["attention"][0, :steps], atol=1e-4)
    logits = tf.nn.log_softmax(whole["logits"][0]).numpy()
    ended = [*tokens[0].numpy(), 1]
    wanted = sum(logits[t, token] for t, token in enumerate(ended))
    np.testing.assert_allclose(looked["log_prob"], [wanted], atol=1e-4)
    assert looked["tokens"].numpy().tolist() == [len(ended)]


@pytest.mark.parametrize("kind", ["merge", "inject"])
def test_without_places_there_is_one_that_is_no_place(kind):
    parts, see = parts_of(build(kind))
    writer = Captioner(parts, SentenceCodec(WORDS), None, see)
    found = captioned(writer, PICTURES[:1], SHORT)
    assert found["attention"].shape[2:] == (1, 1)
    drawn = captioned(writer, PICTURES[:2], Draws(num_samples=3, max_length=4, seed=5), align=False)
    assert drawn["caption"].shape == (2, 3) and "attention" not in drawn
    alone = captioned(writer, PICTURES[1:2], Draws(num_samples=3, max_length=4, seed=5), align=False)
    assert alone["caption"].tolist() == drawn["caption"][1:].tolist()


def test_a_prefix_begins_every_caption(writer):
    found = captioned(writer, PICTURES, prefix=tf.constant(["green above"] * len(PICTURES)))
    assert all(text.startswith(b"green above") for text in found["caption"][:, 0])


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(writer):
    with pytest.raises(tf.errors.InvalidArgumentError, match=NO_PICTURE):
        captioned(writer, [b"no picture"])


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TensorFlow's libraries have other names elsewhere")
def test_an_export_with_a_sentinel_answers_alike_without_python(model, tmp_path):
    endpoints = CaptionEndpoints(model, SentenceCodec(WORDS), (4, 4), SEARCH)
    path = write_saved_model(endpoints, tmp_path, "few", {})
    requests = [("serving_default", {"image_bytes": np.array(PICTURES, object)}), *endpoints.warmup()]
    assert_same(run_in_c_api(path, requests), own_answers(endpoints, requests, traced=True))


@pytest.mark.full
def test_an_export_refuses_a_file_that_is_no_picture_in_a_sentence(kept):
    served = tf.saved_model.load(str(colour_pictures.exported(kept))).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=NO_PICTURE):
        served(image_bytes=tf.constant([b"no picture"]))


@pytest.fixture(scope="module")
def both_sides(kept):
    """A run, and its export."""
    path, made = small_exports.captions(kept)
    vocabulary = SentenceVocabulary.from_dict(made.manifest["vocabulary"])
    return CaptionModel.from_keras(made.model, vocabulary, (4, 4), 7), CaptionModel.from_saved_model(path)


CASES = [(SHORT, None), (SEARCH, "red"), (Draws(2, 6, temperature=2.0, top_k=3), None)]


@pytest.mark.full  # an export in the place of a run is quick
@pytest.mark.parametrize("case", CASES)
def test_the_model_captions_alike_from_both_sides(both_sides, case, eagerly):
    options, prefix = case
    one, other = both_sides
    found, again = (side.caption(PICTURES, options, prefix, batch_size=3, align=True) for side in both_sides)
    assert one.texts(found) == other.texts(again) and len(set(one.texts(found))) > 1
    np.testing.assert_allclose(found[2]["attention"], again[2]["attention"], atol=1e-4)


def test_an_export_without_its_vocabulary_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "manifest.json").write_text('{"task": "captioning"}')
    with pytest.raises(UsageError, match="no usable vocabulary"):
        CaptionModel.from_saved_model(tmp_path)


@pytest.mark.full
def test_compiled_by_xla_the_captions_are_the_same(model):
    xla, plain = (
        CaptionEndpoints(model, SentenceCodec(WORDS), (4, 4), SEARCH, xla=xla).functions for xla in (True, False)
    )
    files = tf.constant(PICTURES)
    found, wanted = (functions["serving_default"](files) for functions in (xla, plain))
    assert found["caption"].numpy().tolist() == wanted["caption"].numpy().tolist()
    for name in ("score", "attention", "sentinel"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)
