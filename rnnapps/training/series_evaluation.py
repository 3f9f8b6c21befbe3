"""Forecasts of a part of a panel, beside what they have to beat."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.panel import Panel
from rnnapps.data.series import WindowIndex, windows
from rnnapps.errors import UsageError
from rnnapps.forecasts import answers
from rnnapps.ops.heads import LEVELS, Head
from rnnapps.training.series_baselines import Linear, drift, least_squares, persistence, seasonal_naive
from rnnapps.training.series_scores import Scores

_BATCH = 256
_LEARNT_WINDOWS = 200_000  # of the linear model, at most: more change nothing that shows
_Window = tuple[np.ndarray, np.ndarray, np.ndarray]
Forecast = Callable[[dict[str, np.ndarray]], Mapping[str, Any]]
OURS = "rnnapps"
LINEAR = "linear model"


def there(targets: tf.Tensor) -> tf.Tensor:
    """How many targets are not missing, float32."""
    return tf.reduce_sum(tf.cast(~tf.math.is_nan(targets), tf.float32))


def mean_loss(loss: Callable[..., tf.Tensor], jit_compile: bool = False) -> Callable[[Iterable[Any]], float | None]:
    """From a loss `(inputs, targets)`, the mean over the values of a batch, to that over batches, each value
    alike; None where no value is there."""
    compiled = tf.function(loss, autograph=False, jit_compile=jit_compile)

    def mean(batches: Iterable[Any]) -> float | None:
        total = count = 0.0
        for inputs, targets in batches:
            values = float(there(targets))
            total += values * float(compiled(inputs, targets))
            count += values
        return total / count if count else None

    return mean


def start_linear(network: keras.Model, batches: Iterable[Any]) -> None:
    """Sets the layer "linear" of a forecaster to the least squares of the scaled windows."""
    scaler = network.get_layer("targets")
    scale = tf.function(lambda inputs: scaler(inputs["history"], inputs["series"]))

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for inputs, targets in batches:
            x, _, center, size, _ = scale(inputs)
            yield x.numpy(), ((targets - center[:, tf.newaxis]) / size[:, tf.newaxis]).numpy()

    weights = least_squares(pairs())
    network.get_layer("linear").set_weights([weights[:-1], weights[-1]])


def forecaster(network: keras.Model, head: Head, offsets: np.ndarray | None = None) -> Forecast:
    """A network as `compare` asks it; arguments as in `rnnapps.forecasts.answers`."""
    ask = tf.function(lambda inputs: answers(network, head, inputs, offsets), autograph=False)
    return lambda inputs: {name: tensor.numpy() for name, tensor in ask(inputs).items()}


def compare(
    forecasters: dict[str, Forecast],
    panel: Panel,
    part: str,
    history: int,
    horizon: int,
    seasons: Sequence[int] = (),
    every: int = 1,
) -> dict[str, Scores]:
    """Scores of forecasters, and of all baselines, over the same windows.

    Args:
        forecasters: By name, `OURS` first: inputs of windows to `mean` and, if there are any, `quantiles`.
        panel, part, history, horizon, every: As in `rnnapps.data.series.windows`.
        seasons: Steps of each, the first of which is that of MASE. One for which a series does not reach back so far
            from all windows is left out, and no window with it.
    """
    names = panel.layout.targets
    unit, naive = panel.scale[:, : len(names)], _season_error(panel, seasons[0] if seasons else 1)

    def count(reach: int) -> int:
        return len(WindowIndex(panel, part, reach, horizon, every))

    # The last season may begin before the window does.
    seasons = [length for length in seasons if length > 1 and (length <= history or _fits(count, length, history))]
    reach = max([history, *seasons])
    linear = Linear().fit(_windows_of_training(panel, history, horizon))
    baselines: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"last value": persistence}
    baselines |= {f"last season ({length} steps)": seasonal_naive(length) for length in seasons}
    baselines["line through the window"] = drift
    found: dict[str, Scores] = {}
    for inputs, targets in windows(panel, part, reach, horizon, _BATCH, every=every).as_numpy_iterator():
        series, before = inputs["series"], inputs["history"]
        shared = targets, unit[series], naive[series]
        inputs = {name: _shortened(name, values, reach - history) for name, values in inputs.items()}
        said = {name: forecaster(inputs) for name, forecaster in forecasters.items()}
        for name, baseline in baselines.items():
            said[name] = {"mean": baseline(before if name.startswith("last season") else inputs["history"], horizon)}
        said[LINEAR] = {"mean": linear(inputs["history"], unit[series])}
        for name, one in said.items():
            if name not in found:
                found[name] = Scores(horizon, names, LEVELS if "quantiles" in one else ())
            found[name].add(np.asarray(one["mean"]), *shared, one.get("quantiles"))
    return found


def _fits(count: Callable[[int], int], length: int, history: int) -> bool:
    """Whether as many windows begin `length` steps into a series as do after `history`."""
    try:
        return count(length) == count(history)
    except UsageError:
        return False


def _shortened(name: str, values: np.ndarray, steps: int) -> np.ndarray:
    """An input without its first steps, if it has any."""
    return values if name in ("static", "series") else values[:, steps:]


def verdict(found: dict[str, Scores], figure: str = "mae") -> str:
    """One sentence: whether the network is better than the best baseline, and by how much."""
    if figure not in found[OURS].figures():
        return "no value is there to judge by"
    ours = found[OURS].figures()[figure]
    others = {name: scores.figures()[figure] for name, scores in found.items() if not name.startswith(OURS)}
    best = min(others, key=lambda name: others[name])
    if others[best] == 0:
        return f"{best} makes no error at all: there is nothing to learn"
    gain = 1 - ours / others[best]
    word = "as good as" if abs(gain) < 0.005 else f"{abs(gain):.1%} {'better' if gain > 0 else 'WORSE'} than"
    beside = f"{figure} {ours:.4f} against {others[best]:.4f}"
    return f"{word} the {best}, the best of the simple forecasts ({beside})"


def _windows_of_training(panel: Panel, history: int, horizon: int) -> Iterator[_Window]:
    targets = len(panel.layout.targets)
    every = max(1, len(WindowIndex(panel, "train", history, horizon)) // _LEARNT_WINDOWS)
    for inputs, came in windows(panel, "train", history, horizon, _BATCH, every=every).as_numpy_iterator():
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
