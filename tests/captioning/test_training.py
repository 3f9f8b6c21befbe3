"""Runs of captioning: resumed, of all kinds of attention, with a frozen encoder and with one that is tuned after it."""

import dataclasses
import json

import checkpoints
import colour_pictures
import numpy as np
import pytest

from rnnapps.captioning import PRESETS, Predict, predict, train
from rnnapps.errors import UsageError
from rnnapps.training.log import Log
from rnnapps.training.run import Run

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
TINY = PRESETS["tiny"]


@pytest.mark.full  # that of translation is quick
def test_resume_goes_on_bit_by_bit(whole_and_resumed):
    checkpoints.assert_same(*whole_and_resumed)


def test_a_run_is_resumed_with_what_it_began_with(colours):
    with pytest.raises(UsageError, match="--image-size 64: the run to resume has 32"):
        train(dataclasses.replace(colours, image_size=64, resume=True))


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


def is_best(run):
    """Whether the best figure is the largest of the several that the log has."""
    figures = [line["validation_cider"] for line in Log(run).read() if "validation_cider" in line]
    return json.loads((run / "figures.json").read_text())["validation"] == max(figures) and len(figures) > 1


def test_a_network_that_looks_at_no_place(frozen_and_tuned, tmp_path, eagerly):
    frozen, *_ = frozen_and_tuned
    asked = Predict(run=frozen.run, image=(frozen.images / "0.png",), beam=2, max_length=3)
    ((text,),) = predict(asked)
    assert len(text) <= 3
    with pytest.raises(UsageError, match="--show-attention"):
        predict(dataclasses.replace(asked, show_attention=tmp_path / "look.png"))


@pytest.mark.full  # that of translation is quick
def test_the_best_checkpoint_by_cider(tmp_path, eagerly, decoded_plainly, often_validated):
    config = colour_pictures.few(tmp_path, attention="adaptive", input_feeding=False, best="cider", epochs=2.0)
    train(config)
    assert is_best(config.run)


@pytest.mark.full
@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "adaptive", "tokens": "subword", "layers": 2},
        {"attention": "merge", "cell": "gru", "precision": "mixed_bfloat16"},
        {"attention": "inject", "tied": False, "tokens": "char"},
        {"best": "cider", "input_feeding": False},
    ],
    ids=["adaptive", "merge", "inject", "cider"],
)
def test_other_kinds(changes, tmp_path, often_validated):
    config = colour_pictures.config(tmp_path, **{"epochs": 1.0, **changes})
    train(config)
    ((text,),) = predict(Predict(run=config.run, image=(config.images / "0.png",), beam=2, max_length=4))
    assert len(text.split()) <= 4
    if config.attention in ("merge", "inject"):
        with pytest.raises(UsageError, match="--show-attention"):
            options = {"image": (config.images / "0.png",), "show_attention": tmp_path / "look.png"}
            predict(Predict(run=config.run, **options))
    if config.best == "cider":
        assert is_best(config.run)


def weights(model, part="picture_encoder"):
    return model.get_layer(part).get_weights()


def test_a_frozen_encoder_is_asked_once(frozen_and_tuned, tmp_path, grey, eagerly, decoded_plainly, capsys):
    frozen, _, said = frozen_and_tuned
    assert "has seen 16 of 16 train pictures" in said
    np.testing.assert_array_equal(weights(Run(frozen.run).load_model())[0].reshape(3, 3), np.eye(3))
    train(dataclasses.replace(frozen, run=tmp_path / "again", units=8))
    assert "has seen" not in " ".join(capsys.readouterr())  # another captioner reads what lies there


def test_an_encoder_can_be_tuned_after_it_was_frozen(frozen_and_tuned):
    before, after = (Run(config.run).load_model() for config in frozen_and_tuned[:2])
    assert 0 < np.abs(weights(after)[0] - weights(before)[0]).max() < 0.2
    for start, end in zip(weights(before, "captioner"), weights(after, "captioner"), strict=True):
        assert np.abs(start - end).max() < 0.3


def test_what_starts_from_a_run_sees_with_its_eyes(frozen_and_tuned, tmp_path, grey, eagerly, decoded_plainly):
    frozen, tuned, _ = frozen_and_tuned
    found = train(dataclasses.replace(frozen, run=tmp_path / "run", start_from=tuned.run))
    for one, other in zip(weights(found), weights(Run(tuned.run).load_model()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_of_another_network_is_no_start(frozen_and_tuned, tmp_path, grey, eagerly, decoded_plainly):
    frozen, *_ = frozen_and_tuned
    with pytest.raises(UsageError, match="--start-from .* is a run of another network"):
        train(dataclasses.replace(frozen, run=tmp_path / "other", start_from=frozen.run, units=8))


@pytest.mark.full
def test_a_frozen_encoder_is_asked_once_and_can_be_tuned_after(tmp_path, grey, capsys):
    config = colour_pictures.config(tmp_path, encoder=grey, epochs=2.0, features_dir=tmp_path / "features")
    frozen = train(config)
    assert "has seen 240 of 240 train pictures" in " ".join(capsys.readouterr())
    before = weights(frozen)
    np.testing.assert_array_equal(before[0].reshape(3, 3), np.eye(3))
    train(dataclasses.replace(config, run=tmp_path / "again", units=16))
    assert "has seen" not in " ".join(capsys.readouterr())  # another captioner reads what lies there
    tuned = train(
        dataclasses.replace(config, run=tmp_path / "tuned", start_from=config.run, fine_tune=True, epochs=0.2)
    )
    after = weights(tuned)
    assert 0 < np.abs(after[0] - before[0]).max() < 0.2
    options = {"start_from": tmp_path / "tuned", "epochs": 0.2}
    again = train(dataclasses.replace(config, run=tmp_path / "frozen", **options))
    for one, other in zip(weights(again), after, strict=True):
        np.testing.assert_array_equal(one, other)  # what is kept sees with the eyes that it learnt with
    start, end = (weights(model, "captioner") for model in (frozen, tuned))
    assert all(np.abs(one - other).max() < 0.3 for one, other in zip(start, end, strict=True))
    with pytest.raises(UsageError, match="--start-from .* is a run of another network"):
        train(dataclasses.replace(config, run=tmp_path / "other", start_from=config.run, units=8))
