"""An exported model, found and loaded."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.errors import RunError, UsageError


def read_manifest(path: Path, task: str) -> dict[str, Any]:
    """The manifest of an export.

    Args:
        path: As `version_folder` gives it.
        task: What must have written it.

    Raises:
        UsageError: There is none, or another task's.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        found = manifest.get("task", "nothing known")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--model {path} is no export of {_spoken(task)} ({error}): wanted one with its manifest.json"
        ) from error
    if found != task:
        raise UsageError(f"--model {path} is an export of {_spoken(found)}: wanted one of {_spoken(task)}")
    return manifest


def _spoken(task: str) -> str:
    return task.replace("_", " ")


def load_endpoints(path: Path, *names: str) -> dict[str, "Endpoint"]:
    """The endpoints of a SavedModel by name; each holds on to the weights. Those in `names` must be there.

    Raises:
        RunError: It is damaged.
    """
    try:
        loaded = tf.saved_model.load(str(path))
        found = dict(loaded.signatures)
        _ = [found[name] for name in names]
    except Exception as error:  # TensorFlow raises whatever its readers do, an IndexError for a short file too
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(f"--model {path} is no whole SavedModel ({reason})") from error
    return {name: Endpoint(function, loaded) for name, function in found.items()}


class Endpoint:
    """A function that keeps the model alive which owns its variables."""

    def __init__(self, function: Any, owner: Any):
        self.function, self._owner = function, owner
        self.input_signature = [function.structured_input_signature[1]]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        return self.function(**inputs)


def as_arrays(endpoint: Any) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """An endpoint that takes and gives arrays, and of its inputs those that it knows.

    Args:
        endpoint: An `Endpoint`, or a `tf.function` of a dict with its input signature.
    """
    names = endpoint.input_signature[0]

    def ask(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = endpoint({name: tf.constant(inputs[name]) for name in names})
        return {name: tensor.numpy() for name, tensor in found.items()}

    return ask


def version_folder(path: Path) -> Path:
    """`path` itself if it is a SavedModel, else the highest version in it.

    Raises:
        UsageError: Neither is there.
    """
    if (path / "saved_model.pb").is_file():
        return path
    versions = [child for child in path.glob("*") if child.name.isdecimal() and (child / "saved_model.pb").is_file()]
    if not versions:
        raise UsageError(f"--model {path} holds no SavedModel: wanted a folder NAME or NAME/VERSION that export wrote")
    return max(versions, key=lambda child: int(child.name))
