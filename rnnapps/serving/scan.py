"""Looks through a SavedModel's files for what a server cannot or must not run, without loading it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry  # no public name gives the types of an operation

from rnnapps.errors import RunError

# Ops that need a GPU, the process that wrote the model, its files or its terminal.
FORBIDDEN = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "Print", "PrintV2")
_GPU_ONLY = "Cudnn"
# By their names, since a marked function may be called from another one that is inside it.
_XLA_MARK = "_XlaMustCompile"


def check_files(path: Path) -> None:
    """Checks that a SavedModel is whole and lies inside its folder.

    Raises:
        RunError: A file is missing, or one that it names, or that lies in it as a link, is elsewhere.
    """
    for name in ("saved_model.pb", "variables/variables.index"):
        if not (path / name).is_file():
            raise RunError(f"{path} has no {name}: wanted a whole SavedModel")
    if not list(path.glob("variables/variables.data-*")):
        raise RunError(f"{path} has no variables/variables.data-*: wanted a whole SavedModel")
    home = path.resolve()
    for found in path.rglob("*"):
        if found.is_symlink() and not found.resolve().is_relative_to(home):
            raise RunError(f"{found} is a link that leaves its folder: wanted a file")
    for meta_graph in _read(path).meta_graphs:
        for asset in meta_graph.asset_file_def:
            if not (home / "assets" / asset.filename).resolve().is_relative_to(home / "assets"):
                raise RunError(f"{path} names the asset {asset.filename!r}: wanted a file inside its folder")


def check_operations(path: str | os.PathLike[str], xla: bool = False) -> None:
    """Looks through a SavedModel, all its functions included, for what a server cannot run.

    Args:
        path: Its folder.
        xla: Whether it is for a server with XLA switched on.

    Raises:
        RunError: It holds such an op; without `xla`, a function that XLA must compile; with it, such a function with
            strings inside.
    """
    for meta_graph in _read(Path(path)).meta_graphs:
        graph = meta_graph.graph_def
        functions = {function.signature.name: function for function in graph.library.function}
        for node in _nodes(graph):
            if node.op in FORBIDDEN:
                raise RunError(f"the model holds the op {node.op} ({node.name}), which a server cannot run")
            if node.op.startswith(_GPU_ONLY):
                raise RunError(
                    f"the model holds the op {node.op} ({node.name}), which runs on a GPU only: "
                    "wanted layers with use_cudnn=False"
                )
        marked = [function.signature.name for function in functions.values() if _is_marked(function.attr)]
        marked += [called for node in _nodes(graph) if _is_marked(node.attr) for called in _called(node, functions)]
        if marked and not xla:
            raise RunError(f"the model holds {marked[0]}, which XLA must compile: a server leaves XLA off")
        for name in _reached(marked, functions):
            for node in functions[name].node_def:
                if _has_strings(node):
                    raise RunError(f"{name}, which XLA must compile, holds the op {node.op} ({node.name}) on strings")


def _read(path: Path) -> Any:
    try:
        return saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise RunError(f"{path / 'saved_model.pb'} is not readable ({error}): wanted a SavedModel") from error


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
    string = types_pb2.DT_STRING
    definition = op_def_registry.get(node.op)  # None where it is a function's name
    arguments = [*definition.input_arg, *definition.output_arg] if definition else []
    return any(argument.type == string for argument in arguments) or any(
        value.type == string or string in value.list.type for value in node.attr.values()
    )
