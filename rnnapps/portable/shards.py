"""Finds where a graph cuts the rows of a batch into parts that run side by side, as `ops.execution.cut` has it do.

Other run times gain nothing from parts, and some fail on a part without rows: that of a single request.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def uncut(graph: Any) -> dict[str, tf.Tensor]:
    """The tensors that stand for others once the first part of the rows is all of them.

    Returns:
        Name of a tensor to the tensor that takes its place: of a part what it is cut from, and of parts that are joined
        again the first of them.
    """
    parts: dict[str, set[int]] = {}  # of the tensors that are made of parts: of which
    instead: dict[str, tf.Tensor] = {}
    for operation in graph.get_operations():
        made_of = set().union(*(parts.get(tensor.name, set()) for tensor in operation.inputs))
        part = _part(operation)
        if part is not None:
            made_of = {part}
            instead[operation.outputs[0].name] = operation.inputs[0]
        elif operation.type == "ConcatV2" and len(made_of) > 1:
            pieces = [parts.get(tensor.name) for tensor in operation.inputs[:-1]]
            if pieces == [{i} for i in range(len(pieces))]:
                made_of = set()
                instead[operation.outputs[0].name] = operation.inputs[0]
        if made_of:
            parts.update({tensor.name: made_of for tensor in operation.outputs})
    return instead


def _part(operation: tf.Operation) -> int | None:
    """Which part of the rows it cuts out, if that is what it does: `x[rows * i // n : rows * (i + 1) // n]`."""
    if operation.type != "StridedSlice":
        return None
    first, last = _end(operation.inputs[1]), _end(operation.inputs[2])
    if first is None or last is None or last != (first[0] + 1, first[1]):
        return None
    return first[0]


def _end(tensor: tf.Tensor) -> tuple[int, int] | None:
    """i and n of `[rows * i // n]`."""
    pack = _behind(tensor)
    if pack.type != "Pack" or len(pack.inputs) != 1:
        return None
    quotient = _behind(pack.inputs[0])
    if quotient.type != "FloorDiv" or _behind(quotient.inputs[0]).type != "Mul":
        return None
    product = _behind(quotient.inputs[0])
    i, n = tf.get_static_value(product.inputs[1]), tf.get_static_value(quotient.inputs[1])
    return None if i is None or n is None else (int(i), int(n))


def _behind(tensor: tf.Tensor) -> tf.Operation:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor.op
