"""Distributions of a forecast: what a network's outputs say, element by element.

Each has a cumulative distribution function; its quantiles, and so its samples, are found on it, by bisection where
there is no formula. Everything is in the unit of the target: `center` and `scale` are what it was scaled with.
"""

import math
from typing import Protocol

import tensorflow as tf

_BISECTIONS = 40
_SMALL = 1e-4  # of the scale: a standard deviation is never less
_LOG_ROOT_TAU = 0.5 * math.log(2 * math.pi)


class Distribution(Protocol):
    """Of each element of a tensor.

    Attributes:
        mean: Where it has none, the middle.
    """

    mean: tf.Tensor

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The logarithm of the density, or of the probability of a whole number, in nats."""

    def cdf(self, x: tf.Tensor) -> tf.Tensor:
        """P(X <= x)."""

    def quantile(self, level: tf.Tensor) -> tf.Tensor:
        """The smallest x with P(X <= x) >= level, for levels in (0, 1)."""

    def sample(self, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """A draw, from two independent numbers uniform in (0, 1)."""


class Normal:
    """A normal distribution.

    Args:
        mean, deviation: Of each element.
    """

    locations = (0,)

    def __init__(self, mean, deviation):
        self.mean, self.deviation = mean, deviation

    @classmethod
    def parameters(cls) -> int:
        """Numbers that a network puts out for an element."""
        return 2

    @classmethod
    def of(cls, raw, center, scale):
        """From what a network puts out, `(..., parameters)`."""
        location, spread = tf.unstack(raw, axis=-1)
        return cls(center + scale * location, scale * _positive(spread))

    def log_prob(self, x):
        z = (x - self.mean) / self.deviation
        return -0.5 * z * z - tf.math.log(self.deviation) - _LOG_ROOT_TAU

    def cdf(self, x):
        return 0.5 * tf.math.erfc((self.mean - x) / (self.deviation * math.sqrt(2)))

    def quantile(self, level):
        return self.mean + self.deviation * tf.math.ndtri(level)

    def sample(self, u, v):
        return self.quantile(u)


class StudentT:
    """Student's t distribution, for what has outliers.

    Args:
        mean, deviation: Location, and scale (which is less than the standard deviation).
        freedom: Degrees of freedom, above 2.
    """

    locations = (0,)

    def __init__(self, mean, deviation, freedom):
        self.mean, self.deviation, self.freedom = mean, deviation, freedom

    @classmethod
    def parameters(cls) -> int:
        return 3

    @classmethod
    def of(cls, raw, center, scale):
        location, spread, freedom = tf.unstack(raw, axis=-1)
        return cls(center + scale * location, scale * _positive(spread), 2 + _positive(freedom))

    def log_prob(self, x):
        z, n = (x - self.mean) / self.deviation, self.freedom
        norm = tf.math.lgamma((n + 1) / 2) - tf.math.lgamma(n / 2) - 0.5 * tf.math.log(math.pi * n)
        return norm - tf.math.log(self.deviation) - (n + 1) / 2 * tf.math.log1p(z * z / n)

    def cdf(self, x):
        z, n = (x - self.mean) / self.deviation, self.freedom
        tail = 0.5 * _betainc(n / 2, 0.5, n / (n + z * z))
        return tf.where(z > 0, 1 - tail, tail)

    def quantile(self, level):
        # The t distribution with 2 degrees of freedom has the widest tails of all, and a formula.
        alpha = 4 * level * (1 - level)
        widest = tf.abs(2 * (level - 0.5) * tf.sqrt(2 / alpha)) * self.deviation + self.deviation
        return bisect(self.cdf, level, self.mean - widest, self.mean + widest)

    def sample(self, u, v):
        # Bailey, 1994, https://doi.org/10.1090/S0025-5718-1994-1219702-8: exact, and without a search.
        radius = tf.sqrt(self.freedom * tf.math.expm1(-2 / self.freedom * tf.math.log(u)))
        return self.mean + self.deviation * radius * tf.cos(2 * math.pi * v)


class NegativeBinomial:
    """Of counts 0, 1, 2, ...: mean m and variance m + a m^2.

    Args:
        mean: m, above 0.
        dispersion: a, above 0.
    """

    locations = ()  # the mean's logarithm is no place

    def __init__(self, mean, dispersion):
        self.mean, self.dispersion = mean, dispersion

    @classmethod
    def parameters(cls) -> int:
        return 2

    @classmethod
    def of(cls, raw, center, scale):
        location, dispersion = tf.unstack(raw, axis=-1)
        # A location of 0 is the mean of the training part, as in the other distributions.
        size = tf.maximum(center, _SMALL * scale)
        return cls(size * tf.exp(tf.clip_by_value(location, -10.0, 10.0)), _positive(dispersion))

    def log_prob(self, x):
        r = 1 / self.dispersion
        choose = tf.math.lgamma(x + r) - tf.math.lgamma(r) - tf.math.lgamma(x + 1)
        odds = self.dispersion * self.mean
        return choose - r * tf.math.log1p(odds) + x * (tf.math.log(odds) - tf.math.log1p(odds))

    def cdf(self, x):
        r = 1 / self.dispersion
        inside = tf.maximum(tf.floor(x), 0)
        p = _betainc(r, inside + 1, 1 / (1 + self.dispersion * self.mean))
        return tf.where(x < 0, tf.zeros_like(p), p)

    def quantile(self, level):
        # Cantelli: P(X - m >= k s) <= 1 / (1 + k^2).
        deviation = tf.sqrt(self.mean + self.dispersion * self.mean**2)
        high = self.mean + deviation * tf.sqrt(level / (1 - level)) + 1
        return tf.math.ceil(bisect(self.cdf, level, -tf.ones_like(high), high) - 1e-3)

    def sample(self, u, v):
        return self.quantile(u)


class Mixture:
    """A mixture of normal distributions, for what has more than one likely value.

    Args:
        weights: `(..., parts)`, which sum to 1.
        parts: A normal distribution of `(..., parts)`.
    """

    count = 3
    locations = (3, 4, 5)

    def __init__(self, weights, parts):
        self.weights, self.parts = weights, parts
        self.mean = tf.reduce_sum(weights * parts.mean, -1)

    @classmethod
    def parameters(cls) -> int:
        return 3 * cls.count

    @classmethod
    def of(cls, raw, center, scale):
        logits, location, spread = tf.split(raw, 3, axis=-1)
        # Parts that begin alike would stay alike.
        location += tf.linspace(-1.0, 1.0, cls.count)
        mean = center[..., tf.newaxis] + scale[..., tf.newaxis] * location
        return cls(tf.nn.softmax(logits), Normal(mean, scale[..., tf.newaxis] * _positive(spread)))

    def log_prob(self, x):
        return tf.reduce_logsumexp(tf.math.log(self.weights) + self.parts.log_prob(x[..., tf.newaxis]), -1)

    def cdf(self, x):
        return tf.reduce_sum(self.weights * self.parts.cdf(x[..., tf.newaxis]), -1)

    def quantile(self, level):
        # No part's quantile is passed on both sides.
        ends = self.parts.quantile(level[..., tf.newaxis] * tf.ones_like(self.weights))
        return bisect(self.cdf, level, tf.reduce_min(ends, -1), tf.reduce_max(ends, -1))

    def sample(self, u, v):
        chosen = tf.reduce_sum(tf.cast(v[..., tf.newaxis] > tf.cumsum(self.weights, axis=-1), tf.int32), -1)
        chosen = tf.one_hot(chosen, self.count, dtype=u.dtype)
        return tf.reduce_sum(chosen * self.parts.quantile(u[..., tf.newaxis]), -1)


def bisect(cdf, level, low, high):
    """x between `low` and `high` with cdf(x) = level; `cdf(high)` must be at least that."""

    def body(low, high):
        middle = 0.5 * (low + high)
        enough = cdf(middle) >= level
        return tf.where(enough, low, middle), tf.where(enough, middle, high)

    level = tf.broadcast_to(level, tf.shape(low))
    for _ in range(_BISECTIONS):
        low, high = body(low, high)
    return high


def _positive(raw):
    return tf.math.softplus(raw) + _SMALL


def _betainc(a, b, x):
    like = tf.zeros_like(a + b + x)
    return tf.math.betainc(a + like, b + like, x + like)
