"""Pictures with their captions in batches, on disk and as an encoder sees them."""

import io

import colour_pictures
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rnnapps.data import captions
from rnnapps.data.caption_corpus import CaptionCorpus
from rnnapps.data.caption_files import Captioned
from rnnapps.data.caption_sources import Splits
from rnnapps.data.captions import Features
from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.picture_tensors import decoded
from rnnapps.errors import RunError, UsageError

SHADES = list(range(0, 250, 10))


def plain(shade, kind="PNG"):
    """A picture of one grey whose right half is black."""
    image = Image.new("RGB", (16, 16), (shade,) * 3)
    image.paste((0, 0, 0), (8, 0, 16, 16))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def splits(bad=()):
    def part(shades, bad=()):
        def read():
            for name in bad:
                yield Captioned(name, b"no picture", ("nothing",))
            for shade in shades:
                yield Captioned(f"{shade}.png", plain(shade), (f"{shade}", f"{shade} again"))

        return read

    return Splits(part(SHADES, bad), part([251]), part([252, 253]), ["a note"], {"test": "some"})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return CaptionCorpus.prepare(splits(), tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def numbered(corpus):
    def encode(texts):
        return [np.array([int(text.split()[0]) + 3, *[300] * (len(text.split()) - 1)], np.int32) for text in texts]

    def numbers(texts):
        return [np.array([int(text)], np.int32) for text in texts]

    return PairCorpus.prepare(corpus.pairs(), corpus.folder / "captions", numbers, encode, 5)


@pytest.fixture
def plain_decoding():
    with colour_pictures.decoded_plainly():
        yield


def test_a_corpus_holds_what_it_was_given(corpus):
    for found in (corpus, CaptionCorpus.open(corpus.folder)):
        assert [entry.name for entry in found.entries("train")] == [f"{shade}.png" for shade in SHADES]
        assert found.picture("train", 3) == plain(SHADES[3]) and found.picture("test", 1) == plain(253)
        assert list(found.captions("validation")) == ["251", "251 again"]
        assert found.notes == ["a note"] and found.names["test"] == "some" and found.names["train"] == "train"


def test_bad_pictures_are_left_out_and_named(tmp_path):
    found = CaptionCorpus.prepare(splits([f"bad{i}.png" for i in range(14)]), tmp_path / "corpus")
    assert len(found.entries("train")) == len(SHADES)
    assert sum("bad" in note for note in found.notes) == 10 and "4 more pictures" in found.notes[-1]
    (tmp_path / "corpus" / "train.pictures").write_bytes(b"short")
    with pytest.raises(RunError, match=r"train\.pictures"):
        CaptionCorpus.open(tmp_path / "corpus")
    with pytest.raises(RunError, match="is missing"):
        CaptionCorpus.open(tmp_path)
    nothing = Splits(splits(["bad.png"]).test, splits().test, splits().test)
    assert CaptionCorpus.prepare(nothing, tmp_path / "other").digest != found.digest
    with pytest.raises(UsageError, match=r"no picture with a caption is left for training: .*bad\.png"):
        CaptionCorpus.prepare(
            Splits(lambda: iter([Captioned("bad.png", b"", ("x",))]), splits().test, splits().test), tmp_path / "none"
        )


def test_pictures_are_decoded_and_scaled_as_a_whole():
    wide = Image.new("RGB", (40, 10), (200, 0, 0))
    wide.paste((0, 0, 200), (20, 0, 40, 10))
    grey = Image.new("L", (1, 1), 77)
    files = []
    for image, kind in ((wide, "PNG"), (wide, "JPEG"), (wide, "BMP"), (wide, "GIF"), (grey, "PNG")):
        file = io.BytesIO()
        image.save(file, kind)
        files.append(file.getvalue())
    found = decoded(tf.constant(files), 8).numpy()
    assert found.shape == (5, 8, 8, 3) and found.dtype == np.float32
    for one in found[:4]:
        np.testing.assert_allclose(one[:, :3], np.broadcast_to([200, 0, 0], (8, 3, 3)), atol=6)
        np.testing.assert_allclose(one[:, 5:], np.broadcast_to([0, 0, 200], (8, 3, 3)), atol=6)
    np.testing.assert_allclose(found[4], 77)
    assert decoded(tf.constant([], tf.string), 8).shape == (0, 8, 8, 3)


def left_and_right(pictures):
    """An encoder of two places: the mean of each half, and a constant."""
    halves = tf.stack([tf.reduce_mean(half, [1, 2, 3]) for half in tf.split(pictures, 2, axis=2)], 1)
    return tf.stack([halves, tf.ones_like(halves)], 2)


def shown(features_or_pictures):
    """What is left and right of each row, whichever the network reads."""
    if "source" in features_or_pictures:
        return features_or_pictures["source"][:, :, 0].numpy()
    return left_and_right(features_or_pictures["picture"])[:, :, 0].numpy()


# As the pictures are really read: each way once.
REALLY = {("pictures", False), ("features", True)}


@pytest.mark.parametrize("kind", ["pictures", "features"])
@pytest.mark.parametrize("flip", [False, True])
def test_each_caption_is_with_its_own_picture(kind, flip, corpus, numbered, tmp_path, request):
    if (kind, flip) not in REALLY:
        request.getfixturevalue("plain_decoding")
    if kind == "pictures":
        look = captions.pictures(corpus, "train", 16, 7 if flip else None)
    else:
        look = Features.of(tmp_path, corpus, "train", left_and_right, 16, "halves", flip).look(7 if flip else None)
    rows, mirrored = 0, []
    for inputs, targets, weights in captions.batches(numbered, "train", look, 8, seed=3):
        halves, wanted = shown(inputs), targets[:, 0].numpy() - 3
        np.testing.assert_allclose(halves.max(1), wanted, atol=0.6)
        mirrored += (halves[:, 1] > halves[:, 0])[wanted > 0].tolist()
        assert inputs["target"].shape == targets.shape == weights.shape
        rows += len(halves)
    assert rows == 2 * len(SHADES)
    assert 0.2 < np.mean(mirrored) < 0.8 if flip else not any(mirrored)


def test_batches_go_on_where_they_were(corpus, numbered, tmp_path, plain_decoding):
    look = Features.of(tmp_path, corpus, "train", left_and_right, 16, "halves", True).look(7)
    whole = list(captions.batches(numbered, "train", look, 8, seed=3, epochs=2))
    rest = list(captions.batches(numbered, "train", look, 8, seed=3, epochs=2, position=9))
    assert len(rest) == len(whole) - 9 > 3
    for one, other in zip(whole[9:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_features_are_computed_once_for_each_encoder_and_each_pictures(corpus, tmp_path, plain_decoding):
    asked, told = [], []

    def encode(pictures):
        asked.append(len(pictures.shape))
        return left_and_right(pictures)

    def features(part="train", identity="halves", size=16, flip=False):
        before = len(asked)
        found = Features.of(tmp_path, corpus, part, encode, size, identity, flip, lambda *n: told.append(n))
        return found, len(asked) - before > 1  # one call tells the shape

    first, computed = features()
    assert computed and told[-1] == (len(SHADES), len(SHADES))
    again, computed = features()
    assert not computed
    np.testing.assert_array_equal(first.array, again.array)
    np.testing.assert_allclose(again.means()[:, 0], [shade / 2 for shade in SHADES], atol=0.1)
    for other in ({"part": "test"}, {"identity": "other"}, {"size": 8}, {"flip": True}):
        assert features(**other)[1], other
    (path,) = [path for path in tmp_path.glob("train-*") if path.stat().st_size == first.array.nbytes][:1]
    assert not list(tmp_path.glob(".*"))
    path.write_bytes(b"cut")
    with pytest.raises(RunError, match="delete it"):
        for _ in range(1):
            features(), features(identity="other"), features(size=8)


def test_a_computation_that_fails_leaves_nothing(corpus, tmp_path, plain_decoding):
    def encode(pictures):
        if tf.executing_eagerly():
            return left_and_right(pictures)
        raise MemoryError("too large")

    with pytest.raises(MemoryError):
        Features.of(tmp_path, corpus, "train", encode, 16, "halves")
    assert not list(tmp_path.iterdir())


def test_pictures_of_the_helper_differ():
    assert len({colour_pictures.picture("red", "blue", i) for i in range(300)}) == 300
