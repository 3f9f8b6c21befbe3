"""Requests that a person can send to a served model, in the forms that TensorFlow Serving takes, with the answers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.files import write_whole
from rnnapps.serving.capi import without_bytes

_CURL = """#!/bin/sh
# Asks a server for the answer that expected.json holds: sh curl.sh [HOST:PORT]
cd "$(dirname "$0")"
curl --silent --show-error --data @request_row.json "http://${{1:-localhost:8501}}/v1/models/{name}:predict"
"""

_GRPC = '''"""Asks a server by gRPC: python client_grpc.py [HOST:PORT], with `pip install tensorflow-serving-api`."""

import base64
import json
import sys
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

DTYPES = {dtypes}

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:8500"
asked = json.loads(Path(__file__).with_name("request_column.json").read_text(encoding="utf-8"))
request = predict_pb2.PredictRequest()
request.model_spec.name = "{name}"
request.model_spec.signature_name = asked["signature_name"]
for key, rows in asked["inputs"].items():
    rows = [base64.b64decode(row["b64"]) if isinstance(row, dict) else row for row in rows]
    request.inputs[key].CopyFrom(tf.make_tensor_proto(rows, DTYPES[key]))
with grpc.insecure_channel(address) as channel:
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
for key, value in sorted(answer.outputs.items()):
    print(key, tf.make_ndarray(value).tolist())
'''


def write_client_files(
    folder: Path, name: str, endpoint: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> None:
    """Writes a request in the forms of the REST API, clients that send it, and what they get.

    Args:
        folder: Where to.
        name: The model's name.
        endpoint: The endpoint's name.
        inputs: Of the request, by name.
        outputs: Of the answer, by name.

    Raises:
        RunError: A file cannot be written.
    """
    rows = len(next(iter(inputs.values())))
    given = {key: plain(value) for key, value in inputs.items()}
    got = {key: plain(value, binary=key.endswith("_bytes")) for key, value in outputs.items()}
    named = {"signature_name": endpoint}
    row = {**named, "instances": [{key: value[i] for key, value in given.items()} for i in range(rows)]}
    # With one output the server leaves its name away.
    single = next(iter(got.values())) if len(got) == 1 else None
    expected = {
        "row": {"predictions": single or [{key: value[i] for key, value in got.items()} for i in range(rows)]},
        "column": {"outputs": single or got},
    }
    dtypes = {key: "string" if value.dtype == object else value.dtype.name for key, value in inputs.items()}
    files = {
        "request_row.json": _json(row),
        "request_column.json": _json({**named, "inputs": given}),
        "expected.json": _json(expected),
        "curl.sh": _CURL.format(name=name),
        "client_grpc.py": _GRPC.format(name=name, dtypes=json.dumps(dtypes)),
    }
    for file, text in files.items():
        write_whole(folder / file, functools.partial(Path.write_text, data=text, encoding="utf-8"))


def plain(array: np.ndarray, binary: bool = False) -> Any:
    """An array as lists of what JSON knows; numbers with the digits that their type has, bytes as `{"b64": ...}`.

    Args:
        array: Of numbers, of truth values, or of bytes.
        binary: Whether bytes are never taken as text, as of a name that ends in `_bytes`.
    """
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        # The shortest decimal number that is this one in its type.
        array = np.array([float(str(number)) for number in array.reshape(-1)], float).reshape(array.shape)
    return without_bytes(array.tolist(), binary)


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
