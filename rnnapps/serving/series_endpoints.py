"""What an exported forecaster answers: raw values in, raw forecasts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.ops.heads import LEVELS, Head, answers

UNITS = {
    "history": "values before the forecast, in the series' own units, oldest first; NaN where missing",
    "past": "further columns over the history; categories as codes (see the manifest), NaN where missing",
    "future": "columns known over history and horizon; categories as codes, NaN where missing",
    "times": "time of each step of history and horizon, seconds since 1970 in UTC",
    "static": "columns with one value a series; categories as codes",
    "series": "name of the series; one that was not learnt is scaled by its own window",
    "mean": "forecast of each step and target, in the series' own units",
    "quantiles": f"quantiles {', '.join(map(str, LEVELS))} of each step and target, in the series' own units",
    "observation": "values of the next step, in the series' own units; NaN where missing",
    "window": "the history so far, oldest first; all NaN is a cold start",
}


class SeriesEndpoints(tf.Module):
    """`serving_default` forecasts; `step`, of a network that reads nothing but its targets, takes one step at a time.

    Args:
        network: As `rnnapps.models.forecaster` builds it.
        head: What its numbers mean.
        series: Names of the series that were learnt, in order.
    """

    def __init__(self, network: keras.Model, head: Head, series: Sequence[str]):
        super().__init__(name="series_endpoints")
        self.network = network
        keys = tf.constant(list(series))
        rows = tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(series), dtype=tf.int64))
        self.table = tf.lookup.StaticHashTable(rows, default_value=-1)
        self._inputs = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), tf.string if name == "series" else tensor.dtype, name=name)
            for name, tensor in network.input.items()
        }
        self.serving_default = _serving_default(network, head, self.table, self._inputs)
        self.step = _step(self.serving_default, self._inputs) if set(self._inputs) == {"history", "series"} else None

    def endpoints(self) -> dict[str, Any]:
        """Returns the functions by the names under which they are served."""
        return {"serving_default": self.serving_default, **({"step": self.step} if self.step is not None else {})}

    def units(self) -> dict[str, str]:
        """Returns what inputs and outputs mean, by name."""
        return UNITS

    def warmup(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns one small request for each endpoint, which a server answers before it takes others."""
        inputs = {name: _zeros(spec) for name, spec in self._inputs.items()}
        found = [("serving_default", inputs)]
        if self.step is not None:
            history = inputs["history"]
            found.append(("step", {"observation": history[:, 0], "window": history, "series": inputs["series"]}))
        return found


def _zeros(spec: tf.TensorSpec) -> np.ndarray:
    shape = (1, *spec.shape[1:])
    return np.full(shape, b"", object) if spec.dtype == tf.string else np.zeros(shape, spec.dtype.as_numpy_dtype)


def _serving_default(network: keras.Model, head: Head, table: Any, specs: dict[str, tf.TensorSpec]) -> Any:
    def forecast(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The horizon after each history. Rows of a batch do not change each other's forecast."""
        rows = tf.cast(table.lookup(inputs["series"]), tf.int32)
        return answers(head, network({**inputs, "series": rows}, training=False))

    return tf.function(forecast, input_signature=[specs], autograph=False)


def _step(forecast: Any, specs: dict[str, tf.TensorSpec]) -> Any:
    history = specs["history"]

    def step(observation: tf.Tensor, window: tf.Tensor, series: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one more step in, and forecasts from there."""
        window = tf.concat([window[:, 1:], observation[:, tf.newaxis]], axis=1)
        return {**forecast({"history": window, "series": series}), "window": window}

    observation = tf.TensorSpec((None, history.shape[-1]), tf.float32, name="observation")
    window = tf.TensorSpec(history.shape, tf.float32, name="window")
    return tf.function(step, input_signature=[observation, window, specs["series"]], autograph=False)
