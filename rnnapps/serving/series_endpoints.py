"""What an exported forecaster answers: raw values in, raw forecasts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps import forecasts
from rnnapps.ops.heads import LEVELS, DistributionHead, Head
from rnnapps.serving.endpoints import Endpoints, Request

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


class SeriesEndpoints(Endpoints):
    """`serving_default` forecasts; `step` takes one step at a time; `paths`, if the network is autoregressive, draws.

    Args:
        network: As `rnnapps.models.forecaster` builds it.
        head: What its numbers mean.
        series: Names of the series that were learnt, in order.
        offsets: As in `rnnapps.forecasts.answers`.
        xla: Whether forecasts are compiled, once for each number of rows.
    """

    UNITS = UNITS

    def __init__(
        self,
        network: keras.Model,
        head: Head,
        series: Sequence[str],
        offsets: np.ndarray | None = None,
        xla: bool = False,
    ):
        super().__init__("series_endpoints", [network], xla)
        rows = tf.lookup.KeyValueTensorInitializer(tf.constant(list(series)), tf.range(len(series), dtype=tf.int64))
        self.table = tf.lookup.StaticHashTable(rows, default_value=-1)
        self._inputs = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), tf.string if name == "series" else tensor.dtype, name=name)
            for name, tensor in network.input.items()
            if name != "ahead"
        }
        self.functions = {"serving_default": self._forecast(network, head, offsets)}
        self.functions["step"] = self._step()
        if isinstance(head, DistributionHead) and forecasts.is_autoregressive(network):
            self.functions["paths"] = self._paths(network, head)

    def examples(self) -> list[Request]:
        """Returns requests of one row for each endpoint, as of `Endpoints`."""
        found: list[Request] = []
        for number in (1, 2):
            inputs = {name: example(spec, number) for name, spec in self._inputs.items()}
            others = {name: value for name, value in inputs.items() if name != "history"}
            requests = {
                "serving_default": inputs,
                "step": {"observation": inputs["history"][:, 0], "window": inputs["history"], **others},
                "paths": {**inputs, "seed": np.full(1, number, np.int32)},
            }
            found += [(name, requests[name]) for name in self.functions]
        return found

    def _forecast(self, network: keras.Model, head: Head, offsets: np.ndarray | None) -> Any:
        horizon = network.output["raw"].shape[1]

        def answer(numbers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            found = forecasts.answers(network, head, numbers, offsets)
            del found["scale"]
            if "future" not in numbers:
                return found
            # A forecast that is made without what it has to know would look like any other.
            unknown = tf.reduce_any(tf.math.is_nan(numbers["future"][:, -horizon:]), axis=[1, 2])
            return {
                name: tf.where(tf.reshape(unknown, [-1] + [1] * (len(x.shape) - 1)), tf.constant(float("nan")), x)
                for name, x in found.items()
            }

        answering = self.compiled(answer)

        def forecast(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            """The horizon after each history. Rows of a batch do not change each other's forecast."""
            return answering(self._numbered(inputs))

        return tf.function(forecast, input_signature=[self._inputs], autograph=False)

    def _step(self) -> Any:
        history = self._inputs["history"]
        forecast = self.functions["serving_default"]

        def step(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            """Takes one more step in, and forecasts from there; what else is read is that of the window after it."""
            others = {name: value for name, value in inputs.items() if name in self._inputs}
            window = tf.concat([inputs["window"][:, 1:], inputs["observation"][:, tf.newaxis]], axis=1)
            return {**forecast({**others, "history": window}), "window": window}

        asked = {name: spec for name, spec in self._inputs.items() if name != "history"}
        asked["observation"] = tf.TensorSpec((None, history.shape[-1]), tf.float32, name="observation")
        asked["window"] = tf.TensorSpec(history.shape, tf.float32, name="window")
        return tf.function(step, input_signature=[asked], autograph=False)

    def _paths(self, network: keras.Model, head: DistributionHead) -> Any:
        drawing = self.compiled(lambda numbers, seed: forecasts.paths(network, head, numbers, seed, NUM_PATHS)["paths"])

        def paths(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            """Futures after each history. A row's paths depend on its seed, and on no other row."""
            numbers = {name: value for name, value in self._numbered(inputs).items() if name != "seed"}
            return {"paths": drawing(numbers, inputs["seed"])}

        asked = {**self._inputs, "seed": tf.TensorSpec((None,), tf.int32, name="seed")}
        return tf.function(paths, input_signature=[asked], autograph=False)

    def _numbered(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The inputs with the series as rows of the network's tables."""
        return {**inputs, "series": tf.cast(self.table.lookup(inputs["series"]), tf.int32)}


def example(spec: tf.TensorSpec, number: int) -> np.ndarray:
    """A row of made-up values that a person can read: waves, zeros or names."""
    shape = (1, *spec.shape[1:])
    if spec.dtype == tf.string:
        return np.full(shape, b"", object)
    if not spec.dtype.is_floating:
        return np.zeros(shape, spec.dtype.as_numpy_dtype)
    # So that it is a day's, where steps are hours.
    waves = np.sin(2 * np.pi * number * np.arange(np.prod(shape)) / 24)
    return np.round(waves, 2).reshape(shape).astype(spec.dtype.as_numpy_dtype)
