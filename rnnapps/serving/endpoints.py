"""What is served of a model: functions with a signature, and what no server can keep to is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from rnnapps.errors import RunError

Request = tuple[str, Mapping[str, Any]]

# Rows of a request that a server joins, as `batching_params.pbtxt` says; of the XLA form fewer, each is compiled.
BATCH_SIZES, XLA_BATCH_SIZES = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8)


class Endpoints(tf.Module):
    """The endpoints of a model, ready for `export.write_saved_model`; a subclass fills `functions`.

    Args:
        name: Of the module.
        models: Keras models that the functions call.
        xla: Whether `compiled` functions are compiled by XLA, once for each batch size and length.

    Attributes:
        functions: By the names under which they are served: a `tf.function` with an input signature each, which
            returns a dict of tensors.
        xla: As given.

    Raises:
        RunError: A model cannot be served, see `check_model`.
    """

    UNITS: ClassVar[Mapping[str, str]] = {}
    """Name of an input or output to its unit or meaning."""
    TAKES_PADDING: ClassVar[bool] = False
    """Whether a shorter row of numbers may be filled up with anything, as its endpoints know where it ends."""

    def __init__(self, name: str, models: Sequence[keras.Model], xla: bool = False):
        super().__init__(name=name)
        for model in models:
            check_model(model)
        # A saved module restores the variables that it holds; a model itself stays out, since Keras would be needed.
        self.model_variables = [variable.value for model in models for variable in model.variables]
        self.xla = xla
        self.functions: dict[str, Any] = {}

    def endpoints(self) -> dict[str, Any]:
        """Returns the functions by the names under which they are served."""
        return dict(self.functions)

    def units(self) -> Mapping[str, str]:
        """Returns what inputs and outputs mean, by name."""
        return self.UNITS

    def examples(self) -> list[Request]:
        """Returns requests of one row, two or more for each endpoint; of different lengths where it takes those.

        The first is of `serving_default`, and a person can read it. With `xla` there is one for each length that
        functions are compiled for.
        """
        raise NotImplementedError

    def warmup(self) -> list[Request]:
        """Returns the requests that a server answers before it takes others: with `xla` for each batch size."""
        if not self.xla:
            return self.examples()
        return [(key, repeated(inputs, rows)) for rows in XLA_BATCH_SIZES for key, inputs in self.examples()]

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of tensors of numbers, with `xla` as a program of its own."""
        return tf.function(function, jit_compile=True, autograph=False) if self.xla else function


def with_equal_rows(key: str, function: Any) -> Any:
    """An endpoint that refuses, by name, inputs of which some have more rows than others.

    TensorFlow would stretch a single row over many, or leave out what is too many, without a word.

    Args:
        key: The endpoint's name.
        function: A `tf.function` with an input signature, whose inputs have one row for each request.

    Returns:
        The same, but for `tf.errors.InvalidArgumentError`; with a single input the function itself.
    """
    signature = function.input_signature
    names = [spec.name for spec in tf.nest.flatten(signature)]
    if len(names) < 2:
        return function

    def checked(*inputs: Any) -> dict[str, tf.Tensor]:
        tensors = tf.nest.flatten(inputs)
        counts = [tf.shape(tensor)[0] for tensor in tensors]
        message = f"the inputs of {key} must have as many rows as each other, and have"
        told = [part for name, count in zip(names, counts, strict=True) for part in (name, count)]
        agree = tf.debugging.Assert(tf.reduce_all(tf.stack(counts) == counts[0]), [message, *told], 2 * len(names) + 1)
        with tf.control_dependencies([agree]):
            same = [tf.identity(tensor) for tensor in tensors]
        return function(*tf.nest.pack_sequence_as(inputs, same))

    return tf.function(checked, input_signature=signature, autograph=False)


def repeated(inputs: Mapping[str, Any], rows: int) -> dict[str, np.ndarray]:
    """A request of one row as one of so many equal rows."""
    return {name: np.repeat(value, rows, axis=0) for name, value in inputs.items()}


def bucket(length: tf.Tensor, buckets: Sequence[int], larger: int) -> tf.Tensor:
    """The first of `buckets` that holds a length, or the next multiple of `larger`: few lengths, few programs."""
    room = tf.constant(buckets)
    fitting = tf.reduce_min(tf.where(room >= length, room, room.dtype.max))
    return tf.minimum(fitting, (length + larger - 1) // larger * larger)


def check_model(model: keras.Model) -> None:
    """Refuses what does not give the same answer to the same request in a server.

    Raises:
        RunError: A layer keeps states between requests, or is a `TimeDistributed` over an unknown number of steps,
            of which Keras 3.15 makes a loop over rows.
    """
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False):
            raise RunError(
                f"layer {layer.name!r} has stateful=True, so that one request would change the answer to the next: "
                "wanted states as inputs and outputs of the model"
            )
        if isinstance(layer, keras.layers.TimeDistributed) and _steps(layer) is None:
            raise RunError(
                f"layer {layer.name!r} is a TimeDistributed over an unknown number of steps, for which Keras gives "
                "wrong numbers in a graph: wanted the inner layer itself, or a fixed number of steps"
            )


def _steps(layer: keras.Layer) -> int | None:
    try:
        steps: int | None = keras.tree.flatten(layer.input)[0].shape[1]
    except AttributeError:  # a part of a subclassed model, which has no graph to ask
        return None
    return steps
