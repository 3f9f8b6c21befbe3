"""A graph written once more, without lists of tensors, parts of rows, and what nobody asks for.

TensorFlow's loops keep what each step gives in a `TensorList`, which other run times do not know, or know only where
each shape is known beforehand. Here each list becomes one array, `(length, ...)`, and everything else stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph  # no public name does this

from rnnapps.errors import RunError
from rnnapps.portable.shards import uncut

LOOPS = ("While", "StatelessWhile")


@dataclass(frozen=True)
class _List:
    """A `TensorList` as an array; None until the first element shows how large one is."""

    array: tf.Tensor | None
    length: tf.Tensor
    element: tf.TensorShape
    dtype: tf.DType

    def allocated(self, shape: Any) -> tf.Tensor:
        return tf.zeros(tf.concat([[self.length], shape], 0), self.dtype) if self.array is None else self.array


class Replay:
    """Computes tensors of another graph in the graph that is being traced.

    Control edges are left out: the graph must be frozen, without variables and without effects.

    Args:
        graph: The other graph.
    """

    def __init__(self, graph: Any):
        self._graph = graph
        self._definitions = {one.signature.name: one for one in graph.as_graph_def().library.function}
        self._instead = uncut(graph)
        self._functions: dict[tuple[int, str], tuple[Any, Any]] = {}

    def __call__(
        self, outputs: Sequence[tf.Tensor], given: Mapping[str, Any], swaps: Mapping[str, tf.Tensor] | None = None
    ) -> list[Any]:
        """Computes the outputs.

        Args:
            outputs: Tensors of the other graph.
            given: Name of a tensor there to the tensor here that takes its place; what lies before it is left out.
            swaps: Name of a constant's operation there to what takes its place.

        Returns:
            The tensors here.

        Raises:
            RunError: The outputs want an input that is not given, or hold an operation with functions of its own.
        """
        values: dict[str, Any] = dict(given)
        needed = self.needed(outputs, set(given))
        for operation in outputs[0].graph.get_operations() if outputs else ():
            if operation.name not in needed:
                continue
            inputs = [values.get(self._real(tensor).name) for tensor in operation.inputs]
            if operation.type in LOOPS:
                found = self._loop(operation, inputs, sorted(needed[operation.name]))
            elif operation.type in _LISTS:
                found = {0: _LISTS[operation.type](operation, *inputs)}
            elif operation.type in ("Identity", "IdentityN"):  # of a list, too
                found = dict(enumerate(inputs))
            elif operation.type == "EnsureShape":
                found = {0: shaped(inputs[0], operation.outputs[0].shape)}
            elif _is_sign(operation):
                found = {0: _sign(values[self._real(operation.inputs[0].op.inputs[0]).name])}
            elif swaps and operation.name in swaps:
                found = {0: swaps[operation.name]}
            else:
                found = dict(enumerate(_copied(operation, inputs)))
            for i, value in found.items():
                values.setdefault(f"{operation.name}:{i}", value)  # what is given stays
        return [values[self._real(tensor).name] for tensor in outputs]

    def _real(self, tensor: tf.Tensor) -> tf.Tensor:
        while tensor.name in self._instead and tensor.graph is self._graph:
            tensor = self._instead[tensor.name]
        return tensor

    def needed(self, outputs: Sequence[tf.Tensor], given: set[str]) -> dict[str, set[int]]:
        """The operations that outputs come from, by name, and which of their outputs; of a loop, which variables."""
        needed: dict[str, set[int]] = {}
        wanted = list(outputs)
        while wanted:
            tensor = self._real(wanted.pop())
            operation = tensor.op
            seen = needed.get(operation.name, set())
            if tensor.name in given or tensor.value_index in seen:
                continue
            needed[operation.name] = seen | {tensor.value_index}
            if operation.type in LOOPS:
                needed[operation.name] = live = self._live(operation, needed[operation.name])
                wanted += [operation.inputs[i] for i in live - seen]
            elif not seen:
                wanted += list(operation.inputs)
        return needed

    def _live(self, operation: tf.Operation, wanted: set[int]) -> set[int]:
        """The variables of a loop that those in `wanted`, and its condition, depend on."""
        condition, body = self._parts(operation)
        live = wanted | self._inputs_of(condition, condition.outputs)
        while True:
            more = live | self._inputs_of(body, [body.outputs[i] for i in live])
            if more == live:
                return live
            live = more

    def _inputs_of(self, graph: Any, outputs: Sequence[tf.Tensor]) -> set[int]:
        needed = self.needed(outputs, set())
        return {i for i, tensor in enumerate(graph.inputs) if tensor.op.name in needed}

    def _parts(self, operation: tf.Operation) -> tuple[Any, Any]:
        """The condition and the body of a loop, as graphs."""
        key = id(operation.graph), operation.name
        if key not in self._functions:
            shapes = [tensor.shape for tensor in operation.outputs]
            names = [operation.get_attr(name).name for name in ("cond", "body")]
            with self._graph.as_default():  # which knows the functions that these call
                made = [function_def_to_graph(self._definitions[name], input_shapes=shapes) for name in names]
            self._functions[key] = made[0], made[1]
        return self._functions[key]

    def _loop(self, operation: tf.Operation, values: Sequence[Any], places: list[int]) -> dict[int, Any]:
        """The outputs of a loop, by their index, of the variables at `places`."""
        condition, body = self._parts(operation)
        starts = [values[place] for place in places]
        arrays = [_array(start, starts) if isinstance(start, _List) else start for start in starts]
        shapes = [
            tf.TensorShape([None, *start.element]) if isinstance(start, _List) else operation.outputs[place].shape
            for start, place in zip(starts, places, strict=True)
        ]

        def held(now: Sequence[tf.Tensor]) -> list[Any]:
            pairs = zip(starts, now, strict=True)
            return [replace(start, array=one) if isinstance(start, _List) else one for start, one in pairs]

        def run(graph: Any, now: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> list[Any]:
            names = [graph.inputs[place].name for place in places]
            found = self(outputs, dict(zip(names, held(now), strict=True)))
            return [one.array if isinstance(one, _List) else one for one in found]

        ends = tf.while_loop(
            lambda *now: run(condition, now, condition.outputs)[0],
            lambda *now: run(body, now, [body.outputs[place] for place in places]),
            arrays,
            shape_invariants=shapes,
        )
        return dict(zip(places, held(ends), strict=True))


def _array(items: _List, carried: Sequence[Any]) -> tf.Tensor:
    """The array of a list that a loop fills: a size that is not known before is the number of rows of its states."""
    if items.array is not None:
        return items.array
    states = [x for x in carried if not isinstance(x, _List) and x.shape.rank and x.shape[0] is None]
    if items.element.rank is None or (None in items.element.as_list() and not states):
        raise RunError(f"a loop of the graph keeps elements of shape {items.element}, which nothing tells")
    sizes = [tf.shape(states[0])[0] if size is None else size for size in items.element.as_list()]
    return shaped(items.allocated(tf.stack(sizes)), [None, *items.element])


def shaped(tensor: tf.Tensor, shape: Any) -> tf.Tensor:
    """The tensor with a static shape that is known to be right, without an operation that checks it."""
    tensor = tf.identity(tensor)
    tensor.set_shape(shape)
    return tensor


def _copied(operation: tf.Operation, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    attributes = operation.node_def.attr
    functions = [name for name, value in attributes.items() if value.WhichOneof("value") == "func"]
    if functions or operation.type == "Placeholder":
        raise RunError(f"the graph holds {operation.type} ({operation.name}), which cannot be written once more")
    copy = tf.compat.v1.get_default_graph().create_op(
        operation.type,
        inputs,
        [tensor.dtype for tensor in operation.outputs],
        # Names with an underscore say how the other graph was made: shapes, places, devices.
        attrs={name: value for name, value in attributes.items() if not name.startswith("_")},
    )
    return list(copy.outputs)


# === Signs ===


def _is_sign(operation: tf.Operation) -> bool:
    """Whether it asks for the highest bit of floats, as Keras' `argmax` does: no other run time has their bits."""
    if operation.type != "BitwiseAnd" or operation.inputs[0].op.type != "Bitcast":
        return False
    mask = tf.get_static_value(operation.inputs[1])
    return operation.inputs[0].op.inputs[0].dtype == tf.float32 and mask is not None and mask == tf.int32.min


def _sign(x: tf.Tensor) -> tf.Tensor:
    """The highest bit of floats, that of -0.0 too, in an int32 that has no other."""
    return tf.where((x < 0) | (1 / x < 0), tf.int32.min, 0)


# === Lists ===


def _reserve(operation: tf.Operation, shape: tf.Tensor, length: tf.Tensor) -> _List:
    known = tf.get_static_value(shape)
    element = tf.TensorShape(None if known is None else [None if n < 0 else int(n) for n in known.reshape(-1)])
    return _List(None, length, element, operation.get_attr("element_dtype"))


def _from_tensor(_: tf.Operation, tensor: tf.Tensor, __: tf.Tensor) -> _List:
    return _List(tensor, tf.shape(tensor)[0], tensor.shape[1:], tensor.dtype)


def _set_item(_: tf.Operation, items: _List, index: tf.Tensor, item: tf.Tensor) -> _List:
    array = items.allocated(tf.shape(item))
    # A scatter would do less, but not every run time has one, and none for an array without rows.
    here = tf.reshape(tf.equal(tf.range(items.length), index), [-1] + [1] * len(item.shape))
    return replace(items, array=shaped(tf.where(here, item[tf.newaxis], array), [None, *item.shape]))


def _get_item(_: tf.Operation, items: _List, index: tf.Tensor, __: tf.Tensor) -> tf.Tensor:
    return tf.gather(items.array, index)


def _stack(operation: tf.Operation, items: _List, _: tf.Tensor) -> tf.Tensor:
    return shaped(items.array, operation.outputs[0].shape)


_LISTS: dict[str, Any] = {
    "TensorListReserve": _reserve,
    "TensorListFromTensor": _from_tensor,
    "TensorListSetItem": _set_item,
    "TensorListGetItem": _get_item,
    "TensorListStack": _stack,
    "TensorListLength": lambda _, items: items.length,
}
