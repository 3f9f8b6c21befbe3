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
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.errors import RunError
from rnnapps.serving.c_session import CSession, load_library, numpy_type

_NO_LIBRARY = 3  # exit status


class NoLibrary(RunError):
    """TensorFlow's C API cannot be had on this system: nothing is known of the model."""


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
        NoLibrary: The C API cannot be loaded here.
        RunError: The model does not load, or a request fails; the message is TensorFlow's.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "requests.json")
        asked.write_text(json.dumps([{"signature": name, "inputs": _to_json(inputs)} for name, inputs in requests]))
        command = [sys.executable, "-P", "-m", "rnnapps.serving.capi", path, asked, *(["--xla"] if xla else [])]
        # The other process finds this package where this one did, however that was.
        places = [os.fspath(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
        result = subprocess.run(command, capture_output=True, timeout=timeout, check=False, env=environment)
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        if result.returncode == _NO_LIBRARY:
            raise NoLibrary(said[-1])
        lines = said or [f"exit status {result.returncode}"]
        raise RunError(f"{path} does not run in TensorFlow's C API: {lines[-1]}")
    return [{name: _answer_from_json(value) for name, value in answer.items()} for answer in json.loads(result.stdout)]


def _to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by name as nested lists of numbers and strings."""
    lists = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    return {name: without_bytes(value) for name, value in lists.items()}


def without_bytes(item: Any, binary: bool = False) -> Any:
    """Nested lists whose bytes are text, or `{"b64": ...}` where they are none, or all of them if they are `binary`."""
    if isinstance(item, (list, tuple)):
        return [without_bytes(part, binary) for part in item]
    if not isinstance(item, bytes):
        return item
    try:
        if not binary:
            return item.decode()
    except UnicodeDecodeError:
        pass
    return {"b64": base64.b64encode(item).decode()}


def bytes_again(item: Any) -> Any:
    """Nested lists in which `{"b64": ...}` is bytes again."""
    if isinstance(item, list):
        return [bytes_again(part) for part in item]
    return base64.b64decode(item["b64"]) if isinstance(item, dict) else item


def _answer_to_json(value: np.ndarray) -> dict[str, Any]:
    dtype = "string" if value.dtype == object else value.dtype.name
    return {"dtype": dtype, "shape": value.shape, **_to_json({"values": value.reshape(-1)})}


def _answer_from_json(answer: Mapping[str, Any]) -> np.ndarray:
    if answer["dtype"] != "string":
        return np.array(answer["values"], numpy_type(answer["dtype"])).reshape(answer["shape"])
    strings = [item.encode() if isinstance(item, str) else item for item in bytes_again(answer["values"])]
    return np.array(strings, object).reshape(answer["shape"])


def main(arguments: Sequence[str]) -> None:
    """Answers the requests of a file, as the head of this file says."""
    xla = list(arguments[2:]) == ["--xla"]
    if len(arguments) != 2 + xla:
        raise SystemExit("usage: python -m rnnapps.serving.capi SAVED_MODEL_FOLDER REQUESTS.json [--xla]")
    try:
        load_library()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        raise SystemExit(_NO_LIBRARY) from error
    try:
        requests = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
        answers = []
        with CSession(arguments[0], xla) as session:
            for request in requests:
                inputs = {name: bytes_again(value) for name, value in request["inputs"].items()}
                outputs = session.run(request["signature"], inputs)
                answers.append({name: _answer_to_json(value) for name, value in outputs.items()})
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        raise SystemExit("error: " + " ".join(str(message).split())) from error
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
