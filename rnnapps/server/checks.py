"""Looks through the folder of a version before TensorFlow reads it: nothing outside of it may be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnapps.server.apis import saved_model_pb2
from rnnapps.server.status import Code, ServingError

# Ops that call Python, that need a GPU, or that read or write files when a request says so. (The ops that restore the
# variables and fill the tables of every SavedModel take their paths from the loader, and are checked below.)
_FORBIDDEN = {
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "FixedLengthRecordDataset",
    "FixedLengthRecordDatasetV2", "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "LoadDataset",
    "LoadDatasetV2",
    "SaveDataset", "SaveDatasetV2", "TFRecordDataset", "TFRecordDatasetV2", "TFRecordReader", "TFRecordReaderV2",
    "TextLineDataset", "TextLineReader", "TextLineReaderV2", "WholeFileReader", "WholeFileReaderV2", "DebugIdentity",
    "DebugIdentityV2", "DebugIdentityV3",
}  # fmt: skip
_VARIABLES = {"VarHandleOp", "VariableV2", "Variable"}
_LARGEST_GRAPH = 2**31 - 1  # a protocol buffer holds no more


def check_version(folder: Path, root: Path) -> None:
    """Raises ServingError for a version that must not be loaded.

    Args:
        folder: The version.
        root: What is served: no symbolic link may lead out of it.
    """
    for path in (folder, *_everything(folder)):
        if not path.resolve().is_relative_to(root.resolve()):
            raise _refused(f"{path.name} is a symbolic link that leaves the folder of models")
    graph = folder / "saved_model.pb"
    if not graph.is_file():
        raise ServingError(Code.NOT_FOUND, f"version {folder.name} holds no saved_model.pb")
    if graph.stat().st_size > _LARGEST_GRAPH:
        raise _refused("saved_model.pb is larger than 2 GiB")
    try:
        content = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    except Exception as error:  # protobuf's own class has moved between its versions
        raise ServingError(Code.DATA_LOSS, f"saved_model.pb of version {folder.name} is damaged") from error
    for meta_graph in content.meta_graphs:
        has_variables = any(node.op in _VARIABLES for node in meta_graph.graph_def.node)
        if has_variables and not (folder / "variables" / "variables.index").is_file():
            # TensorFlow would load the graph, and every request would fail.
            raise ServingError(Code.DATA_LOSS, f"version {folder.name} holds no variables/variables.index")
        for asset in meta_graph.asset_file_def:
            _check_inside(folder / "assets", asset.filename, "asset")
        for name in (meta_graph.saver_def.filename_tensor_name, meta_graph.saver_def.save_tensor_name):
            if name.startswith("/") or ".." in Path(name).parts:
                raise _refused(f"the variables' path {name!r} leaves the folder")
        for node in _nodes(meta_graph.graph_def):
            if node.op in _FORBIDDEN or node.op.startswith("Cudnn"):
                raise _refused(f"the model holds the op {node.op} ({node.name}), which is not run for others")


def _check_inside(folder: Path, name: str, what: str) -> None:
    path = Path(os.path.normpath(folder / name))
    if not name or "\0" in name or path == folder or not path.is_relative_to(folder):
        raise _refused(f"the {what} {name!r} lies outside of the folder {folder.name}")


def _everything(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):  # which follows no symbolic link
        yield from (Path(parent, name) for name in (*folders, *files))


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _refused(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)
