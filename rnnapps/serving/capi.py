"""A SavedModel in TensorFlow's C++ runtime, loaded as TF Serving loads it, without TensorFlow's Python.

    python -m rnnapps.serving.capi saved_models/NAME/VERSION requests.json [--xla]

`requests.json` holds a list of `{"signature": "serving_default", "inputs": {"prompt": ["The "], ...}}`. Standard
output gets one JSON list: for each request its outputs by name, `{"dtype": "string", "shape": [1], "values": ["..."]}`.
A string that is not UTF-8 is `{"b64": "..."}`, as in TF Serving.

The runtime is the library inside the installed TensorFlow: its C API calls the same `LoadSavedModel` and `Session::Run`
as the server. XLA is off, as it is in the server unless a flag turns it on, so an export that needs it fails here; with
`--xla` it is on.
"""

from __future__ import annotations

import base64
import ctypes
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# TensorFlow's numbers of the types that a signature may use (types.proto).
_STRING = 7
_TYPES = {1: "float32", 2: "float64", 3: "int32", 9: "int64", 10: "bool", 14: "bfloat16", 19: "float16"}
_STRING_BYTES = 24  # size of one TF_TString


def run_in_c_api(
    path: str | os.PathLike[str],
    requests: Sequence[tuple[str, Mapping[str, Any]]],
    timeout: float = 300,
    xla: bool = False,
) -> list[dict[str, np.ndarray]]:
    """Answers requests with a SavedModel in a process that imports neither TensorFlow's Python nor Keras.

    Args:
        path: Folder of the SavedModel: `DIR/NAME/VERSION`.
        requests: Pairs of a signature's name and its inputs by name; strings are `str` or bytes.
        timeout: Seconds that loading and answering may take together.
        xla: Whether functions marked for XLA may be compiled.

    Returns:
        For each request the outputs by name; strings as object arrays of bytes.

    Raises:
        RunError: It does not load, or a request fails; the message is TensorFlow's.
    """
    from rnnapps.errors import RunError  # the script itself runs where rnnapps cannot be imported

    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "requests.json")
        asked.write_text(json.dumps([{"signature": name, "inputs": _to_json(inputs)} for name, inputs in requests]))
        command = [sys.executable, "-P", __file__, os.fspath(path), os.fspath(asked), *(["--xla"] if xla else [])]
        result = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    if result.returncode:
        lines = result.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {result.returncode}"]
        raise RunError(f"{path} does not run in TensorFlow's C API: {lines[-1]}")
    return [{name: _answer_from_json(value) for name, value in answer.items()} for answer in json.loads(result.stdout)]


class CSession:
    """A SavedModel in the C API. Make it in a process of its own: real TensorFlow can no longer be imported after it.

    Args:
        path: Folder of the SavedModel.
        xla: Whether functions marked for XLA may be compiled, as with the server's `--xla_cpu_compilation_enabled`.

    Raises:
        RuntimeError: It does not load, with TensorFlow's message; or the system is not Linux.
    """

    def __init__(self, path: str | os.PathLike[str], xla: bool = False):
        if sys.platform != "linux":
            raise RuntimeError(f"the check in TensorFlow's C API runs on linux, not on {sys.platform}")
        folder, self._meta_graph = _stand_in_for_tensorflow()
        ctypes.CDLL(f"{folder}/libtensorflow_framework.so.2", ctypes.RTLD_GLOBAL)
        self._lib = ctypes.CDLL(f"{folder}/libtensorflow_cc.so.2", ctypes.RTLD_GLOBAL)
        if not xla:
            self._lib["_ZN10tensorflow21DisableXlaCompilationEv"]()  # tensorflow::DisableXlaCompilation()
        self._status = self._call("TF_NewStatus", ctypes.c_void_p)
        self._graph = self._call("TF_NewGraph", ctypes.c_void_p)
        self._session, self.signatures = self._load(os.fsencode(path))

    def run(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Answers one request.

        Raises:
            KeyError: There is no such signature or input.
            RuntimeError: The request fails, with TensorFlow's message.
        """
        if signature not in self.signatures:
            raise KeyError(f"no signature {signature!r}, only {', '.join(sorted(self.signatures))}")
        definition = self.signatures[signature]
        if set(inputs) != set(definition.inputs):
            raise KeyError(f"{signature} takes {sorted(definition.inputs)}, not {sorted(inputs)}")
        names = sorted(definition.outputs)
        feeds = [self._tensor(inputs[name], definition.inputs[name].dtype) for name in inputs]
        sources = _array(_Output, [self._output(definition.inputs[name].name) for name in inputs])
        sinks = _array(_Output, [self._output(definition.outputs[name].name) for name in names])
        results = (ctypes.c_void_p * len(names))()
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        self._call(
            "TF_SessionRun", None, pointer(self._session), None,
            sources, _array(ctypes.c_void_p, feeds), integer(len(feeds)),
            sinks, results, integer(len(names)),
            None, integer(0), None, pointer(self._status),
        )  # fmt: skip
        for feed in feeds:
            self._call("TF_DeleteTensor", None, ctypes.c_void_p(feed))
        self._check()
        return {name: self._value(result) for name, result in zip(names, results, strict=True)}

    def _load(self, path: bytes) -> tuple[int, Any]:
        options = self._call("TF_NewSessionOptions", ctypes.c_void_p)
        buffer = self._call("TF_NewBuffer", ctypes.POINTER(_Buffer))
        tags = (ctypes.c_char_p * 1)(b"serve")
        session = self._call(
            "TF_LoadSessionFromSavedModel", ctypes.c_void_p, ctypes.c_void_p(options), None, path, tags,
            ctypes.c_int(1), ctypes.c_void_p(self._graph), buffer, ctypes.c_void_p(self._status),
        )  # fmt: skip
        self._check()
        content = ctypes.string_at(buffer.contents.data, buffer.contents.length)
        return session, self._meta_graph.MetaGraphDef.FromString(content).signature_def

    def _call(self, name: str, returns: Any, *arguments: Any) -> Any:
        function = self._lib[name]  # a new object each time, so that setting its type changes nothing else
        function.restype = returns
        return function(*arguments)

    def _check(self) -> None:
        if self._call("TF_GetCode", ctypes.c_int, ctypes.c_void_p(self._status)):
            message = self._call("TF_Message", ctypes.c_char_p, ctypes.c_void_p(self._status))
            raise RuntimeError(message.decode(errors="replace"))

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        found = self._call("TF_GraphOperationByName", ctypes.c_void_p, ctypes.c_void_p(self._graph), operation.encode())
        if not found:
            raise RuntimeError(f"the graph has no operation {operation}")
        return _Output(found, int(index or 0))

    def _tensor(self, value: Any, dtype: int) -> int:
        """Makes a tensor of a NumPy array, of nested lists or of strings."""
        if dtype != _STRING and dtype not in _TYPES:
            raise RuntimeError(f"inputs of TensorFlow's type number {dtype} are not supported")
        array = np.array(value, object) if dtype == _STRING else np.ascontiguousarray(value, _dtype(_TYPES[dtype]))
        size = _STRING_BYTES * array.size if dtype == _STRING else array.nbytes
        dims = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
        shape = (dims, ctypes.c_int(array.ndim))
        tensor = self._call("TF_AllocateTensor", ctypes.c_void_p, ctypes.c_int(dtype), *shape, ctypes.c_size_t(size))
        data = self._call("TF_TensorData", ctypes.c_void_p, ctypes.c_void_p(tensor))
        if dtype != _STRING:
            ctypes.memmove(data, array.tobytes(), size)
            return tensor
        for i, item in enumerate(array.flat):
            content = item.encode() if isinstance(item, str) else bytes(item)
            place = ctypes.c_void_p(data + _STRING_BYTES * i)
            self._call("TF_StringInit", None, place)
            self._call("TF_StringCopy", None, place, content, ctypes.c_size_t(len(content)))
        return tensor

    def _value(self, tensor: int) -> np.ndarray:
        """Copies a tensor into a NumPy array and frees it."""
        pointer = ctypes.c_void_p(tensor)
        dtype = self._call("TF_TensorType", ctypes.c_int, pointer)
        rank = self._call("TF_NumDims", ctypes.c_int, pointer)
        shape = [self._call("TF_Dim", ctypes.c_int64, pointer, ctypes.c_int(i)) for i in range(rank)]
        data = self._call("TF_TensorData", ctypes.c_void_p, pointer)
        if dtype == _STRING:
            places = [ctypes.c_void_p(data + _STRING_BYTES * i) for i in range(math.prod(shape))]
            array = np.empty(len(places), object)
            for i, place in enumerate(places):
                size = self._call("TF_StringGetSize", ctypes.c_size_t, place)
                array[i] = ctypes.string_at(self._call("TF_StringGetDataPointer", ctypes.c_void_p, place), size)
        else:
            size = self._call("TF_TensorByteSize", ctypes.c_size_t, pointer)
            array = np.frombuffer(ctypes.string_at(data, size), _dtype(_TYPES[dtype]))
        self._call("TF_DeleteTensor", None, pointer)
        return array.reshape(shape)


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p)]


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def _array(kind: Any, values: Sequence[Any]) -> Any:
    return (kind * len(values))(*values)


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes  # noqa: F401  registers the name with NumPy; TensorFlow depends on it
    return np.dtype(name)


def _stand_in_for_tensorflow() -> tuple[str, Any]:
    """Finds TensorFlow's folder and makes only its protocol buffers importable. Returns both."""
    found = importlib.util.find_spec("tensorflow")
    if found is None or found.origin is None:
        raise RuntimeError("tensorflow is not installed")
    folder = os.path.dirname(found.origin)
    package = types.ModuleType("tensorflow")
    package.__path__ = [folder]
    sys.modules["tensorflow"] = package
    return folder, importlib.import_module("tensorflow.core.protobuf.meta_graph_pb2")


def _to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by name as nested lists of numbers and strings."""

    def plain(item: Any) -> Any:
        if isinstance(item, (list, tuple)):
            return [plain(part) for part in item]
        if not isinstance(item, bytes):
            return item
        try:
            return item.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(item).decode()}

    return {name: plain(value.tolist() if isinstance(value, np.ndarray) else value) for name, value in values.items()}


def _bytes_again(item: Any) -> Any:
    """Undoes `{"b64": ...}`."""
    if isinstance(item, list):
        return [_bytes_again(part) for part in item]
    return base64.b64decode(item["b64"]) if isinstance(item, dict) else item


def _answer_to_json(value: np.ndarray) -> dict[str, Any]:
    dtype = "string" if value.dtype == object else value.dtype.name
    return {"dtype": dtype, "shape": value.shape, **_to_json({"values": value.reshape(-1)})}


def _answer_from_json(answer: Mapping[str, Any]) -> np.ndarray:
    if answer["dtype"] != "string":
        return np.array(answer["values"], _dtype(answer["dtype"])).reshape(answer["shape"])
    strings = [item.encode() if isinstance(item, str) else item for item in _bytes_again(answer["values"])]
    return np.array(strings, object).reshape(answer["shape"])


def main(arguments: Sequence[str]) -> None:
    """Answers the requests of a file, as the head of this file says."""
    xla = list(arguments[2:]) == ["--xla"]
    if len(arguments) != 2 + xla:
        raise SystemExit("usage: python -m rnnapps.serving.capi SAVED_MODEL_FOLDER REQUESTS.json [--xla]")
    try:
        requests = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
        session = CSession(arguments[0], xla)
        answers = []
        for request in requests:
            inputs = {name: _bytes_again(value) for name, value in request["inputs"].items()}
            outputs = session.run(request["signature"], inputs)
            answers.append({name: _answer_to_json(value) for name, value in outputs.items()})
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        raise SystemExit("error: " + " ".join(str(message).split())) from error
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
