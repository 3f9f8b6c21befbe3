"""The numeric core of an exported endpoint: numbers in, numbers out, weights as constants.

Other run times have no strings and no lookup tables. What an endpoint makes of its strings before the network is left
to the caller: `series` becomes the row of the series in the table of the export, `image_bytes` the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # has no public name

from rnnapps.errors import UsageError
from rnnapps.portable.replay import LOOPS, Replay, shaped
from rnnapps.serving.saved_model import load_endpoints

Arrays = dict[str, np.ndarray]

# What takes the place of a string is named after it, and after what it is where that has another name.
_NAMES = {"image_bytes": "pixels"}
_NO_CUT = ("Shape", "Size", *LOOPS)


@dataclass(frozen=True)
class Core:
    """Numbers to numbers.

    Attributes:
        name: Of the endpoint.
        inputs: By name.
        outputs: Their names, in the order of `function`'s.
        function: Concrete, of keyword arguments.
        cut: Names of inputs that stand where the endpoint has strings.
        signature: The endpoint itself.
        rewrite: The same as `function`, for a graph that is being traced: from inputs by name, and from what takes the
            place of some of `constants`, to outputs by name.
        constants: Float32 matrices among the weights, by the names that `rewrite` knows them by.
    """

    name: str
    inputs: dict[str, tf.TensorSpec]
    outputs: list[str]
    function: Any
    cut: tuple[str, ...]
    signature: Any
    rewrite: Callable[[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]
    constants: Arrays

    def ask(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """What TensorFlow answers: the endpoint as it was exported, where it takes numbers."""
        ask = self.function if self.cut else self.signature
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in ask(**tensors).items()}

    def example(self, rows: int, places: int, seed: int = 0) -> Arrays:
        """Random inputs: `rows` requests, `places` where a length is free; each mask has a place at least."""
        rng = np.random.default_rng(seed)
        logits = self.function.structured_outputs.get("logits")
        ids = 2 if logits is None else logits.shape[-1]
        found = {}
        for name, spec in self.inputs.items():
            shape = [rows, *(places if size is None else size for size in spec.shape[1:])]
            value: np.ndarray
            if spec.dtype == tf.bool:
                value = np.arange(places) < rng.integers(1, places + 1, (rows, 1))
            elif spec.dtype.is_integer:
                # A row of a table may be none, -1; there is a row 0.
                low, high = (-1, 1) if name in self.cut else (0, ids if name.startswith("token") else 2)
                value = rng.integers(low, high, shape)
            else:
                value = rng.uniform(-1, 1, shape)
            found[name] = np.broadcast_to(value, shape).astype(spec.dtype.as_numpy_dtype)
        return found


def numeric_cores(path: Path, names: tuple[str, ...] = ()) -> dict[str, Core]:
    """The numeric cores of an export, by endpoint.

    Args:
        path: As `version_folder` gives it.
        names: Of endpoints. Default: all that have a core.

    Raises:
        UsageError: An endpoint is not there, or has no core; or none has.
        RunError: The export is damaged.
    """
    endpoints = load_endpoints(path)
    found = {}
    for name in names or endpoints:
        if name not in endpoints:
            raise UsageError(f"{path} has no endpoint {name!r}: wanted one of {', '.join(sorted(endpoints))}")
        try:
            found[name] = numeric_core(name, endpoints[name].function)
        except UsageError:
            if names:
                raise
    if not found:
        raise UsageError(f"{path} has no endpoint of numbers among {', '.join(sorted(endpoints))}")
    return found


def numeric_core(name: str, signature: Any) -> Core:
    """The core of a signature of a loaded SavedModel.

    Raises:
        UsageError: It has none: it gives text, or its strings are more than looked up.
    """
    texts = sorted(key for key, spec in signature.structured_outputs.items() if spec.dtype == tf.string)
    if texts:
        raise UsageError(f"endpoint {name!r} gives text ({', '.join(texts)}): wanted one that gives numbers")
    frozen = convert_variables_to_constants_v2(signature, lower_control_flow=False, aggressive_inlining=True)
    names = sorted(signature.structured_outputs)
    places, inputs, cut = {}, {}, []
    for tensor in frozen.inputs:
        if tensor.dtype == tf.resource:
            continue
        key, place = tensor.op.name, tensor if tensor.dtype != tf.string else _after_strings(tensor)
        if place is None:
            raise UsageError(f"endpoint {name!r} reads text ({key}): wanted one that takes numbers")
        if place is not tensor:
            key = _NAMES.get(key, key)
            cut.append(key)
        places[place.name] = key
        inputs[key] = tf.TensorSpec(tensor.shape if place.shape.rank is None else place.shape, place.dtype, name=key)
    replay = Replay(frozen.graph)
    left = replay.needed(frozen.outputs, set(places))
    if any(tensor.op.name in left for tensor in frozen.inputs if tensor.name not in places):
        raise UsageError(f"endpoint {name!r} does more with text than to look it up: wanted one that takes numbers")

    def rewrite(given: Mapping[str, tf.Tensor], swaps: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = replay(frozen.outputs, {place: given[key] for place, key in places.items()}, swaps)
        shapes = [signature.structured_outputs[key].shape for key in names]
        return {key: shaped(x, shape) for key, x, shape in zip(names, found, shapes, strict=True)}

    function = tf.function(lambda **given: rewrite(given, {}), autograph=False).get_concrete_function(**inputs)
    matrices = {
        operation.name: tf.get_static_value(operation.outputs[0])
        for operation in frozen.graph.get_operations()
        if operation.name in left and operation.type == "Const" and _is_matrix(operation.outputs[0])
    }
    return Core(name, inputs, names, function, tuple(cut), signature, rewrite, matrices)


def _is_matrix(tensor: tf.Tensor) -> bool:
    return tensor.dtype == tf.float32 and tensor.shape.rank == 2


def _after_strings(tensor: tf.Tensor) -> tf.Tensor | None:
    """The first tensor of numbers that is made of the strings in `tensor`, their shape aside."""
    waiting = [tensor]
    while waiting:
        for operation in waiting.pop(0).consumers():
            for output in operation.outputs:
                if output.dtype in (tf.string, tf.variant):
                    waiting.append(output)
                elif operation.type not in _NO_CUT:
                    return output
    return None
