"""Bands that hold: quantiles moved by how far they were off on windows that training has not learnt."""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from rnnapps.forecasts import answers
from rnnapps.ops.distributions import StudentT
from rnnapps.ops.heads import LEVELS, Head

# From so many windows on, each level has a rank of its own among the errors of a step: (n + 1) q >= 1.
RANKED = math.ceil(1 / min(LEVELS)) - 1
_MEDIAN = LEVELS.index(0.5)
FEWEST = 3  # a spread of fewer windows than that says nothing


def calibrate(network: keras.Model, head: Head, batches: tf.data.Dataset) -> np.ndarray | None:
    """Measures how far quantiles have to move to hold on windows that training has not learnt.

    The errors of level q are (value - forecast of level q) / scale of the window; a head without quantiles gets them
    around its mean. `offsets` says what is made of them.

    Args:
        network, head: As in `rnnapps.forecasts.loss`.
        batches: Of windows, as `rnnapps.data.series.windows` gives them.

    Returns:
        `(horizon, targets, levels)`, for `rnnapps.forecasts.answers`; None where a target has values in fewer than
        `FEWEST` windows, of which nothing can be said.
    """
    ask, off = tf.function(lambda inputs: answers(network, head, inputs), autograph=False), []
    for inputs, targets in batches:
        found = ask(inputs)
        said = found["quantiles"] if "quantiles" in found else found["mean"][..., tf.newaxis]
        error = (targets[..., tf.newaxis] - said) / found["scale"][:, tf.newaxis, :, tf.newaxis]
        off.append(error.numpy())
    return offsets(np.concatenate(off))


def offsets(errors: np.ndarray) -> np.ndarray | None:
    """What, added to the forecast of level q, leaves the share q of the values below, for each level of `LEVELS`.

    Of a target with `RANKED` windows or more at each step: the q-quantile of the step's errors, counted so that a new
    value exchangeable with these is below an upper level with at least that probability, and above a lower one likewise
    (split conformal, Vovk et al., 2005; the two tails apart, Romano et al., 2019, https://arxiv.org/abs/1905.03222).

    Of a target with fewer, n, whose outer levels no rank reaches: as if errors were normal, and alike in all steps, the
    prediction interval of a new one, with mean m and deviation s over all steps: m + t_{n-1}(q) s sqrt(1 + 1 / n).
    Windows overlap, so n counts the windows and not the values.

    The median moves only where it was off by more than chance may have it: two standard errors, of n / horizon windows
    that have no step in common, and at least `FEWEST` of those. Else all levels stay around it, and of few
    windows what it was off widens them.

    Args:
        errors: `(windows, horizon, targets, levels)`, or 1 level for all; NaN where missing.

    Returns:
        `(horizon, targets, levels)` float32; None where a target has values in fewer than `FEWEST` windows.
    """
    there = ~np.isnan(errors[..., 0])
    windows = there.any(1).sum(0)  # (targets,)
    if windows.min() < FEWEST:
        return None
    errors = np.broadcast_to(errors, (*errors.shape[:-1], len(LEVELS))).astype(np.float64)
    is_few = there.sum(0).min(0) < RANKED  # (targets,)
    found = np.where(is_few[:, np.newaxis], _student(errors, windows), _ranked(errors))
    bias = found[..., _MEDIAN]
    apart = windows / errors.shape[1]
    chance = np.nanmean(np.nanvar(errors[..., _MEDIAN], 0), 0) / apart
    stays = (np.mean(bias**2, 0) <= 4 * chance) | (apart < FEWEST)
    around = _student(errors, windows, widened=True) if stays.any() else found
    around = np.where(is_few[:, np.newaxis], around, found)
    around = around - around[..., _MEDIAN, np.newaxis]
    return np.where(stays[:, np.newaxis], around, found).astype(np.float32)


def _ranked(errors: np.ndarray) -> np.ndarray:
    """`(horizon, targets, levels)`: of `offsets` with many windows."""
    count, ordered = (~np.isnan(errors)).sum(0), np.sort(errors, axis=0)  # what is missing goes to the end
    levels = np.array(LEVELS)
    rank = np.where(levels >= 0.5, np.ceil((count + 1) * levels), np.floor((count + 1) * levels))
    place = np.clip(rank - 1, 0, np.maximum(count - 1, 0)).astype(int)
    return np.take_along_axis(ordered, place[np.newaxis], axis=0)[0]


def _student(errors: np.ndarray, windows: np.ndarray, widened: bool = False) -> np.ndarray:
    """`(horizon, targets, levels)`: of `offsets` with few windows; `widened` by what the median was off."""
    mean, deviation = np.nanmean(errors, (0, 1)), np.nanstd(errors, (0, 1), ddof=1)
    if widened:
        deviation = np.hypot(deviation, mean[:, _MEDIAN, np.newaxis])
    spread = np.array([_student_levels(int(count)) for count in windows])
    found = mean + spread * deviation * np.sqrt(1 + 1 / windows)[:, np.newaxis]
    return np.broadcast_to(found, errors.shape[1:])


@functools.cache
def _student_levels(windows: int) -> list[float]:
    """The quantiles at `LEVELS` of Student's t with a degree of freedom less than there are windows."""
    one = StudentT(*(tf.constant(value) for value in (0.0, 1.0, windows - 1.0)))
    return [float(one.quantile(tf.constant(level))) if level != 0.5 else 0.0 for level in LEVELS]
