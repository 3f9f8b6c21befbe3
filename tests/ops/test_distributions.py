"""Distributions against SciPy's: densities, cumulative functions, quantiles, and the way from a network's numbers."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from rnnapps.ops.distributions import Mixture, NegativeBinomial, Normal, StudentT

LEVELS = np.array([0.001, 0.05, 0.25, 0.5, 0.9, 0.999], "float32")
MEAN, DEVIATION = np.array([0.0, -3.0, 50.0], "float32"), np.array([1.0, 0.1, 20.0], "float32")
WEIGHTS = np.array([0.2, 0.3, 0.5], "float32")
ALL = [Normal, StudentT, NegativeBinomial, Mixture]


CASES = {
    "normal": (Normal(MEAN, DEVIATION), stats.norm(MEAN, DEVIATION)),
    "t, heavy": (StudentT(MEAN, DEVIATION, np.full(3, 2.1, "float32")), stats.t(2.1, MEAN, DEVIATION)),
    "t, light": (StudentT(MEAN, DEVIATION, np.full(3, 30, "float32")), stats.t(30, MEAN, DEVIATION)),
    # SciPy: number n = 1 / a, probability n / (n + m)
    "counts": (
        NegativeBinomial(np.array([0.2, 3.0, 80.0], "float32"), np.array([0.5, 1.0, 0.1], "float32")),
        stats.nbinom([2, 1, 10], [2 / 2.2, 1 / 4, 10 / 90]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_density_and_cumulative_function(name):
    ours, theirs = CASES[name]
    x = np.array([[0.0, -3.2, 41.0], [2.0, 1.0, 7.0], [5.0, 3.0, 120.0]], "float32")
    if name == "counts":
        x = np.abs(np.round(x))
        wanted = theirs.logpmf(x)
    else:
        wanted = theirs.logpdf(x)
    np.testing.assert_allclose(ours.log_prob(x), wanted, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(ours.cdf(x), theirs.cdf(x), rtol=1e-4, atol=1e-6)
    if name != "counts":
        np.testing.assert_allclose(ours.mean, theirs.mean(), rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("level", LEVELS)
def test_quantiles(name, level):
    ours, theirs = CASES[name]
    tolerance = {"rtol": 0, "atol": 0} if name == "counts" else {"rtol": 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(ours.quantile(tf.constant(level)), theirs.ppf(level), **tolerance)


def test_mixture():
    mean, deviation = np.array([-5.0, 0.0, 10.0], "float32"), np.array([1.0, 0.5, 3.0], "float32")
    ours = Mixture(WEIGHTS, Normal(mean, deviation))
    x = np.array([-6.0, -1.0, 0.2, 4.0, 13.0])
    density = sum(w * stats.norm(m, d).pdf(x) for w, m, d in zip(WEIGHTS, mean, deviation, strict=True))
    cumulative = sum(w * stats.norm(m, d).cdf(x) for w, m, d in zip(WEIGHTS, mean, deviation, strict=True))
    for i, value in enumerate(x.astype("float32")):
        assert float(ours.log_prob(value)) == pytest.approx(math.log(density[i]), abs=1e-4)
        assert float(ours.cdf(value)) == pytest.approx(cumulative[i], abs=1e-5)
    assert float(ours.mean) == pytest.approx(float(WEIGHTS @ mean), abs=1e-5)
    for level in LEVELS:
        assert float(ours.cdf(ours.quantile(tf.constant(level)))) == pytest.approx(level, abs=1e-4)


@pytest.mark.parametrize("distribution", ALL)
def test_a_networks_numbers_fit_a_sample(distribution):
    """Gradient descent on the raw numbers finds the sample's distribution, in the sample's unit."""
    rng = np.random.default_rng(0)
    center, scale = tf.constant(40.0), tf.constant(12.0)
    sample = rng.negative_binomial(10, 10 / 50, 4000) if distribution is NegativeBinomial else rng.normal(43, 5, 4000)
    sample = sample.astype("float32")
    raw = tf.Variable(tf.zeros(distribution.parameters()))
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build([raw])

    @tf.function(autograph=False)
    def update():
        with tf.GradientTape() as tape:
            cost = -tf.reduce_mean(distribution.of(raw, center, scale).log_prob(sample))
        optimizer.apply([tape.gradient(cost, raw)], [raw])

    for _ in range(200):
        update()
    found = distribution.of(raw, center, scale)
    assert float(found.mean) == pytest.approx(sample.mean(), rel=0.01)
    for level in (0.1, 0.5, 0.9):
        assert float(found.quantile(tf.constant(level))) == pytest.approx(np.quantile(sample, level), abs=1.0)


@pytest.mark.parametrize("distribution", ALL)
@pytest.mark.parametrize("raw", [-60.0, 0.0, 60.0])
def test_extreme_numbers_stay_finite(distribution, raw):
    numbers = tf.fill((2, distribution.parameters()), raw)
    with tf.GradientTape() as tape:
        tape.watch(numbers)
        found = distribution.of(numbers, tf.constant([5.0, 5.0]), tf.constant([2.0, 2.0]))
        cost = tf.reduce_sum(found.log_prob(tf.constant([0.0, 9.0])))
    for value in (cost, found.mean, found.quantile(tf.constant([0.01, 0.99])), tape.gradient(cost, numbers)):
        assert np.isfinite(value).all()


@pytest.mark.parametrize("name", [*CASES, "mixture"])
def test_samples_have_the_distribution(name):
    one = Mixture(WEIGHTS, Normal(MEAN, DEVIATION)) if name == "mixture" else CASES[name][0]
    count = 20_000
    u, v = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, (2, count, *np.shape(one.mean))).astype("float32")
    drawn = np.reshape(one.sample(tf.constant(u), tf.constant(v)), (count, -1))
    at = np.quantile(drawn, [0.02, 0.3, 0.5, 0.9, 0.99], axis=0)
    for x in at:
        wanted = np.reshape(one.cdf(tf.constant(x.reshape(np.shape(one.mean)))), -1)
        # Three standard errors of a share.
        np.testing.assert_allclose((drawn <= x).mean(0), wanted, atol=3 * 0.5 / count**0.5)
