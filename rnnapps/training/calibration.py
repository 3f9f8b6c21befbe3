"""Bands that hold: quantiles moved by how far they were off on windows that training has not learnt."""

import keras
import numpy as np
import tensorflow as tf

from rnnapps.forecasts import answers
from rnnapps.ops.heads import LEVELS, Head


def calibrate(network: keras.Model, head: Head, batches: tf.data.Dataset) -> np.ndarray:
    """Measures how far quantiles have to move to hold on windows that training has not learnt (split conformal).

    For each step, target and level q: the q-quantile over the windows of (value - forecast of level q) / scale of the
    window, which, added, leaves the share q of the values below. It is counted so that a new value exchangeable with
    these is below an upper level with at least that probability, and above a lower one likewise. A head without
    quantiles gets them around its mean.

    Romano et al., 2019, https://arxiv.org/abs/1905.03222 (the two tails apart); Vovk et al., 2005.

    Args:
        network, head: As in `rnnapps.forecasts.loss`.
        batches: Of windows, as `rnnapps.data.series.windows` gives them.

    Returns:
        `(horizon, targets, levels)`, for `rnnapps.forecasts.answers`; 0 where no value was there.
    """
    ask, off = tf.function(lambda inputs: answers(network, head, inputs), autograph=False), []
    for inputs, targets in batches:
        found = ask(inputs)
        said = found["quantiles"] if "quantiles" in found else found["mean"][..., tf.newaxis]
        error = (targets[..., tf.newaxis] - said) / found["scale"][:, tf.newaxis, :, tf.newaxis]
        off.append(error.numpy())
    errors = np.sort(np.concatenate(off), axis=0)  # what is missing goes to the end
    count = (~np.isnan(errors)).sum(0)
    offsets = np.zeros((*errors.shape[1:3], len(LEVELS)), np.float32)
    for i, level in enumerate(LEVELS):
        column = i if errors.shape[-1] > 1 else 0
        n = count[..., column]
        rank = np.ceil((n + 1) * level) if level >= 0.5 else np.floor((n + 1) * level)
        place = np.clip(rank - 1, 0, np.maximum(n - 1, 0)).astype(int)
        offsets[..., i] = np.take_along_axis(errors[..., column], place[np.newaxis], axis=0)[0]
    return np.nan_to_num(offsets)
