"""What an exported forecaster answers: raw values in, raw forecasts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps import forecasts
from rnnapps.ops.heads import LEVELS, DistributionHead, Head

NUM_PATHS = 100
UNITS = {
    "history": "values before the forecast, in the series' own units, oldest first; NaN where missing",
    "past": "further columns over the history; categories as codes (see the manifest), NaN where missing",
    "future": "columns known over history and horizon; categories as codes; NaN where missing, which makes the "
    "forecast NaN if it is in the horizon",
    "times": "time of each step of history and horizon, seconds since 1970 in UTC",
    "static": "columns with one value a series; categories as codes",
    "series": "name of the series; one that was not learnt is scaled by its own window",
    "mean": "forecast of each step and target, in the series' own units",
    "quantiles": f"quantiles {', '.join(map(str, LEVELS))} of each step and target, in the series' own units",
    "observation": "values of the next step, in the series' own units; NaN where missing",
    "window": "the history so far, oldest first; all NaN is a cold start",
    "seed": "one seed, one set of paths",
    "paths": f"{NUM_PATHS} futures, each step given those before, in the series' own units",
}


class SeriesEndpoints(tf.Module):
    """`serving_default` forecasts; `step` takes one step at a time; `paths`, if the network is autoregressive, draws.

    Args:
        network: As `rnnapps.models.forecaster` builds it.
        head: What its numbers mean.
        series: Names of the series that were learnt, in order.
        offsets: As in `rnnapps.forecasts.answers`.
    """

    def __init__(self, network: keras.Model, head: Head, series: Sequence[str], offsets: np.ndarray | None = None):
        super().__init__(name="series_endpoints")
        # A saved module restores the variables that it holds; Keras' own, if the model were held, would hide them.
        self.model_variables = [variable.value for variable in network.variables]
        rows = tf.lookup.KeyValueTensorInitializer(tf.constant(list(series)), tf.range(len(series), dtype=tf.int64))
        self.table = tf.lookup.StaticHashTable(rows, default_value=-1)
        self._inputs = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), tf.string if name == "series" else tensor.dtype, name=name)
            for name, tensor in network.input.items()
            if name != "ahead"
        }
        self._functions = {"serving_default": _serving_default(network, head, self.table, self._inputs, offsets)}
        self._functions["step"] = _step(self._functions["serving_default"], self._inputs)
        if isinstance(head, DistributionHead) and forecasts.is_autoregressive(network):
            self._functions["paths"] = _paths(network, head, self.table, self._inputs)

    def endpoints(self) -> dict[str, Any]:
        """Returns the functions by the names under which they are served."""
        return dict(self._functions)

    def units(self) -> dict[str, str]:
        """Returns what inputs and outputs mean, by name."""
        return UNITS

    def warmup(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns one small request for each endpoint, which a server answers before it takes others."""
        inputs = {name: _zeros(spec) for name, spec in self._inputs.items()}
        others = {name: value for name, value in inputs.items() if name != "history"}
        requests = {
            "serving_default": inputs,
            "step": {"observation": inputs["history"][:, 0], "window": inputs["history"], **others},
            "paths": {**inputs, "seed": np.zeros(1, np.int32)},
        }
        return [(name, requests[name]) for name in self._functions]


def _zeros(spec: tf.TensorSpec) -> np.ndarray:
    shape = (1, *spec.shape[1:])
    return np.full(shape, b"", object) if spec.dtype == tf.string else np.zeros(shape, spec.dtype.as_numpy_dtype)


def _serving_default(
    network: keras.Model, head: Head, table: Any, specs: dict[str, tf.TensorSpec], offsets: np.ndarray | None
) -> Any:
    horizon = network.output["raw"].shape[1]

    def forecast(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The horizon after each history. Rows of a batch do not change each other's forecast."""
        found = forecasts.answers(network, head, _numbered(inputs, table), offsets)
        del found["scale"]
        if "future" not in inputs:
            return found
        # A forecast that is made without what it has to know would look like any other.
        unknown = tf.reduce_any(tf.math.is_nan(inputs["future"][:, -horizon:]), axis=[1, 2])
        return {
            name: tf.where(tf.reshape(unknown, [-1] + [1] * (len(x.shape) - 1)), tf.constant(float("nan")), x)
            for name, x in found.items()
        }

    return tf.function(forecast, input_signature=[specs], autograph=False)


def _step(forecast: Any, specs: dict[str, tf.TensorSpec]) -> Any:
    history = specs["history"]

    def step(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Takes one more step in, and forecasts from there; what else is read is that of the window after the step."""
        others = {name: value for name, value in inputs.items() if name in specs}
        window = tf.concat([inputs["window"][:, 1:], inputs["observation"][:, tf.newaxis]], axis=1)
        return {**forecast({**others, "history": window}), "window": window}

    asked = {name: spec for name, spec in specs.items() if name != "history"}
    asked["observation"] = tf.TensorSpec((None, history.shape[-1]), tf.float32, name="observation")
    asked["window"] = tf.TensorSpec(history.shape, tf.float32, name="window")
    return tf.function(step, input_signature=[asked], autograph=False)


def _paths(network: keras.Model, head: DistributionHead, table: Any, specs: dict[str, tf.TensorSpec]) -> Any:
    def paths(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Futures after each history. A row's paths depend on its seed, and on no other row."""
        drawn = forecasts.paths(network, head, _numbered(inputs, table), inputs["seed"], NUM_PATHS)
        return {"paths": drawn["paths"]}

    asked = {**specs, "seed": tf.TensorSpec((None,), tf.int32, name="seed")}
    return tf.function(paths, input_signature=[asked], autograph=False)


def _numbered(inputs: dict[str, tf.Tensor], table: Any) -> dict[str, tf.Tensor]:
    """The inputs with the series as rows of the network's tables."""
    return {**inputs, "series": tf.cast(table.lookup(inputs["series"]), tf.int32)}
