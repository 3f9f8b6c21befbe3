"""The numeric core of an endpoint as ONNX, and ONNX Runtime to run it.

A state that is read and given would have one name twice: what is given is called `next_` and the name.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.errors import RunError
from rnnapps.portable.core import Arrays, Core

OPSET = 18
_LARGE = 1024  # numbers of a matrix that is worth a smaller type


def output_name(core: Core, name: str) -> str:
    """Name in the file of one of the core's outputs."""
    return f"next_{name}" if name in core.inputs else name


def convert(core: Core, weights: str) -> bytes:
    """The file's content.

    Args:
        core: What is converted.
        weights: "float32"; "float16", matrices are stored so and made float32 when the file is loaded; "int8", they are
            multiplied as int8, with a scale for each column, by inputs that are made int8 as they come.

    Raises:
        RunError: The converter has no form of an operation, or gives what is no model.
    """
    model = _converted(core)
    missing = sorted({node.op_type for node in _nodes(model.graph) if not _is_known(node)})
    if missing:
        raise RunError(f"tf2onnx has no form of {', '.join(missing)} in endpoint {core.name!r}")
    if weights == "float16":
        _store_as_float16(model)
    return _as_int8(model) if weights == "int8" else model.SerializeToString()


class Session:
    """Runs a file.

    Args:
        content: Of the file.
        core: What it was made of.
        threads: Of the processor; 0 leaves it to ONNX Runtime.
    """

    def __init__(self, content: bytes, core: Core, threads: int = 0):
        import onnxruntime  # type: ignore[import,unused-ignore]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._names = {name: output_name(core, name) for name in core.outputs}
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # a class of its own for each status
            raise RunError(f"ONNX Runtime refuses endpoint {core.name!r} ({_first(error)})") from error

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """The outputs by the names of the core's."""
        found = self._session.run(list(self._names.values()), dict(inputs))
        return dict(zip(self._names, found, strict=True))


def _converted(core: Core) -> Any:
    import tf2onnx  # type: ignore[import,unused-ignore]

    function = core.function
    names = {tensor.name: tensor.op.name for tensor in function.inputs}
    names |= {t.name: output_name(core, name) for t, name in zip(function.outputs, core.outputs, strict=True)}
    with _quiet():
        model, _ = tf2onnx.convert.from_graph_def(
            function.graph.as_graph_def(add_shapes=True),
            name=core.name,
            input_names=[tensor.name for tensor in function.inputs],
            output_names=[tensor.name for tensor in function.outputs],
            tensors_to_rename=names,
            opset=OPSET,
        )
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' remarks; what matters is in what they give."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _is_known(node: Any) -> bool:
    import onnx  # type: ignore[import,unused-ignore]

    return bool(onnx.defs.has(node.op_type, domain=node.domain))


def _store_as_float16(model: Any) -> None:
    import onnx  # type: ignore[import,unused-ignore]

    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < _LARGE:
            continue
        stored = onnx.numpy_helper.from_array(_within_float16(array), f"{tensor.name}/float16")
        casts.append(onnx.helper.make_node("Cast", [stored.name], [tensor.name], to=onnx.TensorProto.FLOAT))
        graph.initializer.remove(tensor)
        graph.initializer.append(stored)
    nodes = [*casts, *graph.node]  # what is used stands before its use
    del graph.node[:]
    graph.node.extend(nodes)


def _within_float16(array: np.ndarray) -> np.ndarray:
    largest = np.finfo(np.float16).max
    return np.clip(array, -largest, largest).astype(np.float16)


def _as_int8(model: Any) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import,unused-ignore]

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "int8.onnx")
        # Convolutions stay float32: one scale for all channels of what comes in would be far off.
        some = ["MatMul", "Gather"]
        quantize_dynamic(model, path, op_types_to_quantize=some, weight_type=QuantType.QInt8, per_channel=True)
        return path.read_bytes()


def _first(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
