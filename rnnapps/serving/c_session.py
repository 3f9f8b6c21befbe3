"""A SavedModel run by TensorFlow's C API: the library inside the installed TensorFlow, without TensorFlow's Python.

The C API calls the same `LoadSavedModel` and `Session::Run` as TF Serving.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import math
import os
import sys
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# TensorFlow's numbers of the types that a signature may use (types.proto).
STRING = 7
TYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool", 14: "bfloat16",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
_STRING_BYTES = 24  # size of one TF_TString


class TensorFlowError(RuntimeError):
    """TensorFlow's own message, on one line, and its `code` (error_codes.proto), such as 3 for INVALID_ARGUMENT."""

    def __init__(self, message: str, code: int):
        super().__init__(" ".join(message.split()))
        self.code = code


class CSession:
    """A SavedModel in the C API. Make it in a process of its own: real TensorFlow can no longer be imported after it.

    Threads may call `run` at the same time; it holds no lock of Python's while TensorFlow works.

    Args:
        path: Folder of the SavedModel.
        xla: Whether functions marked for XLA may be compiled, as with the server's `--xla_cpu_compilation_enabled`. Off
            is for good: no later session of the process may compile.
        inter_op_threads: Threads that run operations side by side, all sessions of the process together, as the first
            of them says; 0 takes all cores.
        intra_op_threads: Threads inside of one operation; the same.
        own_threads: Whether the session has threads of its own, so that another one's long operation stops none of it.

    Attributes:
        signatures: Name to `SignatureDef`.

    Raises:
        TensorFlowError: It does not load.
        RuntimeError: `load_library` cannot load TensorFlow.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        xla: bool = False,
        inter_op_threads: int = 0,
        intra_op_threads: int = 0,
        own_threads: bool = False,
    ):
        self._session: int | None = None
        self._lib = load_library()
        if not xla:
            self._lib["_ZN10tensorflow21DisableXlaCompilationEv"]()  # tensorflow::DisableXlaCompilation()
        self._idle = threading.Condition()
        self._running = 0
        self._sources: dict[str, dict[str, tuple[_Output, int]]] = {}
        self._sinks: dict[tuple[str, tuple[str, ...] | None], tuple[Sequence[str], Any]] = {}
        self._load(os.fsencode(path), (inter_op_threads, intra_op_threads), own_threads)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Answers one request.

        Args:
            signature: Its name.
            inputs: Arrays, nested lists or single values by input name; strings are `str` or bytes.
            outputs: Names of the wanted outputs. Default: all.
            timeout: Seconds after which the run is ended, before its next operation, with the code 4,
                DEADLINE_EXCEEDED.

        Returns:
            Arrays by output name; strings as object arrays of bytes.

        Raises:
            KeyError: There is no such signature, input or output.
            TensorFlowError: The request fails.
            RuntimeError: The session is closed.
        """
        with self._open() as session:
            sources = self._inputs_of(signature)
            if set(inputs) != set(sources):
                raise KeyError(f"{signature} takes {sorted(sources)}, not {sorted(inputs)}")
            names, sinks = self._outputs_of(signature, None if outputs is None else tuple(outputs))
            results = (ctypes.c_void_p * len(names))()
            feeds: list[int] = []
            try:
                for name, value in inputs.items():
                    feeds.append(self._tensor(value, sources[name][1]))
                places = _array(_Output, [sources[name][0] for name in inputs])
                tensors = _array(ctypes.c_void_p, feeds)
                with self._run_options(timeout) as limits, self._status() as status:
                    self._lib.TF_SessionRun(
                        session, limits, places, tensors, len(feeds), sinks, results, len(names), None, 0, None, status
                    )
                return {name: self._value(result) for name, result in zip(names, results, strict=True)}
            finally:
                for tensor in (*feeds, *filter(None, results)):
                    self._lib.TF_DeleteTensor(tensor)

    def close(self) -> None:
        """Waits for the requests that run and frees the model; a second call does nothing."""
        with self._idle:
            session, self._session = self._session, None
            self._idle.wait_for(lambda: not self._running)
        if session is not None:
            with self._status() as status:
                self._lib.TF_DeleteSession(session, status)
            self._lib.TF_DeleteGraph(self._graph)

    def __enter__(self) -> CSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_session", None) is not None:
            self.close()

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """The session, which `close` frees after the `with` at the earliest."""
        with self._idle:
            session = self._session
            if session is None:
                raise RuntimeError("the session is closed")
            self._running += 1
        try:
            yield session
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _load(self, path: bytes, threads: tuple[int, int], own_threads: bool) -> None:
        from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2

        config = config_pb2.ConfigProto(
            inter_op_parallelism_threads=threads[0],
            intra_op_parallelism_threads=threads[1],
            use_per_session_threads=own_threads,
        )
        # A second round of the graph optimizer takes a fifth of the time to the first answer, and gives nothing.
        rewriting = rewriter_config_pb2.RewriterConfig
        config.graph_options.rewrite_options.meta_optimizer_iterations = rewriting.ONE
        content = config.SerializeToString()
        options, buffer, graph = self._lib.TF_NewSessionOptions(), self._lib.TF_NewBuffer(), self._lib.TF_NewGraph()
        tags = (ctypes.c_char_p * 1)(b"serve")
        session = None
        try:
            with self._status() as status:
                self._lib.TF_SetConfig(options, content, len(content), status)
            with self._status() as status:
                session = self._lib.TF_LoadSessionFromSavedModel(options, None, path, tags, 1, graph, buffer, status)
            written = ctypes.string_at(buffer.contents.data, buffer.contents.length)
            self.signatures = meta_graph_pb2.MetaGraphDef.FromString(written).signature_def
            self._graph, self._session = graph, session
        finally:
            if self._session is None:
                self._lib.TF_DeleteGraph(graph)
            self._lib.TF_DeleteBuffer(buffer)
            self._lib.TF_DeleteSessionOptions(options)

    @contextlib.contextmanager
    def _run_options(self, timeout: float | None) -> Iterator[Any]:
        from tensorflow.core.protobuf import config_pb2

        if timeout is None:
            yield None
            return
        content = config_pb2.RunOptions(timeout_in_ms=max(1, round(timeout * 1000))).SerializeToString()
        buffer = self._lib.TF_NewBufferFromString(content, len(content))
        try:
            yield buffer
        finally:
            self._lib.TF_DeleteBuffer(buffer)

    @contextlib.contextmanager
    def _status(self) -> Iterator[int]:
        """A status for one call, which raises what the call left in it."""
        status = self._lib.TF_NewStatus()
        try:
            yield status
            if code := self._lib.TF_GetCode(status):
                raise TensorFlowError(self._lib.TF_Message(status).decode(errors="replace"), code)
        finally:
            self._lib.TF_DeleteStatus(status)

    def _inputs_of(self, signature: str) -> dict[str, tuple[_Output, int]]:
        """Name to place in the graph and type, looked up once."""
        if signature not in self._sources:
            if signature not in self.signatures:
                raise KeyError(f"no signature {signature!r}, only {', '.join(sorted(self.signatures))}")
            infos = self.signatures[signature].inputs
            self._sources[signature] = {name: (self._output(info.name), info.dtype) for name, info in infos.items()}
        return self._sources[signature]

    def _outputs_of(self, signature: str, wanted: tuple[str, ...] | None) -> tuple[Sequence[str], Any]:
        """Names of outputs and their places in the graph, looked up once."""
        key = (signature, wanted)
        if key not in self._sinks:
            infos = self.signatures[signature].outputs
            names = sorted(infos) if wanted is None else wanted
            if unknown := [name for name in names if name not in infos]:
                raise KeyError(f"{signature} has no output {unknown[0]!r}, only {', '.join(sorted(infos))}")
            self._sinks[key] = names, _array(_Output, [self._output(infos[name].name) for name in names])
        return self._sinks[key]

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        found = self._lib.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise RuntimeError(f"the graph has no operation {operation}")
        return _Output(found, int(index or 0))

    def _tensor(self, value: Any, dtype: int) -> int:
        """Makes a tensor of a NumPy array, of nested lists or of strings."""
        if dtype == STRING:
            return self._string_tensor(np.array(value, object))
        if dtype not in TYPES:
            raise RuntimeError(f"inputs of TensorFlow's type number {dtype} are not supported")
        array = np.asarray(value, numpy_type(TYPES[dtype]), order="C")
        dims = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
        tensor = self._lib.TF_AllocateTensor(dtype, dims, array.ndim, array.nbytes)
        ctypes.memmove(self._lib.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def _string_tensor(self, array: np.ndarray) -> int:
        """Makes a tensor of strings through its protocol buffer: so TensorFlow owns them, and frees them at the end."""
        from tensorflow.core.framework import tensor_pb2

        proto = tensor_pb2.TensorProto(dtype=STRING)
        for size in array.shape:
            proto.tensor_shape.dim.add(size=size)
        proto.string_val.extend(item.encode() if isinstance(item, str) else bytes(item) for item in array.flat)
        content = proto.SerializeToString()
        buffer = self._lib.TF_NewBufferFromString(content, len(content))
        tensor = self._lib.TF_AllocateTensor(STRING, (ctypes.c_int64 * 1)(0), 1, 0)
        try:
            with self._status() as status:
                self._lib.TF_TensorFromProto(buffer, tensor, status)
        except TensorFlowError:
            self._lib.TF_DeleteTensor(tensor)
            raise
        finally:
            self._lib.TF_DeleteBuffer(buffer)
        return tensor

    def _value(self, tensor: int) -> np.ndarray:
        """Copies a tensor into a NumPy array."""
        dtype = self._lib.TF_TensorType(tensor)
        shape = [self._lib.TF_Dim(tensor, i) for i in range(self._lib.TF_NumDims(tensor))]
        data = self._lib.TF_TensorData(tensor)
        if dtype == STRING:
            array = np.empty(math.prod(shape), object)
            for i in range(len(array)):
                place = data + _STRING_BYTES * i
                size = self._lib.TF_StringGetSize(place)
                array[i] = ctypes.string_at(self._lib.TF_StringGetDataPointer(place), size)
        elif dtype in TYPES:
            content = ctypes.string_at(data, self._lib.TF_TensorByteSize(tensor))
            array = np.frombuffer(content, numpy_type(TYPES[dtype]))
        else:
            raise RuntimeError(f"outputs of TensorFlow's type number {dtype} are not supported")
        return array.reshape(shape)


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p)]


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


# What each function of the C API gives and takes: P a pointer, I an int, Z a size, S text, T an array,
# B a buffer, D sizes, O places in the graph; the first is what it returns.
_FUNCTIONS = {
    "TF_NewStatus": "P", "TF_DeleteStatus": "-P", "TF_GetCode": "IP", "TF_Message": "SP",
    "TF_NewGraph": "P", "TF_DeleteGraph": "-P", "TF_GraphOperationByName": "PPS",
    "TF_NewBuffer": "B", "TF_NewBufferFromString": "BSZ", "TF_DeleteBuffer": "-B",
    "TF_NewSessionOptions": "P", "TF_SetConfig": "-PSZP", "TF_DeleteSessionOptions": "-P",
    "TF_LoadSessionFromSavedModel": "PPPSTIPBP", "TF_DeleteSession": "-PP", "TF_SessionRun": "-PBOTIOTIPIPP",
    "TF_AllocateTensor": "PIDIZ", "TF_TensorFromProto": "-BPP", "TF_DeleteTensor": "-P",
    "TF_TensorType": "IP", "TF_NumDims": "IP", "TF_Dim": "LPI", "TF_TensorData": "PP", "TF_TensorByteSize": "ZP",
    "TF_StringGetSize": "ZP", "TF_StringGetDataPointer": "PP",
}  # fmt: skip
_KINDS = {
    "-": None, "P": ctypes.c_void_p, "I": ctypes.c_int, "L": ctypes.c_int64, "Z": ctypes.c_size_t,
    "S": ctypes.c_char_p, "T": ctypes.c_void_p, "B": ctypes.POINTER(_Buffer), "D": ctypes.POINTER(ctypes.c_int64),
    "O": ctypes.POINTER(_Output),
}  # fmt: skip


# How TensorFlow's wheels name the two libraries. Those for Windows have none that exports the C API.
_LIBRARIES = {
    "linux": ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"),
    "darwin": ("libtensorflow_framework.2.dylib", "libtensorflow_cc.2.dylib"),
}


def load_library() -> ctypes.CDLL:
    """TensorFlow's C library, loaded once.

    Raises:
        RuntimeError: The system has none, or it cannot be loaded, or TensorFlow is not installed.
    """
    if sys.platform not in _LIBRARIES:
        raise RuntimeError(f"TensorFlow's C API is not to be had on {sys.platform}: wanted Linux or macOS")
    try:
        return _library(stand_in_for_tensorflow(), _LIBRARIES[sys.platform])
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"TensorFlow's C API cannot be loaded on {sys.platform} ({error})") from error


@functools.cache
def _library(folder: str, names: tuple[str, str]) -> ctypes.CDLL:
    # Local to each other: Python's ssl, if it is loaded later, must not find the cryptography that is inside of them.
    ctypes.CDLL(f"{folder}/{names[0]}", ctypes.RTLD_LOCAL)
    library = ctypes.CDLL(f"{folder}/{names[1]}", ctypes.RTLD_LOCAL)
    for name, kinds in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = _KINDS[kinds[0]], [_KINDS[kind] for kind in kinds[1:]]
    return library


def stand_in_for_tensorflow() -> str:
    """Makes TensorFlow's protocol buffers, and only these, importable without its Python. Returns its folder.

    Raises:
        RuntimeError: TensorFlow is not installed.
    """
    if loaded := sys.modules.get("tensorflow"):  # the stand-in, or TensorFlow itself in a process that has it
        return os.path.dirname(str(loaded.__file__))
    found = importlib.util.find_spec("tensorflow")
    if found is None or found.origin is None:
        raise RuntimeError("tensorflow is not installed")
    folder = os.path.dirname(found.origin)
    package = types.ModuleType("tensorflow")
    package.__path__, package.__file__ = [folder], found.origin
    sys.modules["tensorflow"] = package
    return folder


def _array(kind: Any, values: Sequence[Any]) -> Any:
    return (kind * len(values))(*values)


def numpy_type(name: str) -> np.dtype:
    """NumPy's type of that name, bfloat16 included."""
    if name == "bfloat16":
        import ml_dtypes  # noqa: F401  registers the name with NumPy; TensorFlow depends on it
    return np.dtype(name)
