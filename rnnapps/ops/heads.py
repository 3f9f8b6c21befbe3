"""What a forecaster's last numbers mean: a loss to train them with, and a mean and quantiles to answer with.

Raw numbers stand in `(..., targets, parameters)`; `center` and `scale`, `(..., targets)`, turn them into the targets'
own unit. Losses are in units of `unit`, which is that of the whole series, so that no series counts more than another.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf

from rnnapps.ops import distributions
from rnnapps.ops.distributions import Distribution

LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


class Head(Protocol):
    """One meaning of raw numbers.

    Attributes:
        parameters: Raw numbers for each target and step.
        loss_name: What the loss is called, for a person.
        is_probabilistic: Whether there are quantiles.
        is_count: Whether values are whole numbers, 0 or more.
        locations: The places of the raw numbers that say where a value lies, in units of `scale` from `center`.
        moves_mean: Whether what moves the median moves the mean as far. Not where a mean is learnt alone: its errors
            have a median other than 0 where the data are skewed.
    """

    parameters: int
    loss_name: str
    is_probabilistic: bool
    is_count: bool
    locations: tuple[int, ...]
    moves_mean: bool

    def loss(self, raw, center, scale, unit, target) -> tf.Tensor:
        """The cost of each target, finite also where a target is missing and counts for nothing."""

    def mean(self, raw, center, scale) -> tf.Tensor:
        """The forecast of each target."""

    def quantiles(self, raw, center, scale, levels: Sequence[float]) -> tf.Tensor | None:
        """`(..., targets, levels)`, never crossing; None where the head knows of no uncertainty."""


class PointHead:
    """One number for each target.

    Args:
        error: "mae" |e|, "mse" e^2, or "huber" e^2 / 2 up to 1 and |e| - 1/2 beyond.
    """

    parameters = 1
    is_probabilistic = False
    is_count = False
    locations: tuple[int, ...] = (0,)

    def __init__(self, error: str = "mae"):
        self.loss_name, self._error = error, _ERRORS[error]
        self.moves_mean = error != "mse"

    def loss(self, raw, center, scale, unit, target):
        return self._error((target - self.mean(raw, center, scale)) / unit)

    def mean(self, raw, center, scale):
        return center + scale * raw[..., 0]

    def quantiles(self, raw, center, scale, levels):
        return None


class QuantileHead:
    """The quantiles at given levels, trained by the pinball loss (Koenker and Bassett, 1978, https://doi.org/10.2307/1913643).

        loss = mean over levels q of 2 max(q e, (q - 1) e),  e = target - quantile

    which for the middle alone is |e|.

    Args:
        levels: In (0, 1), rising, 0.5 among them.
    """

    loss_name = "pinball"
    is_probabilistic = True
    is_count = False
    moves_mean = True

    def __init__(self, levels: Sequence[float] = LEVELS):
        self.levels, self.parameters = tuple(levels), len(levels)
        self.locations = tuple(range(len(levels)))

    def loss(self, raw, center, scale, unit, target):
        error = (target[..., tf.newaxis] - self._all(raw, center, scale)) / unit[..., tf.newaxis]
        levels = tf.constant(self.levels, raw.dtype)
        return tf.reduce_mean(2 * tf.maximum(levels * error, (levels - 1) * error), -1)

    def mean(self, raw, center, scale):
        return tf.sort(self._all(raw, center, scale), axis=-1)[..., self.levels.index(0.5)]

    def quantiles(self, raw, center, scale, levels):
        found = tf.sort(self._all(raw, center, scale), axis=-1)
        return tf.stack([self._between(found, level) for level in levels], -1)

    def _all(self, raw, center, scale):
        return center[..., tf.newaxis] + scale[..., tf.newaxis] * raw

    def _between(self, found, level):
        """On the straight line between the neighbouring levels; beyond the last, the last."""
        above = next((i for i, known in enumerate(self.levels) if known >= level), len(self.levels) - 1)
        if above == 0 or self.levels[above] <= level:
            return found[..., above]
        low, high = self.levels[above - 1], self.levels[above]
        share = (level - low) / (high - low)
        return (1 - share) * found[..., above - 1] + share * found[..., above]


class DistributionHead:
    """The parameters of a distribution, trained by its likelihood.

    Args:
        kind: "normal", "student_t", "negative_binomial" or "mixture".
    """

    loss_name = "nats"
    is_probabilistic = True
    moves_mean = True

    def __init__(self, kind: str = "normal"):
        self._kind = _DISTRIBUTIONS[kind]
        self.parameters = self._kind.parameters()
        self.locations = self._kind.locations
        self.is_count = kind == "negative_binomial"

    def distribution(self, raw, center, scale) -> Distribution:
        return self._kind.of(raw, center, scale)

    def loss(self, raw, center, scale, unit, target):
        nats = -self.distribution(raw, center, scale).log_prob(target)
        # A density is per unit.
        return nats if self.is_count else nats - tf.math.log(unit)

    def mean(self, raw, center, scale):
        return self.distribution(raw, center, scale).mean

    def quantiles(self, raw, center, scale, levels):
        found = self.distribution(raw, center, scale)
        return tf.stack([found.quantile(tf.constant(level, raw.dtype)) for level in levels], -1)


_ERRORS: dict[str, Callable] = {
    "mae": tf.abs,
    "mse": tf.square,
    "huber": lambda error: tf.where(tf.abs(error) < 1, 0.5 * tf.square(error), tf.abs(error) - 0.5),
}
_DISTRIBUTIONS: dict[str, Any] = {
    "normal": distributions.Normal,
    "student_t": distributions.StudentT,
    "negative_binomial": distributions.NegativeBinomial,
    "mixture": distributions.Mixture,
}
KINDS = ("quantiles", *_DISTRIBUTIONS, *_ERRORS)


def head(kind: str) -> Head:
    """The head of a name.

    Raises:
        ValueError: It is none of `KINDS`.
    """
    if kind == "quantiles":
        return QuantileHead()
    if kind in _DISTRIBUTIONS:
        return DistributionHead(kind)
    if kind in _ERRORS:
        return PointHead(kind)
    raise ValueError(f"head is {kind!r}: wanted one of {', '.join(KINDS)}")
