"""What TensorFlow Serving's own flags ask for: which models there are, how requests are joined, what is counted."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from rnnapps.errors import RunError
from rnnapps.files import versions, write_whole
from rnnapps.serving.saved_model import is_xla

BATCHING = "batching_params.pbtxt"
_PADDING = "pad_variable_length_inputs: true"
# Where the docker image has its models.
_MODELS = "/models"
_QUEUE = 100  # batches that may wait; what comes then is refused
_WAIT = 2_000  # microseconds that a batch waits for more requests

_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64, _BOOL, _MESSAGE = _FIELD.TYPE_INT64, _FIELD.TYPE_BOOL, _FIELD.TYPE_MESSAGE
_OPTIONAL, _REPEATED = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED

_MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def write_batching(path: Path, sizes: Sequence[int], endpoints: Mapping[str, Any], takes_padding: bool) -> None:
    """Writes `batching_params.pbtxt`, read with `--enable_batching --enable_per_model_batching_parameters`.

    Where an input has an axis of any length, requests of different lengths are joined only if the shorter ones can be
    filled up: the server does it with their first element. A model that does not take this gets no such file, and a
    server does not join its requests.

    Args:
        path: Folder of the SavedModel.
        sizes: Rows of a batch; what falls between is filled up.
        endpoints: As in the manifest.
        takes_padding: Whether a shorter row may be filled up.
    """
    inputs = [spec for endpoint in endpoints.values() for spec in endpoint["inputs"].values()]
    free = any(None in spec["shape"][1:] for spec in inputs)
    if free and not takes_padding:
        return
    lines = [
        f"max_batch_size {{ value: {sizes[-1]} }}",
        f"batch_timeout_micros {{ value: {_WAIT} }}",
        f"max_enqueued_batches {{ value: {_QUEUE} }}",
        "num_batch_threads { value: 2 }",
        *(f"allowed_batch_sizes: {size}" for size in sizes),
        *([_PADDING] if free else []),
    ]
    (path / BATCHING).write_text("\n".join(lines) + "\n", encoding="utf-8")


def pads(path: Path) -> bool:
    """Whether a server that joins requests to a SavedModel fills up shorter ones."""
    file = path / BATCHING
    return file.is_file() and _PADDING in file.read_text(encoding="utf-8", errors="replace")


def check_batching(path: Path) -> None:
    """Checks the batching parameters of a SavedModel, if it has any, as TensorFlow Serving would read them.

    Raises:
        RunError: They are no parameters, or no number of rows comes out of them.
    """
    file = path / BATCHING
    if not file.is_file():
        return
    found = _message()()
    try:
        text_format.Parse(file.read_text(encoding="utf-8"), found)
    except (OSError, ValueError, text_format.ParseError) as error:
        raise RunError(f"{BATCHING} holds no batching parameters ({error})") from error
    sizes, largest = list(found.allowed_batch_sizes), found.max_batch_size.value
    if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != largest):
        raise RunError(f"{BATCHING} allows batches of {sizes} rows: wanted growing numbers up to {largest}, the most")
    for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
        if found.HasField(name) and getattr(found, name).value < 1:
            raise RunError(f"{BATCHING} has {name} {getattr(found, name).value}: wanted 1 or more")


@functools.cache
def _message() -> Any:
    """The class of TensorFlow Serving's `BatchingParameters`; of its fields, those that have a name in the text."""
    file = descriptor_pb2.FileDescriptorProto(name="rnnapps/batching.proto", package="rnnapps", syntax="proto3")
    number = file.message_type.add(name="Number")
    number.field.add(name="value", number=1, type=_INT64, label=_OPTIONAL)
    parameters = file.message_type.add(name="BatchingParameters")
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for i, name in enumerate(names, start=1):
        parameters.field.add(name=name, number=i, type=_MESSAGE, type_name=".rnnapps.Number", label=_OPTIONAL)
    parameters.field.add(name="allowed_batch_sizes", number=6, type=_INT64, label=_REPEATED)
    parameters.field.add(name="pad_variable_length_inputs", number=7, type=_BOOL, label=_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("rnnapps.BatchingParameters"))


def write_server_files(models: Path) -> None:
    """Writes `models.config` and `monitoring.config` for all models in a folder, each at its highest version.

    A server started with `--model_config_file` and `--allow_version_labels_for_unavailable_models=true` then knows each
    by its label "stable" too. Models whose functions XLA compiles are only in `models_xla.config`, beside the others:
    a server with XLA switched off would not start with them.

    Raises:
        RunError: They cannot be written.
    """
    found = {folder: versions(folder)[-1] for folder in sorted(models.glob("[!.]*")) if versions(folder)}
    plain = {folder: number for folder, number in found.items() if not is_xla(folder / str(number))}
    _write(models / "models.config", _config(plain))
    if plain != found:
        _write(models / "models_xla.config", _config(found))
    _write(models / "monitoring.config", _MONITORING)


def _config(found: Mapping[Path, int]) -> str:
    entries = "".join(_entry(folder.name, number) for folder, number in found.items())
    return f"model_config_list {{\n{entries}}}\n"


def _entry(name: str, version: int) -> str:
    return f"""  config {{
    name: "{name}"
    base_path: "{_MODELS}/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: {version} }} }}
    version_labels {{ key: "stable" value: {version} }}
  }}
"""


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))
