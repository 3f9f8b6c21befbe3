"""What the tests of captioning share: a run that has learnt, its export, an encoder that need not learn."""

import contextlib
import dataclasses
import io
import json

import colour_pictures
import keras
import numpy as np
import pytest
import small_runs
from small_runs import eagerly, elsewhere, loaded_once, often_validated  # noqa: F401  # fixtures

from rnnapps.captioning import train
from rnnapps.models import picture_encoder

ELSEWHERE = """
import json, sys, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
files = [open(path, "rb").read() for path in sys.argv[2:]]
found = served(image_bytes=tf.constant(files))
alone = [served(image_bytes=tf.constant([file]))["caption"].numpy()[0] for file in files]
assert alone == found["caption"].numpy().tolist()
print(json.dumps([text.decode() for text in found["caption"].numpy()]))
"""


@pytest.fixture
def decoded_plainly():
    with colour_pictures.decoded_plainly():
        yield


@pytest.fixture(scope="session")
def colours(kept):
    return colour_pictures.learnt(kept)


@pytest.fixture(scope="session")
def exported(kept):
    return colour_pictures.exported(kept)


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """Three pictures in files of three kinds, each of a colour above yellow."""
    folder, kinds = tmp_path_factory.mktemp("drawings"), {"red": "PNG", "blue": "JPEG", "green": "GIF"}
    for top, kind in kinds.items():
        (folder / f"{top}.{kind.lower()}").write_bytes(colour_pictures.picture(top, "yellow", kind=kind))
    return tuple(folder / f"{top}.{kind.lower()}" for top, kind in kinds.items())


@pytest.fixture(scope="session")
def answered_elsewhere(exported, elsewhere, drawings):  # noqa: F811
    """What the export makes of them where neither Keras nor this package is."""
    return json.loads(elsewhere.run(ELSEWHERE, exported, *drawings))


@contextlib.contextmanager
def grey_encoder():
    """A pre-trained encoder for want of one: four places, three channels."""

    def make(name, size, pretrained):
        pictures = keras.Input((size, size, 3))
        seen = keras.layers.AveragePooling2D(size // 2)(keras.layers.Rescaling(1 / 255)(pictures))
        mix = keras.layers.Conv2D(3, 1, name="mix")
        network = keras.Model(pictures, mix(seen))
        mix.set_weights([np.eye(3)[None, None], np.zeros(3)])
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_encoder, "_application", make)
        yield "Grey"


@pytest.fixture
def grey():
    with grey_encoder() as name:
        yield name


@pytest.fixture(scope="session")
def whole_and_resumed(tmp_path_factory):
    """Folders of a run with all that has a state of its own between updates, and of one that was resumed after one."""
    folder = tmp_path_factory.mktemp("resumed")
    with small_runs.untraced(), colour_pictures.decoded_plainly(), grey_encoder() as grey:
        config = colour_pictures.few(
            folder, encoder=grey, epochs=1.0, batch_size=10, validation_fraction=0.0, dropout=0.2, flip=True,
            recurrent_dropout=0.1, scheduled_sampling=0.5, average=0.9, even_attention=0.1,
        )  # fmt: skip
        return small_runs.resumed(train, config)


@pytest.fixture(scope="session")
def frozen_and_tuned(tmp_path_factory):
    """Configs of a run behind a frozen encoder, and of one that starts from it and tunes that; what the first said."""
    folder, said = tmp_path_factory.mktemp("grey"), io.StringIO()
    plainly = colour_pictures.decoded_plainly()
    with small_runs.untraced(), plainly, grey_encoder() as grey, contextlib.redirect_stderr(said):
        frozen = colour_pictures.few(
            folder, encoder=grey, features_dir=folder / "features", attention="merge", cell="gru", tied=False,
            precision="mixed_bfloat16", tokens="char", max_length=20,
        )  # fmt: skip
        tuned = dataclasses.replace(frozen, run=folder / "tuned", start_from=frozen.run, fine_tune=True)
        train(frozen)
        train(tuned)
    return frozen, tuned, said.getvalue()
