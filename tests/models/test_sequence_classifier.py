"""Networks that classify windows: shapes, gaps, files, and what an answer depends on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps.models.sequence_classifier import sequence_classifier
from rnnapps.models.series_parts import Shape

SHAPE = Shape(10, 0, 0, past=(0, 3, 0), static=(0, 2))


def batch(rows=4, seed=0):
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(rows, 10, 3))
    past[..., 1] = rng.integers(0, 4, (rows, 10))
    static = np.stack([rng.normal(size=rows), rng.integers(0, 3, rows)], -1)
    return {"past": past.astype("float32"), "static": static.astype("float32")}


EVERY = ({}, {"segment": 4}, {"segment": 5, "layers": 2, "dropout": 0.5}, {"cell": "lstm"}, {"cell": "simple_rnn"})


def with_gaps():
    x = batch()
    x["past"][0, 2:5] = np.nan
    x["past"][1] = np.nan
    x["static"][2] = np.nan
    return x


@pytest.mark.parametrize(
    "options",
    [pytest.param(one, marks=() if one in (EVERY[0], EVERY[2], EVERY[3]) else pytest.mark.full) for one in EVERY],
    ids=str,
)
def test_shapes_gaps_and_files(options, tmp_path):
    model, x = sequence_classifier(SHAPE, 5, units=8, **options), with_gaps()
    found = model(x)["logits"]
    assert found.shape == (4, 5) and found.dtype == "float32" and np.isfinite(found).all()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x)["logits"], found)
    # Rows do not change each other.
    alone = model({name: values[3:] for name, values in x.items()})["logits"]
    np.testing.assert_allclose(alone, found[3:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options", [pytest.param(one, marks=() if one == {"segment": 4} else pytest.mark.full) for one in EVERY], ids=str
)
def test_compiled_by_xla(options):
    model, x = sequence_classifier(SHAPE, 5, units=8, **options), with_gaps()
    compiled = tf.function(model, jit_compile=True)(x)["logits"]
    np.testing.assert_allclose(compiled, model(x)["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("segment", [1, 4])
def test_every_value_counts_and_a_missing_one_is_no_zero(segment):
    model = sequence_classifier(SHAPE, 2, units=8, segment=segment)
    # A row with each value changed: to zero, then to a missing one; the last row is as it was.
    x = {name: np.repeat(values, 21, axis=0) for name, values in batch(1).items()}
    steps = np.arange(10)
    x["past"][steps, steps, 0], x["past"][10 + steps, steps, 0] = 0, np.nan
    zero, gone, before = np.split(model(x)["logits"], [10, 20])
    for one, other in ((zero, before), (gone, before), (zero, gone)):
        assert np.abs(one - other).max(axis=1).min() > 1e-6


def test_a_window_that_is_no_whole_number_of_segments_begins_with_missing_values():
    short, whole = (
        sequence_classifier(Shape(steps, 0, 0, past=(0,)), 2, units=4, segment=4, seed=1) for steps in (10, 12)
    )
    x = batch()["past"][..., :1]
    padded = np.pad(x, ((0, 0), (2, 0), (0, 0)), constant_values=np.nan)
    np.testing.assert_allclose(short({"past": x})["logits"], whole({"past": padded})["logits"], rtol=1e-6)


def test_seeds_tables_and_precision():
    one, same, other = (sequence_classifier(SHAPE, 2, units=8, seed=seed) for seed in (1, 1, 2))
    x = batch()
    np.testing.assert_array_equal(one(x)["logits"], same(x)["logits"])
    assert np.abs(one(x)["logits"] - other(x)["logits"]).max() > 1e-3
    there, back = (layer.get_weights() for layer in (one.get_layer("recurrent_0").forward_layer,
                                                     one.get_layer("recurrent_0").backward_layer))  # fmt: skip
    assert np.abs(there[0] - back[0]).max() > 1e-3
    center, scale = np.array([[3.0, 5.0]], "float32"), np.array([[2.0, 4.0]], "float32")
    one.get_layer("past_numbers").set_tables(center, scale)
    x["past"][..., [0, 2]] = x["past"][..., [0, 2]] * scale + center
    np.testing.assert_allclose(one(x)["logits"], same(batch())["logits"], atol=1e-5)
    assert sequence_classifier(SHAPE, 2, dtype="mixed_bfloat16")(x)["logits"].dtype == "float32"
    with pytest.raises(ValueError, match="cell 'rnn': wanted one of"):
        sequence_classifier(SHAPE, 2, cell="rnn")
