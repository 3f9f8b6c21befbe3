"""Runs of captioning: resumed, of all kinds of attention, with a frozen encoder and with one that is tuned after it."""

import dataclasses
import json

import checkpoints
import colour_pictures
import keras
import numpy as np
import pytest

from rnnapps.captioning import PRESETS, Predict, predict, train
from rnnapps.errors import UsageError
from rnnapps.models import picture_encoder
from rnnapps.training.log import Log

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
TINY = PRESETS["tiny"]


@pytest.fixture
def grey(monkeypatch):
    """A pre-trained encoder for want of one: four places, three channels."""

    def make(name, size, pretrained):
        pictures = keras.Input((size, size, 3))
        seen = keras.layers.AveragePooling2D(size // 2)(keras.layers.Rescaling(1 / 255)(pictures))
        mix = keras.layers.Conv2D(3, 1, name="mix")
        network = keras.Model(pictures, mix(seen))
        mix.set_weights([np.eye(3)[None, None], np.zeros(3)])
        return network

    monkeypatch.setattr(picture_encoder, "_application", make)
    return "Grey"


@pytest.mark.full
def test_resume_is_bit_exact(tmp_path, grey):
    data = colour_pictures.folder(tmp_path / "data", 100)
    whole = dataclasses.replace(
        TINY, **data, run=tmp_path / "whole", encoder=grey, epochs=2.0, schedule="constant", dropout=0.2, flip=True,
        recurrent_dropout=0.1, scheduled_sampling=0.5, average=0.9, even_attention=0.1, test_fraction=0.0,
    )  # fmt: skip
    half = dataclasses.replace(whole, run=tmp_path / "half", epochs=1.0)
    train(whole)
    train(half)
    train(dataclasses.replace(half, epochs=2.0, resume=True))
    checkpoints.assert_same(whole.run, half.run)
    with pytest.raises(UsageError, match="--image-size 64: the run to resume has 32"):
        train(dataclasses.replace(half, image_size=64, resume=True))


@pytest.mark.full
@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "adaptive", "tokens": "subword", "layers": 2},
        {"attention": "merge", "cell": "gru", "precision": "mixed_bfloat16"},
        {"attention": "inject", "tied": False, "tokens": "char"},
        {"best": "cider", "input_feeding": False, "validate_every": 0.1},
    ],
    ids=["adaptive", "merge", "inject", "cider"],
)
def test_other_kinds(changes, tmp_path):
    config = colour_pictures.config(tmp_path, **{"epochs": 1.0, **changes})
    train(config)
    ((text,),) = predict(Predict(run=config.run, image=(config.images / "0.png",), beam=2, max_length=4))
    assert len(text.split()) <= 4
    if config.attention in ("merge", "inject"):
        with pytest.raises(UsageError, match="--show-attention"):
            options = {"image": (config.images / "0.png",), "show_attention": tmp_path / "look.png"}
            predict(Predict(run=config.run, **options))
    if config.best == "cider":
        figures = [line["validation_cider"] for line in Log(config.run).read() if "validation_cider" in line]
        assert json.loads((config.run / "figures.json").read_text())["validation"] == max(figures)


@pytest.mark.full
def test_a_frozen_encoder_is_asked_once_and_can_be_tuned_after(tmp_path, grey, capsys):
    config = colour_pictures.config(tmp_path, encoder=grey, epochs=2.0, features_dir=tmp_path / "features")
    frozen = train(config)
    assert "has seen 240 of 240 train pictures" in " ".join(capsys.readouterr())
    before = frozen.get_layer("picture_encoder").get_weights()
    np.testing.assert_array_equal(before[0].reshape(3, 3), np.eye(3))
    train(dataclasses.replace(config, run=tmp_path / "again", units=16))
    assert "has seen" not in " ".join(capsys.readouterr())  # another captioner reads what lies there
    tuned = train(
        dataclasses.replace(config, run=tmp_path / "tuned", start_from=config.run, fine_tune=True, epochs=0.2)
    )
    after = tuned.get_layer("picture_encoder").get_weights()
    assert 0 < np.abs(after[0] - before[0]).max() < 0.2
    options = {"start_from": tmp_path / "tuned", "epochs": 0.2}
    again = train(dataclasses.replace(config, run=tmp_path / "frozen", **options))
    for one, other in zip(again.get_layer("picture_encoder").get_weights(), after, strict=True):
        np.testing.assert_array_equal(one, other)  # what is kept sees with the eyes that it learnt with
    start, end = (model.get_layer("captioner").get_weights() for model in (frozen, tuned))
    assert all(np.abs(one - other).max() < 0.3 for one, other in zip(start, end, strict=True))
    with pytest.raises(UsageError, match="--start-from .* is a run of another network"):
        train(dataclasses.replace(config, run=tmp_path / "other", start_from=config.run, units=8))
