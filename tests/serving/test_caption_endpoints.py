"""Captioning in a graph and as an export: encoded pictures in, sentences out, with and without Python."""

import sys

import colour_pictures
import numpy as np
import pytest
import tensorflow as tf

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

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
WORDS = SentenceVocabulary("word", [" red", " blue", " green", " above", "."])
SEARCH = Search(beam=3, max_length=7, block_unseen=True)
FILES = [
    colour_pictures.picture(top, "blue", kind=kind, size=size)
    for top, kind, size in (("red", "PNG", 32), ("green", "JPEG", 50), ("blue", "GIF", 1), ("yellow", "BMP", 9))
]


def build(kind="adaptive"):
    encoder = picture_encoder("cnn", 32, seed=2)
    _, places, channels = encoder.output.shape
    writer = captioner(places, channels, WORDS.size, kind, units=8, embedding=8, seed=3)
    rng = np.random.default_rng(2)
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


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory, one_step_a_turn):
    endpoints = CaptionEndpoints(model, SentenceCodec(WORDS), (4, 4), SEARCH)
    manifest = {"task": "captioning", "vocabulary": WORDS.to_dict(), "grid": [4, 4], "max_length": 7}
    path = write_saved_model(endpoints, tmp_path_factory.mktemp("models"), "few", manifest)
    return path, endpoints


def captioned(writer, files, options=SEARCH, **more):
    # In a graph, as everywhere: of no picture Keras' convolutions make nothing sensible outside of one.
    run = tf.function(lambda some: writer.caption(some, options, **more), [tf.TensorSpec((None,), tf.string)])
    return {name: t.numpy() for name, t in run(tf.constant(files, tf.string)).items()}


def test_a_picture_alone_is_captioned_as_among_others(writer):
    together = captioned(writer, FILES)
    assert len(set(together["caption"][:, 0].tolist())) > 1
    for row, file in enumerate(FILES):
        alone = captioned(writer, [file])
        assert alone["caption"].tolist() == together["caption"][row : row + 1].tolist()
        np.testing.assert_allclose(alone["score"], together["score"][row : row + 1], atol=1e-4)
        time = alone["attention"].shape[1]
        np.testing.assert_allclose(alone["attention"][0], together["attention"][row, :time], atol=1e-4)
    empty = captioned(writer, [])
    assert {name: len(value) for name, value in empty.items()} == dict.fromkeys(empty, 0)


def test_attention_is_that_of_the_network_on_the_whole_caption(writer, model):
    found = captioned(writer, FILES[:1])
    tokens = writer.writer.target.encode(found["caption"][:, 0]).to_tensor()
    pixels = tf.image.resize(tf.io.decode_image(FILES[0], channels=3)[None], (32, 32), antialias=True)
    whole = model({"picture": pixels, "target": tf.pad(tokens, [[0, 0], [1, 0]])})
    steps = found["tokens"][0, 0] + (found["tokens"][0, 0] < SEARCH.max_length)
    alignment = whole["alignment"][0, :steps]
    np.testing.assert_allclose(found["attention"][0, :steps].reshape(steps, 16), alignment[:, :16], atol=1e-4)
    np.testing.assert_allclose(found["sentinel"][0, :steps], alignment[:, 16], atol=1e-4)
    looked = writer.looks(tf.constant(FILES[:1]), tf.constant(found["caption"][:, 0]))
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
    found = captioned(writer, FILES)
    assert found["attention"].shape[2:] == (1, 1)
    drawn = captioned(writer, FILES[:2], Draws(num_samples=3, max_length=6, seed=5), align=False)
    assert drawn["caption"].shape == (2, 3) and "attention" not in drawn
    alone = captioned(writer, FILES[1:2], Draws(num_samples=3, max_length=6, seed=5), align=False)
    assert alone["caption"].tolist() == drawn["caption"][1:].tolist()


def test_a_prefix_begins_every_caption(writer):
    found = captioned(writer, FILES, prefix=tf.constant(["green above"] * len(FILES)))
    assert all(text.startswith(b"green above") for text in found["caption"][:, 0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TensorFlow's libraries have other names elsewhere")
def test_export_answers_alike_without_python(exported):
    path, endpoints = exported
    files = np.array(FILES, object)
    requests = [
        ("serving_default", {"image_bytes": files}),
        ("serving_default", {"image_bytes": files[:0]}),
        ("attention", {"image_bytes": files[:2], "caption": np.array([b"red above blue.", b""], object)}),
        *endpoints.warmup(),
    ]
    for (key, inputs), answer in zip(requests, run_in_c_api(path, requests), strict=True):
        tensors = {
            name: tf.constant(value, tf.string if value.dtype == object else None) for name, value in inputs.items()
        }
        function = endpoints.endpoints()[key]
        if key == "step":
            wanted = function(tensors.pop("token"), tensors)
        else:
            wanted = function(*tensors.values())
        assert set(answer) == set(wanted)
        for name, value in wanted.items():
            if value.dtype == tf.string:
                assert answer[name].tolist() == value.numpy().tolist()
            else:
                np.testing.assert_allclose(answer[name], value, atol=1e-5)


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(exported):
    served = tf.saved_model.load(str(exported[0])).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="no kind that can be read: wanted JPEG, PNG, GIF or BMP"):
        served(image_bytes=tf.constant([b"no picture"]))


def test_the_model_captions_alike_from_both_sides(model, exported, tmp_path):
    one = CaptionModel.from_keras(model, WORDS, (4, 4), 7)
    other = CaptionModel.from_saved_model(exported[0])
    for options, prefix in ((SEARCH, None), (SEARCH, "red"), (Draws(2, 6, temperature=0.7, top_k=3), None)):
        found, again = (side.caption(FILES, options, prefix, batch_size=3, align=True) for side in (one, other))
        assert one.texts(found) == other.texts(again)
        np.testing.assert_allclose(found[2]["attention"], again[2]["attention"], atol=1e-4)
    (exported[0] / "manifest.json").write_text('{"task": "captioning"}')
    with pytest.raises(UsageError, match="no usable vocabulary"):
        CaptionModel.from_saved_model(exported[0])


@pytest.mark.full
def test_compiled_by_xla_the_captions_are_the_same(model, exported):
    compiled = CaptionEndpoints(model, SentenceCodec(WORDS), (4, 4), SEARCH, xla=True).functions
    files = tf.constant(FILES)
    found, wanted = (functions["serving_default"](files) for functions in (compiled, exported[1].functions))
    assert found["caption"].numpy().tolist() == wanted["caption"].numpy().tolist()
    for name in ("score", "attention", "sentinel"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)
