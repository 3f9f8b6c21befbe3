"""Looks through a SavedModel's files for what a server cannot or must not run, before anything reads them.

Needs TensorFlow's protocol buffers only, so that a process without TensorFlow's Python can use it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from rnnapps.errors import RunError

# Ops that call Python, or that read or write files when a request says so. (Those that restore the variables and fill
# the tables of every SavedModel take their paths from the loader, and are checked by name.)
REACH_OUT = {
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "FixedLengthRecordDataset",
    "FixedLengthRecordDatasetV2", "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "LoadDataset",
    "LoadDatasetV2", "SaveDataset", "SaveDatasetV2", "TFRecordDataset", "TFRecordDatasetV2", "TFRecordReader",
    "TFRecordReaderV2", "TextLineDataset", "TextLineReader", "TextLineReaderV2", "WholeFileReader",
    "WholeFileReaderV2", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3",
}  # fmt: skip
_TALK = {"Print", "PrintV2"}
_GPU_ONLY = "Cudnn"
_VARIABLES = {"VarHandleOp", "VariableV2", "Variable"}
_LARGEST_GRAPH = 2**31 - 1  # a protocol buffer holds no more
_XLA_MARK = "_XlaMustCompile"


class Damaged(RunError):
    """A file is missing, or is not what its name says."""


def check_files(path: Path, root: Path | None = None) -> list[Any]:
    """Checks that a SavedModel is whole and that nothing in it leads elsewhere; returns its `GraphDef`s.

    Args:
        path: Its folder.
        root: Where symbolic links may lead. Default: the folder itself.

    Raises:
        Damaged: A file is missing or damaged.
        RunError: A link, an asset or the variables' path leaves the folder.
    """
    home = (root or path).resolve()
    for found in (path, *_everything(path)):
        if not found.resolve().is_relative_to(home):
            raise RunError(f"{found.name} is a symbolic link that leaves its folder: wanted a file")
    meta_graphs = _read(path).meta_graphs
    for meta_graph in meta_graphs:
        has_variables = any(node.op in _VARIABLES for node in meta_graph.graph_def.node)
        for name in ("variables.index", "variables.data-*") if has_variables else ():
            # TensorFlow would load the graph, and every request would fail.
            if not list(path.glob(f"variables/{name}")):
                raise Damaged(f"version {path.name} holds no variables/{name}")
        for asset in meta_graph.asset_file_def:
            _check_inside(path / "assets", asset.filename)
        for name in (meta_graph.saver_def.filename_tensor_name, meta_graph.saver_def.save_tensor_name):
            if name.startswith("/") or ".." in Path(name).parts:
                raise RunError(f"the variables' path {name!r} leaves the folder")
    return [meta_graph.graph_def for meta_graph in meta_graphs]


def check_operations(graphs: Iterable[Any], xla: bool = False) -> None:
    """Looks through the `GraphDef`s of a SavedModel, all their functions included, for what a server cannot run.

    Args:
        graphs: As `check_files` gives them.
        xla: Whether it is for a server with XLA switched on.

    Raises:
        RunError: It holds such an op; without `xla`, a function that XLA must compile; with it, such a function with
            strings inside.
    """
    for graph in graphs:
        functions = {function.signature.name: function for function in graph.library.function}
        check_nodes(graph)
        for node in _nodes(graph):
            if node.op in _TALK:
                raise RunError(f"the model holds the op {node.op} ({node.name}), which writes to the server's terminal")
        marked = [function.signature.name for function in functions.values() if _is_marked(function.attr)]
        marked += [called for node in _nodes(graph) if _is_marked(node.attr) for called in _called(node, functions)]
        if marked and not xla:
            raise RunError(f"the model holds {marked[0]}, which XLA must compile: a server leaves XLA off")
        for name in _reached(marked, functions):
            for node in functions[name].node_def:
                if _has_strings(node):
                    raise RunError(f"{name}, which XLA must compile, holds the op {node.op} ({node.name}) on strings")


def check_nodes(graph: Any) -> None:
    """Looks through a `GraphDef`, all its functions included, for what reaches out or runs on a GPU only.

    Raises:
        RunError: It holds such an op.
    """
    for node in _nodes(graph):
        if node.op in REACH_OUT:
            raise RunError(f"the model holds the op {node.op} ({node.name}), which a server does not run")
        if node.op.startswith(_GPU_ONLY):
            raise RunError(
                f"the model holds the op {node.op} ({node.name}), which runs on a GPU only: "
                "wanted layers with use_cudnn=False"
            )


def _read(path: Path) -> Any:
    file = path / "saved_model.pb"
    if not file.is_file():
        raise Damaged(f"version {path.name} holds no saved_model.pb")
    if file.stat().st_size > _LARGEST_GRAPH:
        raise RunError("saved_model.pb is larger than 2 GiB")
    try:
        return saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise Damaged(f"saved_model.pb of version {path.name} is damaged") from error


def _check_inside(folder: Path, name: str) -> None:
    path = Path(os.path.normpath(folder / name))
    if not name or "\0" in name or path == folder or not path.is_relative_to(folder):
        raise RunError(f"the asset {name!r} lies outside of the folder {folder.name}")


def _everything(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):  # which follows no symbolic link
        yield from (Path(parent, name) for name in (*folders, *files))


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _is_marked(attributes: Any) -> bool:
    return _XLA_MARK in attributes and attributes[_XLA_MARK].b


def _called(node: Any, functions: Any) -> list[str]:
    """Names of the functions that a node calls."""
    named = [value.func.name for value in node.attr.values() if value.HasField("func")]
    named += [function.name for value in node.attr.values() for function in value.list.func]
    return [name for name in [*named, node.op] if name in functions]


def _reached(names: list[str], functions: Any) -> list[str]:
    """The functions of these names, and those that they call."""
    found: dict[str, None] = {}
    waiting = [name for name in names if name in functions]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += [called for node in functions[name].node_def for called in _called(node, functions)]
    return list(found)


def _has_strings(node: Any) -> bool:
    from tensorflow.python.framework import op_def_registry  # no public name gives the types of an operation

    string = types_pb2.DT_STRING
    definition = op_def_registry.get(node.op)  # None where it is a function's name
    arguments = [*definition.input_arg, *definition.output_arg] if definition else []
    return any(argument.type == string for argument in arguments) or any(
        value.type == string or string in value.list.type for value in node.attr.values()
    )
