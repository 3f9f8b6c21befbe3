"""Answers of forecasters: paths drawn step by step against a hand loop, calibrated bands that hold."""

import numpy as np
import pytest
import tensorflow as tf
from combinations import combinations

from rnnapps import forecasts
from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.ops.heads import LEVELS, head
from rnnapps.ops.random import uniform
from rnnapps.training.calibration import calibrate

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
SHAPE = Shape(6, 4, 2, future=(0, 3), static=(2,), num_series=3, cycles=("day",))


def inputs(shape=SHAPE, rows=3, seed=0):
    rng, steps = np.random.default_rng(seed), shape.history + shape.horizon
    known = np.stack([rng.normal(size=(rows, steps)), rng.integers(0, 4, (rows, steps))], -1)
    return {
        "history": tf.constant(rng.normal(size=(rows, shape.history, shape.targets)), tf.float32),
        "future": tf.constant(known, tf.float32),
        "times": tf.constant(3600 * np.tile(np.arange(steps), (rows, 1)), tf.int64),
        "static": tf.constant(rng.integers(0, 3, (rows, 1)), tf.float32),
        "series": tf.range(rows),
    }


def row(x, i):
    return {name: value[i : i + 1] for name, value in x.items()}


QUICK = (("student_t", "lstm"),)


@pytest.mark.parametrize(
    ("kind", "cell"), combinations(lambda *pair: pair in QUICK, ["normal", "student_t"], ["gru", "lstm"])
)
def test_paths_are_those_of_the_whole_network_step_by_step(cell, kind):
    """Every value is the draw that the network, run over all steps, makes of the values before it."""
    one, x, count = head(kind), inputs(), 3
    network = forecaster("autoregressive", SHAPE, one.parameters, cell, units=5, layers=2, normalize="last")
    seed = tf.constant([7, 8, 9])
    drawn = forecasts.paths(network, one, x, seed, count)
    assert drawn["paths"].shape == (3, count, 4, 2) and np.isfinite(drawn["paths"]).all()
    means = []
    for p in range(count):
        outputs = network({**x, "ahead": drawn["paths"][:, p]})
        center, scale = (outputs[name][:, None] for name in ("center", "scale"))
        distribution = one.distribution(outputs["raw"], center, scale)
        numbers = [tf.reshape(uniform(seed, tf.fill([3], h), 2 * count * 2), (3, count, 2, 2))[:, p] for h in range(4)]
        u, v = (tf.stack([n[..., i] for n in numbers], 1) for i in range(2))
        np.testing.assert_allclose(drawn["paths"][:, p], distribution.sample(u, v), rtol=2e-4, atol=2e-5)
        means.append(distribution.mean)
    np.testing.assert_allclose(drawn["mean"], np.mean(means, axis=0), rtol=2e-4, atol=2e-5)


def test_a_rows_paths_are_its_own():
    one, shape = head("normal"), Shape(3, 2, 1, num_series=3)
    x = inputs(shape)
    network = forecaster("autoregressive", shape, one.parameters, units=5)
    seed = tf.constant([7, 8, 9])
    draw = tf.function(forecasts.paths)
    drawn = draw(network, one, x, seed, 5)["paths"]
    alone = forecasts.paths(network, one, row(x, 1), seed[1:2], 5)["paths"]
    np.testing.assert_allclose(alone[0], drawn[1], rtol=1e-4, atol=1e-5)
    other = draw(network, one, x, seed + 1, 5)["paths"]
    assert np.abs(other - drawn).max() > 0.1
    found = forecasts.answers(network, one, x, num_paths=50)
    assert (np.diff(found["quantiles"], axis=-1) >= 0).all()
    again = forecasts.answers(network, one, row(x, 2), num_paths=50)
    np.testing.assert_allclose(again["quantiles"][0], found["quantiles"][2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["normal", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("mae", "quantiles"))]
)
def test_calibrated_bands_hold_where_the_heads_own_do_not(kind):
    one, shape = head(kind), Shape(6, 2, 2)
    network = forecaster("direct", shape, one.parameters, units=3)
    rng = np.random.default_rng(0)

    def windows(count):
        history = rng.normal(size=(count, 6, 2)).astype("float32")
        came = rng.gamma(1.0, [[[2.0, 30.0]], [[5.0, 1.0]]][:1], (count, 2, 2)).astype("float32")
        came[rng.random(came.shape) < 0.1] = np.nan
        return {"history": history, "series": np.zeros(count, "int32")}, came

    offsets = calibrate(network, one, tf.data.Dataset.from_tensor_slices(windows(4000)).batch(2500))
    assert offsets.shape == (2, 2, len(LEVELS)) and np.isfinite(offsets).all()
    x, came = windows(4000)
    found = forecasts.answers(network, one, x, offsets)["quantiles"]
    assert (np.diff(found, axis=-1) >= 0).all()
    there = ~np.isnan(came)
    for i, level in enumerate(LEVELS):
        below = (came <= found[..., i].numpy()) & there
        # Four standard errors of the two samples.
        np.testing.assert_allclose(below.sum(0) / there.sum(0), level, atol=4 * 0.5 * (2 / 3600) ** 0.5)


def test_calibration_counts_the_windows_by_hand():
    """With n errors the offset of level q is the ceil((n + 1) q)-th smallest, or from below the floor."""
    one, shape = head("mae"), Shape(6, 1, 1)
    network = forecaster("direct", shape, one.parameters, units=3)
    network.get_layer("targets").set_tables([[0.0]], [[10.0]])
    network.get_layer("write").set_weights([0 * w for w in network.get_layer("write").get_weights()])
    errors = np.arange(1.0, 40.0)  # 39 of them
    history = np.full((39, 6, 1), 100.0, "float32")  # normalised by the last value, the forecast is 100
    came = (100 + np.random.default_rng(0).permutation(errors)).astype("float32")[:, None, None]
    batch = {"history": history, "series": np.zeros(39, "int32")}, came
    offsets = 10 * calibrate(network, one, tf.data.Dataset.from_tensors(batch))[0, 0]
    wanted = dict(
        zip((0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975), (1, 2, 4, 10, 20, 30, 36, 38, 39), strict=True)
    )
    np.testing.assert_allclose(offsets, [wanted[level] for level in LEVELS], atol=1e-4)


def test_counts_stay_counts():
    one, shape = head("negative_binomial"), Shape(6, 2, 1)
    network = forecaster("autoregressive", shape, one.parameters, units=3, normalize="series")
    network.get_layer("targets").set_tables([[3.0]], [[2.0]])
    x = {"history": np.full((2, 6, 1), 3.0, "float32"), "series": np.zeros(2, "int32")}
    drawn = forecasts.paths(network, one, x, tf.constant([1, 2]), 20)["paths"]
    np.testing.assert_array_equal(drawn, np.maximum(np.round(drawn), 0))
    found = forecasts.answers(network, one, x, np.full((2, 1, len(LEVELS)), -0.3, "float32"))["quantiles"]
    np.testing.assert_array_equal(found, np.maximum(np.round(found), 0))
