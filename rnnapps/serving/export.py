"""Writes a SavedModel in TF Serving's layout, checked, and in its place only when it is whole.

    DIR/NAME/VERSION/saved_model.pb, variables/, assets/
    DIR/NAME/VERSION/manifest.json                               what it is: endpoints, and what the caller says
    DIR/NAME/VERSION/assets.extra/tf_serving_warmup_requests     requests that the server answers before it is ready

The model needs neither this package nor Keras: stock TensorFlow ops, weights as variables, strings in and strings out.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from rnnapps.errors import RunError

Request = tuple[str, Mapping[str, Any]]

_WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
_WARMUP_LIMIT = 1000  # the server refuses a file with more
# Ops that need a GPU, the process that wrote the model, its files or its terminal.
_FORBIDDEN = ("Cudnn", "PyFunc", "EagerPyFunc", "ReadFile", "WriteFile", "Print", "PrintV2")


class Endpoints(Protocol):
    """A `tf.Module` that says what is to be served."""

    def endpoints(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Name to a `tf.function` with an input signature that returns a dict of tensors."""

    def units(self) -> Mapping[str, str]:
        """Name of an input or output to its unit or meaning."""


def write_saved_model(
    endpoints: Endpoints, output: Path, name: str, manifest: Mapping[str, Any], warmup: Sequence[Request]
) -> Path:
    """Writes `output/name/<next version>/`, which TF Serving and `tf.saved_model.load` run without this package.

    Everything is written and checked in a hidden folder beside it, which is renamed at the end: a server that watches
    `output/name` never sees half a model, and an export that is killed leaves at most a `.tmp-*` folder behind.

    The checks: every input and output has one row per request in its first axis; no op that only runs here; no function
    that must be compiled by XLA, which the server leaves off; every warm-up request is answered by the written model.

    Args:
        endpoints: What is served.
        output: Folder of all models.
        name: The model's name, a folder's name.
        manifest: Goes into `manifest.json`, values of JSON only; `endpoints` with their shapes and dtypes is added.
        warmup: Pairs of an endpoint's name and its inputs by name, at least one.

    Returns:
        The folder of the new version.

    Raises:
        RunError: A check failed, or the folder cannot be written. Nothing is left under a version's name.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise RunError(f"a model's name must be a plain folder name, not {name!r}")
    if not 1 <= len(warmup) <= _WARMUP_LIMIT:
        raise RunError(f"{name} wants 1 to {_WARMUP_LIMIT} warm-up requests, not {len(warmup)}")
    home = Path(output, name)
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".tmp-", dir=home))
    except OSError as error:
        raise RunError(f"cannot write {home}: {error.strerror}") from error
    try:
        _write(endpoints, draft, name, manifest, warmup)
        return _publish(draft, home)
    except OSError as error:
        raise RunError(f"cannot write {home}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # already renamed if all went well


def _write(
    endpoints: Endpoints, draft: Path, name: str, manifest: Mapping[str, Any], warmup: Sequence[Request]
) -> None:
    functions = {key: function.get_concrete_function() for key, function in endpoints.endpoints().items()}
    described = {key: describe(function, endpoints.units()) for key, function in functions.items()}
    for key, endpoint in described.items():
        _check_rows_first(key, endpoint)
    # A server needs no gradients, and those of a recurrent layer inside a decoding loop cannot be saved.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(endpoints, os.fspath(draft), signatures=functions, options=options)
    check_operations(draft)
    _check_answers(draft, warmup)
    records = [prediction_log(name, key, inputs) for key, inputs in warmup]
    (draft / _WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(os.fspath(draft / _WARMUP)) as writer:
        for record in records:
            writer.write(record)
    content = {**manifest, "name": name, "endpoints": described}
    (draft / "manifest.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.chmod(0o755)  # a temporary folder is closed to others, such as the server's user


def _publish(draft: Path, home: Path) -> Path:
    """Gives the folder the next version's number; where another export takes the number first, the one after it."""
    while True:
        numbers = [int(entry.name) for entry in home.iterdir() if entry.name.isascii() and entry.name.isdigit()]
        version = home / str(max(numbers, default=0) + 1)
        try:
            os.rename(draft, version)
            return version
        except OSError:
            if not version.exists():
                raise


def describe(
    function: tf.types.experimental.ConcreteFunction, units: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns inputs and outputs of an endpoint by name, each with `dtype`, `shape` (None for any size) and `unit`."""

    def spec(name: str, tensor: Any) -> dict[str, Any]:
        shape = None if tensor.shape.rank is None else tensor.shape.as_list()
        described = {"dtype": tensor.dtype.name, "shape": shape}
        return {**described, "unit": units[name]} if name in units else described

    return {
        "inputs": {s.name: spec(s.name, s) for s in tf.nest.flatten(function.structured_input_signature)},
        "outputs": {name: spec(name, tensor) for name, tensor in function.structured_outputs.items()},
    }


def _check_rows_first(key: str, endpoint: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    # The server joins the requests of several clients along the first axis, and cuts the outputs again.
    for side, tensors in endpoint.items():
        for name, spec in tensors.items():
            if not spec["shape"] or spec["shape"][0] is not None:
                raise RunError(f"{name!r} in the {side} of {key!r} has the shape {spec['shape']}: wanted [None, ...]")


def check_operations(path: Path) -> None:
    """Looks through a SavedModel, all its functions included, for what a server cannot run.

    Raises:
        RunError: It holds such an op, or a function that XLA must compile.
    """
    content = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())
    for meta_graph in content.meta_graphs:
        graph = meta_graph.graph_def
        for function in graph.library.function:
            _check_xla(function.attr, function.signature.name)
        for node in _nodes(graph):
            if node.op in _FORBIDDEN or node.op.startswith(_FORBIDDEN[0]):
                raise RunError(f"the model holds the op {node.op} ({node.name}), which a server cannot run")
            _check_xla(node.attr, node.name)


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _check_xla(attributes: Any, name: str) -> None:
    if "_XlaMustCompile" in attributes and attributes["_XlaMustCompile"].b:
        raise RunError(f"the model holds {name}, which XLA must compile: a server leaves XLA off")


def _check_answers(path: Path, warmup: Sequence[Request]) -> None:
    signatures = tf.saved_model.load(os.fspath(path)).signatures
    for key, inputs in warmup:
        if key not in signatures:
            raise RunError(f"a warm-up request asks for endpoint {key!r}: wanted one of {', '.join(signatures)}")
        tensors = {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
        try:
            answer = signatures[key](**tensors)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise RunError(f"the warm-up request for endpoint {key!r} fails: {error}") from error
        rows = {len(value) for value in tensors.values()}
        for name, value in answer.items():
            if {len(value)} != rows:
                raise RunError(f"output {name!r} of endpoint {key!r} has {len(value)} rows for inputs of {rows}")


def prediction_log(model: str, signature: str, inputs: Mapping[str, Any]) -> bytes:
    """Returns a request as a serialised `tensorflow.serving.PredictionLog`, the record of a warm-up file.

    Its messages are few, so they are written here field by field and nothing but TensorFlow is needed.

    Args:
        model: The model's name.
        signature: The endpoint's name.
        inputs: Arrays by input name.
    """
    spec = _field(1, model.encode()) + _field(3, signature.encode())  # ModelSpec: name, signature_name
    request = _field(1, spec)  # PredictRequest: model_spec, then a map entry (key, TensorProto) per input
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))  # PredictionLog.predict_log.request


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protocol buffer field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
