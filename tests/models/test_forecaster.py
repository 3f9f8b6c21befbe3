"""Forecasting networks: shapes, what may depend on what, and that they learn."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import forecasts
from rnnapps.models.forecaster import KINDS, Shape, forecaster
from rnnapps.ops.heads import head
from rnnapps.training.window_trainer import WindowTrainer

PLAIN = Shape(12, 6, 2)
FULL = Shape(12, 6, 3, past=(0, 4), future=(0, 0, 2), static=(0, 3), num_series=5, cycles=("day", "year"))
OPTIONS = {"units": 8, "segment": 3, "parameters": 3, "normalize": "series"}


def batch(shape, rows=4, seed=0):
    rng = np.random.default_rng(seed)
    steps = shape.history + shape.horizon

    def columns(sizes, count):
        values = [rng.integers(0, n + 1, (rows, count)) if n else rng.normal(size=(rows, count)) for n in sizes]
        return np.stack(values, -1).astype("float32")

    x = {"history": rng.normal(size=(rows, shape.history, shape.targets)).astype("float32")}
    if shape.past:
        x["past"] = columns(shape.past, shape.history)
    if shape.future:
        x["future"] = columns(shape.future, steps)
    if shape.cycles:
        x["times"] = (rng.integers(0, 10**9, (rows, 1)) + 3600 * np.arange(steps)).astype("int64")
    if shape.static:
        x["static"] = columns(shape.static, 1)[:, 0]
    x["series"] = np.arange(rows, dtype="int32") % shape.num_series
    x["ahead"] = rng.normal(size=(rows, shape.horizon, shape.targets)).astype("float32")
    return x


def read(model, x):
    """The inputs that a network has."""
    return {name: x[name] for name in model.input}


def changed(x, name, where, by=1.0):
    return {**x, name: np.array(x[name]) + by * where}


def pairs(*quick):
    """Each cell on each shape, those in `quick` also in the quick tier."""
    shapes = {"plain": PLAIN, "full": FULL}
    return pytest.mark.parametrize(
        ("cell", "shape"),
        [
            pytest.param(cell, shape, id=f"{cell}-{name}", marks=() if (cell, name) in quick else pytest.mark.full)
            for cell in ("gru", "lstm")
            for name, shape in shapes.items()
        ],
    )


def with_gaps(shape):
    x = batch(shape)
    x["history"][0, 3] = np.nan
    x["history"][1] = np.nan
    return x


@pytest.mark.parametrize("kind", KINDS)
@pairs(("gru", "full"))
def test_shapes_gaps_and_files(kind, cell, shape, tmp_path):
    model = forecaster(kind, shape, cell=cell, **OPTIONS)
    x = read(model, with_gaps(shape))
    found = model(x)
    assert {name: tuple(t.shape) for name, t in found.items()} == {
        "raw": (4, 6, shape.targets, 3), **dict.fromkeys(("center", "scale", "unit"), (4, shape.targets)),
    }  # fmt: skip
    assert all(np.isfinite(tensor).all() for tensor in found.values())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")(x)
    for name, tensor in found.items():
        np.testing.assert_array_equal(again[name], tensor)


@pytest.mark.parametrize("kind", ["segment", *(pytest.param(kind, marks=pytest.mark.full) for kind in KINDS[1:])])
@pairs(("lstm", "plain"))
def test_compiled_by_xla(kind, cell, shape):
    model = forecaster(kind, shape, cell=cell, **OPTIONS)
    x = read(model, with_gaps(shape))
    compiled = tf.function(model, jit_compile=True)(x)
    np.testing.assert_allclose(compiled["raw"], model(x)["raw"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_builds_the_same_network(kind):
    one, same, other = (forecaster(kind, FULL, seed=seed, **OPTIONS).get_weights() for seed in (1, 1, 2))
    for weight, again, differs in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(weight, again)
        drawn = len(np.unique(weight)) > 2  # not zeros, ones, or the tables of scales
        assert not drawn or np.abs(weight - differs).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_forecast_depends_on(kind):
    model = forecaster(kind, FULL, **OPTIONS)
    x = read(model, batch(FULL))
    before = model(x)["raw"].numpy()

    def moved(name, where):
        return np.abs(model(changed(x, name, where))["raw"].numpy() - before).max(axis=(0, 3))

    first_row = np.zeros((4, 1, 1))
    first_row[0] = 1
    difference = np.abs(model(changed(x, "history", first_row))["raw"].numpy() - before).max(axis=(1, 2, 3))
    assert difference[0] > 1e-4 and difference[1:].max() == 0  # rows do not see each other
    assert moved("history", 1.0).min() > 1e-5
    assert moved("future", np.array([1.0, 0, 0])).max() > 1e-5
    assert moved("static", np.array([1.0, 0])).max() > 1e-5
    if kind in ("direct", "attention"):
        assert moved("past", np.array([1.0, 0])).max() > 1e-5
    one_target = moved("history", np.array([1.0, 0, 0]))
    assert (one_target[:, 1:].max() == 0) == (kind == "segment")  # each target alone
    last_step = np.zeros((18, 1))
    last_step[-1] = 1
    late = moved("future", last_step * np.array([1.0, 0, 0]))
    assert late[-1].max() > 1e-5
    if kind == "segment":
        assert late[:3].max() == 0  # another segment
    if kind in ("attention", "autoregressive"):
        assert late[:-1].max() == 0  # the decoder reads forwards
    if kind == "autoregressive":
        third = moved("ahead", (np.arange(6) == 2)[:, None])
        assert third[:3].max() == 0 and third[3].max() > 1e-5  # a step reads the values before it, and not its own
        assert moved("ahead", (np.arange(6) == 5)[:, None]).max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_shifted_window_has_the_same_numbers(kind):
    x = batch(PLAIN)
    by = np.array([100.0, -7.0])
    shifted = changed(changed(x, "history", by), "ahead", by)
    for normalize in ("last", "window"):
        model = forecaster(kind, PLAIN, **{**OPTIONS, "normalize": normalize})
        np.testing.assert_allclose(
            model(read(model, shifted))["raw"], model(read(model, x))["raw"], rtol=1e-3, atol=1e-4
        )
    # The last one is that of the whole window, whose scale it takes as well.
    stretched = {**x, "history": 50 * x["history"], "ahead": 50 * x["ahead"]}
    np.testing.assert_allclose(model(read(model, stretched))["raw"], model(read(model, x))["raw"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.full) if kind == "attention" else kind for kind in KINDS]
)
def test_dropout_is_for_training(kind):
    layers = 1 if kind == "segment" else 2
    model = forecaster(kind, PLAIN, dropout=0.5, layers=layers, **OPTIONS)
    x = read(model, batch(PLAIN))
    assert np.abs(model(x, training=True)["raw"] - model(x, training=True)["raw"]).max() > 1e-3
    np.testing.assert_array_equal(model(x)["raw"], model(x)["raw"])


def test_sizes_that_do_not_go_together():
    with pytest.raises(ValueError, match="segment 5: wanted a divisor of history 12 and horizon 6"):
        forecaster("segment", PLAIN, **{**OPTIONS, "segment": 5})
    with pytest.raises(ValueError, match="wanted one of segment, direct, attention"):
        forecaster("transformer", PLAIN)


# === Training ===


def reordered_loss(one, network, inputs, targets, training):
    return forecasts.loss(network, one, inputs, targets, training)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_lead_down(kind):
    """A small step against the gradient lowers the loss by as much as the gradient says."""
    one, x = head("student_t"), batch(FULL)
    model = forecaster(kind, FULL, **OPTIONS)
    targets = np.random.default_rng(1).normal(size=(4, 6, 3)).astype("float32")
    with tf.GradientTape() as tape:
        before = forecasts.loss(model, one, x, targets)
    gradients = list(map(tf.convert_to_tensor, tape.gradient(before, model.trainable_variables)))
    length = tf.linalg.global_norm(gradients)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.abs(gradient).max() > 0, variable.path
        variable.assign_sub(1e-2 * gradient / length)
    found = float(before - forecasts.loss(model, one, x, targets))
    assert found == pytest.approx(1e-2 * float(length), rel=0.1)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mae", "quantiles", "student_t"])
def test_it_learns_a_small_batch_by_heart(kind, name, one_step_a_turn):
    one, x = head(name), batch(PLAIN)
    targets = 10 + 3 * np.random.default_rng(1).normal(size=(4, 6, 2)).astype("float32")
    model = forecaster(kind, PLAIN, **{**OPTIONS, "units": 32, "parameters": one.parameters})
    model.get_layer("targets").set_tables([[10.0, 10.0]], [[3.0, 3.0]])
    trainer = WindowTrainer(model, functools.partial(reordered_loss, one), clip="global_norm")
    trainer.compile(keras.optimizers.Adam(0.02))
    data = tf.data.Dataset.from_tensors((x, targets)).repeat()
    trainer.fit(data, steps_per_epoch=300, shuffle=False, verbose=0)
    found = model(read(model, {**x, "ahead": targets}))
    center, scale = (found[key][:, None] for key in ("center", "scale"))
    error = np.abs(one.mean(found["raw"], center, scale) - targets).mean()
    assert error < 0.6  # of a mean distance of 2.4


def test_missing_targets_count_for_nothing():
    shape = Shape(3, 2, 2)
    one, x = head("normal"), batch(shape)
    model = forecaster("direct", shape, **{**OPTIONS, "parameters": 2})
    targets = np.random.default_rng(1).normal(size=(4, 2, 2)).astype("float32")
    gaps = targets.copy()
    gaps[0], gaps[1, 1, 1] = np.nan, np.nan

    def gradients(x, targets):
        with tf.GradientTape() as tape:
            loss = forecasts.loss(model, one, x, targets)
        return loss, tape.gradient(loss, model.trainable_variables)

    loss, found = gradients(x, gaps)
    number = np.arange(16).reshape(4, 2, 2)
    alone = [forecasts.loss(model, one, x, np.where(number == i, targets, np.nan)) for i in range(16)]
    assert float(loss) == pytest.approx(np.mean(np.array(alone)[~np.isnan(gaps).ravel()]), rel=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in found)
    nothing, found = gradients(x, np.full_like(targets, np.nan))
    assert float(nothing) == 0 and all(np.all(gradient == 0) for gradient in found)
