"""Heads: losses by hand, quantiles that do not cross, and the unit of the answer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from rnnapps.ops.heads import KINDS, LEVELS, DistributionHead, PointHead, QuantileHead, head

RNG = np.random.default_rng(0)
CENTER, SCALE, UNIT = (np.array(v, "float32") for v in ([[[5.0, -2.0]]], [[[2.0, 0.5]]], [[[4.0, 1.0]]]))
TARGET = RNG.normal(size=(3, 4, 2)).astype("float32") * 3


def raw(one):
    return tf.constant(RNG.normal(size=(3, 4, 2, one.parameters)).astype("float32"))


def test_every_name_makes_a_head():
    assert {head(kind).parameters for kind in KINDS} == {1, 2, 3, 9}
    with pytest.raises(ValueError, match="head is 'normals': wanted one of quantiles, normal"):
        head("normals")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        ("mae", np.abs),
        ("mse", np.square),
        ("huber", lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5)),
    ],
)
def test_point_losses(error, wanted):
    one = PointHead(error)
    numbers = raw(one)
    forecast = CENTER + SCALE * numbers.numpy()[..., 0]
    np.testing.assert_allclose(one.mean(numbers, CENTER, SCALE), forecast, rtol=1e-6)
    found = one.loss(numbers, CENTER, SCALE, UNIT, TARGET)
    np.testing.assert_allclose(found, wanted((TARGET - forecast) / UNIT), rtol=1e-5, atol=1e-6)
    assert one.quantiles(numbers, CENTER, SCALE, [0.5]) is None


def test_pinball_loss():
    one = QuantileHead()
    numbers = raw(one)
    quantiles = CENTER[..., None] + SCALE[..., None] * numbers.numpy()
    error, levels = (TARGET[..., None] - quantiles) / UNIT[..., None], np.array(LEVELS)
    wanted = np.where(error > 0, 2 * levels * error, 2 * (1 - levels) * -error).mean(-1)
    np.testing.assert_allclose(one.loss(numbers, CENTER, SCALE, UNIT, TARGET), wanted, rtol=1e-5)


def test_the_pinball_loss_is_least_at_the_quantiles():
    sample = RNG.gamma(2, 3, 5000).astype("float32")[:, None]
    one, ones = QuantileHead(), tf.ones((1, 1))
    numbers = tf.Variable(np.linspace(1, 9, len(LEVELS), dtype="float32")[None, None])
    optimizer = keras.optimizers.Adam(0.2)
    optimizer.build([numbers])

    @tf.function(autograph=False)
    def update():
        with tf.GradientTape() as tape:
            cost = tf.reduce_mean(one.loss(numbers, 0 * ones, ones, ones, sample))
        optimizer.apply([tape.gradient(cost, numbers)], [numbers])

    for _ in range(200):
        update()
    found = one.quantiles(numbers, 0 * ones, ones, LEVELS)[0, 0]
    np.testing.assert_allclose(found, np.quantile(sample, LEVELS), rtol=0.05, atol=0.15)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("mae", "mse", "huber")])
def test_quantiles_rise_and_the_middle_is_among_them(kind):
    one = head(kind)
    numbers = raw(one)
    center = np.abs(CENTER)  # of counts
    levels = (0.01, 0.05, 0.3, 0.5, 0.51, 0.9, 0.99)
    found = one.quantiles(numbers, center, SCALE, levels).numpy()
    assert found.shape == (3, 4, 2, 7)
    assert (np.diff(found, axis=-1) >= 0).all() and (found[..., 0] < found[..., -1]).all()
    assert np.isfinite(one.mean(numbers, center, SCALE)).all()


def test_levels_between_those_that_were_learnt():
    one, numbers = QuantileHead((0.1, 0.5, 0.9)), tf.constant([[[1.0, 2.0, 6.0]]])
    found = one.quantiles(numbers, tf.zeros((1, 1)), tf.ones((1, 1)), (0.05, 0.1, 0.3, 0.7, 0.9, 0.95))
    np.testing.assert_allclose(found[0, 0], [1, 1, 1.5, 4, 6, 6], rtol=1e-6)


def test_likelihood_is_that_of_scaled_values():
    """In nats of the density of target / unit: the same for kilograms and grams."""
    one = DistributionHead("normal")
    numbers = raw(one)
    found = one.loss(numbers, CENTER, SCALE, UNIT, TARGET)
    in_grams = one.loss(numbers, 1000 * CENTER, 1000 * SCALE, 1000 * UNIT, 1000 * TARGET)
    np.testing.assert_allclose(found, in_grams, rtol=1e-4, atol=1e-4)
    location, spread = numbers.numpy()[..., 0], np.log1p(np.exp(numbers.numpy()[..., 1])) + 1e-4
    wanted = -stats.norm((CENTER + SCALE * location) / UNIT, SCALE * spread / UNIT).logpdf(TARGET / UNIT)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
