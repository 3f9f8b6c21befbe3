"""What a Keras model of any kind is called with: its inputs by name, as its graph or as examples tell them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.errors import RunError

Example = Mapping[str, Any]

# How Keras names an input that nobody named.
_NO_NAME = "keras_tensor"


class ModelInputs:
    """The inputs of a model, the requests that were given as arrays of their dtypes, and the call from a dict of them.

    A functional or Sequential model tells its inputs itself. A subclassed one, or one without a known input, takes them
    from the examples: by the names of the parameters of its `call`, or else as one dict. It is then called once, which
    builds it.

    Args:
        model: A Keras model.
        examples: Requests of one row, two or more: a dict of arrays by the names of the inputs, or one array where
            there is one input. An input without a name is called as it is in the examples, and else "input".

    Attributes:
        specs: By name, `tf.TensorSpec` with any number of rows.
        examples: As given, by name, each in the dtype of its input.
        call: From a dict of tensors to what the model answers in inference.

    Raises:
        RunError: The model is none, or an example does not fit it.
    """

    def __init__(self, model: keras.Model, examples: Sequence[Example | np.ndarray]) -> None:
        if not isinstance(model, keras.Model):
            raise RunError(f"model must be a keras.Model, not {type(model).__name__}: wrap a layer in one")
        self._model = model
        given = _by_name(examples)
        graph = _graph_inputs(model)
        self.call: Callable[[Mapping[str, tf.Tensor]], Any]
        if graph is None:
            self.specs = _specs_of_examples(given, _float_dtype(model))
            self.call = self._call_of_class()
        else:
            self.specs = _specs_of_graph(graph, given)
            names = list(self.specs)
            self.call = lambda tensors: model(
                keras.tree.pack_sequence_as(graph, [tensors[name] for name in names]), training=False
            )
        self.examples = [self._fitted(example) for example in given]
        if len(given) < 2:
            raise RunError(
                "examples must be two or more requests of one row each, not 1: they are tried in a batch too"
            )
        if graph is None:
            _call_once(self.call, self.examples[0])

    def _call_of_class(self) -> Callable[[Mapping[str, tf.Tensor]], Any]:
        parameters = inspect.signature(self._model.call).parameters
        if isinstance(self._model, keras.Sequential) and len(self.specs) == 1:
            return lambda tensors: self._model(next(iter(tensors.values())), training=False)
        if set(self.specs) <= set(parameters):
            return lambda tensors: self._model(**tensors, training=False)
        return lambda tensors: self._model(dict(tensors), training=False)

    def _fitted(self, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """An example in the dtypes of the inputs."""
        names = {next(iter(self.specs)) if name is None else name: value for name, value in example.items()}
        if set(names) != set(self.specs):
            raise RunError(f"an example has {sorted(names)}: wanted {sorted(self.specs)}, the inputs of the model")
        return {name: _array(name, value, self.specs[name]) for name, value in names.items()}


def _by_name(examples: Any) -> list[dict[Any, Any]]:
    """Each example as a dict; None is the name of one that has none."""
    if isinstance(examples, (Mapping, np.ndarray, tf.Tensor)) or not isinstance(examples, Sequence):
        raise RunError(f"examples must be a list of requests of one row each, not one {type(examples).__name__}")
    if not examples:
        raise RunError("examples must be two or more requests of one row each, not none")
    return [dict(one) if isinstance(one, Mapping) else {None: one} for one in examples]


def _graph_inputs(model: keras.Model) -> Any:
    """The structure of the symbolic inputs of a model; None where it has none."""
    try:
        inputs = model.inputs
    except AttributeError:  # a subclassed model, or a Sequential one that was not called yet
        return None
    if not inputs:
        return None
    # A Sequential model has its one input, but says that it was not called.
    return inputs[0] if isinstance(model, keras.Sequential) else model.input


def _specs_of_graph(graph: Any, given: Sequence[Mapping[Any, Any]]) -> dict[str, tf.TensorSpec]:
    inputs = keras.tree.flatten(graph)
    names = [tensor.name for tensor in inputs]
    if len(inputs) == 1 and names[0].startswith(_NO_NAME):
        names = [next(iter(given[0])) or "input"] if len(given[0]) == 1 else ["input"]
    return {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in zip(names, inputs, strict=True)
    }


def _specs_of_examples(given: Sequence[Mapping[Any, Any]], floats: str) -> dict[str, tf.TensorSpec]:
    """Axes that differ between the examples, and the rows, are of any size; floats are as the model's."""
    specs = {}
    for key in given[0]:
        arrays = [np.asarray(example[key]) for example in given if key in example]
        if len({array.ndim for array in arrays}) > 1 or not arrays[0].ndim:
            raise RunError(f"input {key or 'input'!r} has examples of the shapes {[a.shape for a in arrays]}")
        sizes = [set(axis) for axis in zip(*(array.shape[1:] for array in arrays), strict=True)]
        shape = [None, *(size.pop() if len(size) == 1 else None for size in sizes)]
        dtype = floats if arrays[0].dtype.kind == "f" else arrays[0].dtype
        specs[key or "input"] = tf.TensorSpec(shape, dtype, name=key or "input")
    return specs


def _float_dtype(model: keras.Model) -> str:
    return "float64" if model.variable_dtype == "float64" else "float32"


def _array(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
    array, wanted = np.asarray(value), spec.dtype.as_numpy_dtype
    if spec.dtype != tf.string and not np.can_cast(array.dtype, wanted, casting="same_kind"):
        raise RunError(f"input {name!r} has an example of {array.dtype}: wanted {spec.dtype.name}")
    if not spec.shape.is_compatible_with(array.shape) or array.shape[0] != 1:
        wanted_shape = (1, *("any" if size is None else size for size in spec.shape[1:]))
        raise RunError(f"input {name!r} has an example of the shape {array.shape}: wanted {wanted_shape}, one row")
    return array if spec.dtype == tf.string else array.astype(wanted)


def _call_once(call: Callable[[Mapping[str, tf.Tensor]], Any], example: Mapping[str, np.ndarray]) -> None:
    """Builds a model that was never called: a function that is traced may make no variables."""
    try:
        call({name: tf.constant(value) for name, value in example.items()})
    except (TypeError, ValueError, KeyError, tf.errors.InvalidArgumentError) as error:
        first = str(error).strip().partition("\n")[0]
        raise RunError(f"the model cannot be called with the first example, {sorted(example)}: {first}") from error
