"""Forecasts of a part of a panel, beside what they have to beat."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.panel import Panel
from rnnapps.data.series import windows
from rnnapps.ops.heads import LEVELS, Head, answers
from rnnapps.training.series_baselines import Linear, drift, persistence, season, seasonal_naive
from rnnapps.training.series_scores import Scores
from rnnapps.training.window_trainer import run, window_loss

_BATCH = 256
_Window = tuple[np.ndarray, np.ndarray, np.ndarray]
OURS = "rnnapps"
LINEAR = "linear model"


class Forecaster:
    """A network with the meaning of its numbers.

    Args:
        network: As `rnnapps.models.forecaster` builds it.
        head: What its numbers mean.
    """

    def __init__(self, network: keras.Model, head: Head):
        self.network, self.head = network, head
        self._forecast = tf.function(lambda inputs: answers(head, run(network, inputs)))
        self._loss = tf.function(lambda inputs, targets: window_loss(head, run(network, inputs), targets))

    def forecast(self, inputs):
        """Mean `(windows, horizon, targets)`, and quantiles at `LEVELS` or None, in the series' own units."""
        found = self._forecast(inputs)
        return found["mean"].numpy(), found["quantiles"].numpy() if "quantiles" in found else None

    def loss(self, panel: Panel, part: str, history: int, horizon: int, every: int = 1) -> float:
        """The mean loss over the windows of a part, each value counting the same."""
        total = count = 0.0
        for inputs, targets in windows(panel, part, history, horizon, _BATCH, every=every):
            values = float(tf.reduce_sum(tf.cast(~tf.math.is_nan(targets), tf.float32)))
            total += values * float(self._loss(inputs, targets))
            count += values
        return total / max(count, 1.0)


def compare(
    forecaster: Forecaster, panel: Panel, part: str, history: int, horizon: int, every: int = 1
) -> dict[str, Scores]:
    """Scores of the network and of all baselines over the same windows; the network's come first."""
    names = panel.layout.targets
    length = season(panel.grid.seconds, panel.grid.period or panel.grid.frequency)
    unit, naive = panel.scale[:, : len(names)], _season_error(panel, length)
    linear = Linear().fit(_windows_of_training(panel, history, horizon))
    found = {OURS: Scores(horizon, names, LEVELS if forecaster.head.is_probabilistic else ())}
    baselines: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"last value": persistence}
    if 1 < length <= history:
        baselines[f"last season ({length} steps)"] = seasonal_naive(length)
    baselines["line through the window"] = drift
    for name in (*baselines, LINEAR):
        found[name] = Scores(horizon, names)
    for inputs, targets in windows(panel, part, history, horizon, _BATCH, every=every).as_numpy_iterator():
        series = inputs["series"]
        shared = targets, unit[series], naive[series]
        mean, quantiles = forecaster.forecast(inputs)
        found[OURS].add(mean, *shared, quantiles)
        for name, baseline in baselines.items():
            found[name].add(baseline(inputs["history"], horizon), *shared)
        found[LINEAR].add(linear(inputs["history"], unit[series]), *shared)
    return found


def verdict(found: dict[str, Scores], figure: str = "mae") -> str:
    """One sentence: whether the network is better than the best baseline, and by how much."""
    ours = found[OURS].figures()[figure]
    others = {name: scores.figures()[figure] for name, scores in found.items() if name != OURS}
    best = min(others, key=lambda name: others[name])
    if others[best] == 0:
        return f"{best} makes no error at all: there is nothing to learn"
    gain = 1 - ours / others[best]
    word = "as good as" if abs(gain) < 0.005 else f"{abs(gain):.1%} {'better' if gain > 0 else 'WORSE'} than"
    beside = f"{figure} {ours:.4f} against {others[best]:.4f}"
    return f"{word} the {best}, the best of the simple forecasts ({beside})"


def _windows_of_training(panel: Panel, history: int, horizon: int) -> Iterator[_Window]:
    targets = len(panel.layout.targets)
    for inputs, came in windows(panel, "train", history, horizon, _BATCH).as_numpy_iterator():
        yield inputs["history"], came, panel.scale[inputs["series"], :targets]


def _season_error(panel: Panel, length: int) -> np.ndarray:
    """Mean errors of the seasonal naive forecast in the training parts, `(series, targets)`; 1 where there is none."""
    targets = len(panel.layout.targets)
    found = np.ones((len(panel.series), targets))
    for i, one in enumerate(panel.series):
        learnt = panel.values[one.start : one.start + one.train_end, :targets].astype(np.float64)
        error = np.abs(learnt[length:] - learnt[:-length]) if len(learnt) > length else learnt[:0]
        count = (~np.isnan(error)).sum(0)
        mean = np.nansum(error, 0) / np.maximum(count, 1)
        found[i] = np.where((count > 0) & (mean > 0), mean, 1.0)
    return found
