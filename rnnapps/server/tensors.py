"""`TensorProto` to NumPy and back, without TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnapps.server.apis import tensor_pb2
from rnnapps.server.status import invalid
from rnnapps.serving.c_session import STRING, TYPES, numpy_type

# Type to the field of its values; those of 16-bit floats are bit patterns.
_FIELDS = {
    1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 7: "string_val",
    9: "int64_val", 10: "bool_val", 14: "half_val", 17: "int_val", 19: "half_val", 22: "uint32_val", 23: "uint64_val",
}  # fmt: skip
_NUMBERS = {name: number for number, name in TYPES.items()}


def to_array(proto: Any, limit: int) -> np.ndarray:
    """The tensor as an array; strings as an object array of bytes.

    Values come from `tensor_content` or from the field of the type. As TensorFlow does, the last of too few values is
    repeated, no value at all means zeros, and values that are too many are left out.

    Args:
        proto: A `TensorProto`.
        limit: The most bytes that the array may take: a short message can ask for a large one.

    Raises:
        ServingError: It is no whole tensor, of a type that is not supported, or too large.
    """
    if proto.dtype not in _FIELDS:
        raise invalid(f"tensors of TensorFlow's type number {proto.dtype} are not supported")
    if proto.tensor_shape.unknown_rank or any(dim.size < 0 for dim in proto.tensor_shape.dim):
        raise invalid("a tensor must say all of its sizes")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    count = math.prod(shape)
    dtype = np.dtype(object) if proto.dtype == STRING else numpy_type(TYPES[proto.dtype])
    if len(shape) > 32 or max(shape, default=0) * dtype.itemsize > limit or count * dtype.itemsize > limit:
        raise invalid(f"a tensor of the shape {shape} is larger than the {limit} bytes of a request")
    if proto.tensor_content:
        return _from_content(proto.tensor_content, count, dtype).reshape(shape)
    values: Any = getattr(proto, _FIELDS[proto.dtype])[:count]
    array = np.zeros(count, dtype)
    if proto.dtype == STRING:
        array[:] = b""
        array[: len(values)] = values
    elif len(values):
        array[: len(values)] = _numbers(values, proto.dtype, dtype)
    if len(values):
        array[len(values) :] = array[len(values) - 1]
    return array.reshape(shape)


def _numbers(values: Any, number: int, dtype: np.dtype) -> np.ndarray:
    if _FIELDS[number] == "half_val":
        return (np.array(values, np.int64) & 0xFFFF).astype(np.uint16).view(dtype)
    try:
        return np.array(values, dtype)
    except OverflowError as error:
        raise invalid(f"a value of {dtype.name} is out of range") from error


def _from_content(content: bytes, count: int, dtype: np.dtype) -> np.ndarray:
    if dtype.kind != "O":
        if len(content) != count * dtype.itemsize:
            wanted = count * dtype.itemsize
            raise invalid(f"tensor_content has {len(content)} bytes: wanted {wanted} for {count} of {dtype.name}")
        return np.frombuffer(content, dtype)
    # Strings: their lengths as varints, then the strings.
    lengths, place = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if place >= len(content) or shift > 63:
                raise invalid("tensor_content of strings ends too early")
            byte = content[place]
            length |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                break
        lengths.append(length)
    if place + sum(lengths) != len(content):
        raise invalid(f"tensor_content has {len(content) - place} bytes of strings: wanted {sum(lengths)}")
    array = np.empty(count, object)
    for i, length in enumerate(lengths):
        array[i] = content[place : place + length]
        place += length
    return array


def to_proto(array: np.ndarray) -> Any:
    """The `TensorProto` of an array, its values in the field of their type, as TensorFlow Serving answers."""
    number = STRING if array.dtype == object else _NUMBERS[array.dtype.name]
    proto = tensor_pb2.TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    values = array.view(np.uint16) if _FIELDS[number] == "half_val" else array
    getattr(proto, _FIELDS[number]).extend(values.reshape(-1).tolist())
    return proto
