"""Bands that hold: quantiles moved by how far they were off on windows that training has not learnt."""

import math

import keras
import numpy as np
import tensorflow as tf

from rnnapps.forecasts import answers
from rnnapps.ops.distributions import StudentT
from rnnapps.ops.heads import LEVELS, Head

# From so many windows on, each level has a rank of its own among the errors of a step: (n + 1) q >= 1.
RANKED = math.ceil(1 / min(LEVELS)) - 1
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

    Of a step with `RANKED` windows or more: the q-quantile of its errors, counted so that a new value exchangeable with
    these is below an upper level with at least that probability, and above a lower one likewise (split conformal,
    Vovk et al., 2005; the two tails apart, Romano et al., 2019, https://arxiv.org/abs/1905.03222).

    Of a step with fewer, n, whose outer levels no rank reaches: as if errors were normal, and alike in all steps of a
    target, the prediction interval of a new one, with mean m and deviation s over all steps:
    m + t_{n-1}(q) s sqrt(1 + 1 / n). Windows overlap, so n counts the windows and not the values.

    Args:
        errors: `(windows, horizon, targets, levels)`, or 1 level for all; NaN where missing.

    Returns:
        `(horizon, targets, levels)` float32; None where a target has values in fewer than `FEWEST` windows.
    """
    count = (~np.isnan(errors[..., 0])).sum(0)  # (horizon, targets)
    windows = (~np.isnan(errors[..., 0])).any(1).sum(0)  # (targets,)
    if windows.min() < FEWEST:
        return None
    found = np.where(count[..., np.newaxis] < RANKED, _pooled(errors, windows), 0.0)
    ordered = np.sort(errors, axis=0)  # what is missing goes to the end
    for i, level in enumerate(LEVELS):
        column = i if errors.shape[-1] > 1 else 0
        rank = np.ceil((count + 1) * level) if level >= 0.5 else np.floor((count + 1) * level)
        place = np.clip(rank - 1, 0, np.maximum(count - 1, 0)).astype(int)
        ranked = np.take_along_axis(ordered[..., column], place[np.newaxis], axis=0)[0]
        found[..., i] = np.where(count < RANKED, found[..., i], ranked)
    return found.astype(np.float32)


def _pooled(errors: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """`(targets, levels)`: of `offsets` with few windows."""
    values = errors.astype(np.float64)
    mean, deviation = np.nanmean(values, (0, 1)), np.nanstd(values, (0, 1), ddof=1)
    freedom = tf.constant(windows - 1, tf.float32)
    spread = np.stack(
        [StudentT(tf.zeros_like(freedom), tf.ones_like(freedom), freedom).quantile(level) for level in LEVELS], -1
    )
    return mean + spread * (deviation * np.sqrt(1 + 1 / windows)[:, np.newaxis])
