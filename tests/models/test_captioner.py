"""Captioners of all kinds: what they see, what they read, and that a step at a time gives what the whole gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps.errors import UsageError
from rnnapps.layers import Places
from rnnapps.models.captioner import KINDS, captioner, with_encoder
from rnnapps.models.picture_encoder import grid_size, identity, picture_encoder
from rnnapps.serving.decoder_parts import NetworkParts

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
ROWS, PLACES, CHANNELS, TIME, SIZE = 3, 4, 5, 5, 11


def given(seed=0):
    rng = np.random.default_rng(seed)
    seen = rng.normal(0, 1, (ROWS, PLACES, CHANNELS)).astype("float32")
    target = rng.integers(1, SIZE, (ROWS, TIME)).astype("int32")
    target[:, 0] = 0
    return {"source": tf.constant(seen), "target": tf.constant(target)}


def build(kind, **options):
    return captioner(PLACES, CHANNELS, SIZE, kind, **{"units": 6, "embedding": 8, "seed": 1, **options})


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        *(("lstm", kind) for kind in KINDS),
        ("gru", "soft"),
        *(pytest.param("gru", kind, marks=pytest.mark.full) for kind in KINDS if kind != "soft"),
    ],
)
def test_a_step_at_a_time_gives_the_same(kind, cell):
    model, inputs = build(kind, cell=cell, layers=2, attention_units=7), given()
    wanted = model(inputs)
    assert wanted["alignment"].shape[2] == {"soft": PLACES, "adaptive": PLACES + 1}.get(kind, 1)
    parts = NetworkParts(model)
    read = parts.encode(inputs["source"])
    states, step = read.states, parts.step(read.memory)
    for t in range(TIME):
        logits, states = step(inputs["target"][:, t], states)
        np.testing.assert_allclose(logits, wanted["logits"][:, t], atol=1e-5)
        np.testing.assert_allclose(states["alignment"], wanted["alignment"][:, t], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_and_the_words_before_tell_and_those_after_do_not(kind):
    model, inputs = build(kind), given()
    logits = model(inputs)["logits"]
    other = {**inputs, "source": inputs["source"] * 1.5}
    assert np.abs(model(other)["logits"] - logits).max(axis=(1, 2)).min() > 1e-4
    later = {**inputs, "target": tf.concat([inputs["target"][:, :3], inputs["target"][:, 3:] % 7 + 1], 1)}
    np.testing.assert_allclose(model(later)["logits"][:, :3], logits[:, :3], atol=1e-6)
    moved = {**inputs, "source": inputs["source"][:, ::-1]}
    same = np.abs(model(moved)["logits"] - logits).max() < 1e-6
    assert same == (kind in ("merge", "inject")) or kind in ("soft", "adaptive")


def test_places_know_where_they_are():
    layer = Places(3, position_initializer="random_normal")
    x = tf.ones((2, PLACES, CHANNELS))
    found = layer(x)
    wanted = np.einsum("bpc,cu->bpu", x, layer.kernel) + layer.bias.numpy() + layer.positions.numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(np.diff(found, axis=1)).min() > 1e-6


def test_inject_reads_the_picture_first_and_never_again():
    model, inputs = build("inject"), given()
    embed, decoder = model.get_layer("target_embedding"), model.get_layer("decoder")
    first = model.get_layer("first_input")(tf.reduce_mean(inputs["source"], 1, keepdims=True))
    read = tf.concat([first, embed(inputs["target"])], 1)
    written, *_ = decoder(read, tf.zeros((ROWS, 1, decoder.memory_kernel.shape[0])))
    logits = embed(written[:, 1:], reverse=True)
    model.get_layer("encoder").bias.assign(tf.zeros(6))
    np.testing.assert_allclose(model(inputs)["logits"], logits, atol=1e-5)


def whole(kind):
    """An encoder, a captioner, both as one model, and what that reads."""
    encoder = picture_encoder("cnn", 32)
    writer = captioner(16, 128, SIZE, kind, units=6, embedding=8, dropout=0.2)
    pictures = tf.random.stateless_uniform((ROWS, 32, 32, 3), (1, 2), 0, 255)
    return encoder, writer, with_encoder(encoder, writer), {"picture": pictures, "target": given()["target"]}


def test_behind_an_encoder_and_saved(tmp_path):
    encoder, writer, model, inputs = whole("adaptive")
    assert encoder.output.shape == (None, 16, 128) and grid_size(encoder) == (4, 4)
    found = model(inputs)
    apart = writer({"source": encoder(inputs["picture"]), "target": inputs["target"]})
    np.testing.assert_allclose(found["logits"], apart["logits"], atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs)["logits"], found["logits"])
    assert identity(loaded.get_layer("picture_encoder")) == identity(encoder)


@pytest.mark.parametrize("kind", ["inject", pytest.param("adaptive", marks=pytest.mark.full)])
def test_compiled_by_xla(kind):
    *_, model, inputs = whole(kind)
    compiled = tf.function(model, jit_compile=True)(inputs)
    np.testing.assert_allclose(compiled["logits"], model(inputs)["logits"], atol=1e-4)


def test_encoders_by_name():
    assert identity(picture_encoder("cnn", 32, seed=1)) != identity(picture_encoder("cnn", 32))
    lite = picture_encoder("efficientnet_lite0", 64, pretrained=False)
    assert lite.output.shape == (None, 4, 1280) and grid_size(lite) == (2, 2)
    with pytest.raises(UsageError, match="--encoder eyes: wanted cnn, efficientnet_lite0 or one of .*MobileNetV2"):
        picture_encoder("eyes")
    with pytest.raises(UsageError, match="--encoder InceptionV3 at --image-size 40"):
        picture_encoder("InceptionV3", 40, pretrained=False)


def test_an_encoder_of_keras_gets_pictures_as_its_weights_want_them():
    mobile = picture_encoder("MobileNet", 64, pretrained=False)
    assert mobile.output.shape == (None, 4, 1024)
    grey = np.full((1, 64, 64, 3), 127.5, "float32")
    inside = mobile.layers[1]
    # Scaled as the weights want it: grey is zero, and the network of zeros gives what the scaled picture gives.
    network = next(layer for layer in inside.layers if isinstance(layer, keras.Model))
    np.testing.assert_allclose(mobile(grey), np.reshape(network(np.zeros_like(grey)), (1, 4, 1024)), atol=1e-4)


def test_unknown_kinds_and_options():
    with pytest.raises(ValueError, match="kind is 'hard': wanted one of soft"):
        build("hard")
    with pytest.raises(ValueError, match="captioner got .*'bridge'"):
        build("soft", bridge="last")
