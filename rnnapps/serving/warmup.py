"""Requests that a server answers before it takes others: TensorFlow Serving's file of them, written and read.

The file is a TFRecord of `tensorflow.serving.PredictionLog`. Its messages are few, so they are written and read here
field by field, and nothing but TensorFlow is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from rnnapps.errors import RunError

FILE = Path("assets.extra", "tf_serving_warmup_requests")
LIMIT = 1000  # the server refuses a file with more

# Numbers of the fields on the way from a log to what is asked.
_LOG, _REQUEST, _SPEC, _INPUT, _NAME, _SIGNATURE, _KEY, _VALUE = 6, 1, 1, 2, 1, 3, 1, 2


class Logged(NamedTuple):
    """A request of the file: the model's and the endpoint's name, and the inputs."""

    model: str
    endpoint: str
    inputs: dict[str, np.ndarray]


def write(path: Path, model: str, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Writes the requests of a model into its folder `path`.

    Raises:
        RunError: There are none, or more than a server takes.
    """
    if not 1 <= len(requests) <= LIMIT:
        raise RunError(f"{model} wants 1 to {LIMIT} warm-up requests, not {len(requests)}")
    (path / FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path / FILE)) as writer:
        for endpoint, inputs in requests:
            writer.write(prediction_log(model, endpoint, inputs))


def read(path: Path) -> list[Logged]:
    """Reads what `write`, or anything else that keeps to the format, wrote into a model's folder.

    Raises:
        RunError: There is no such file, or it is damaged.
    """
    if not (path / FILE).is_file():
        raise RunError(f"{path} has no {FILE}: wanted requests that it can be tried with")
    try:
        return [_logged(record.numpy()) for record in tf.data.TFRecordDataset(os.fspath(path / FILE))]
    except (tf.errors.OpError, ValueError, KeyError, IndexError) as error:
        raise RunError(f"{path / FILE} is damaged ({str(error).partition(chr(10))[0]})") from error


def prediction_log(model: str, signature: str, inputs: Mapping[str, Any]) -> bytes:
    """Returns a request as a serialised `tensorflow.serving.PredictionLog`.

    Args:
        model: The model's name.
        signature: The endpoint's name.
        inputs: Arrays by input name.
    """
    spec = _field(_NAME, model.encode()) + _field(_SIGNATURE, signature.encode())
    request = _field(_SPEC, spec)
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(_INPUT, _field(_KEY, name.encode()) + _field(_VALUE, tensor))
    return _field(_LOG, _field(_REQUEST, request))


def _logged(record: bytes) -> Logged:
    request = _only(_only(record, _LOG), _REQUEST)
    spec = _only(request, _SPEC)
    entries = [content for number, content in _fields(request) if number == _INPUT]
    inputs = {
        _only(entry, _KEY).decode(): tf.make_ndarray(tensor_pb2.TensorProto.FromString(_only(entry, _VALUE)))
        for entry in entries
    }
    return Logged(_only(spec, _NAME).decode(), _only(spec, _SIGNATURE).decode(), inputs)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protocol buffer field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _only(message: bytes, wanted: int) -> bytes:
    """The content of the field of that number."""
    return dict(_fields(message))[wanted]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; the file holds no others."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        if tag & 7 != 2:
            raise ValueError(f"a field of wire type {tag & 7}")
        size, at = _read_varint(message, at)
        if at + size > len(message):
            raise ValueError("a field that is cut")
        yield tag >> 3, message[at : at + size]
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 128:
            return value, at
