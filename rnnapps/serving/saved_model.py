"""An exported model, found and loaded."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.errors import RunError, UsageError
from rnnapps.files import versions


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


def describe(function: Any, units: Mapping[str, str] | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Inputs and outputs of an endpoint by name, each with `dtype`, `shape` (None for any size) and `unit`.

    Args:
        function: A concrete function, as it was traced or loaded.
        units: Name of an input or output to its unit or meaning.
    """

    def spec(name: str, tensor: Any) -> dict[str, Any]:
        shape = None if tensor.shape.rank is None else tensor.shape.as_list()
        described = {"dtype": tensor.dtype.name, "shape": shape}
        return {**described, "unit": units[name]} if units and name in units else described

    return {
        "inputs": {s.name: spec(s.name, s) for s in tf.nest.flatten(function.structured_input_signature)},
        "outputs": {name: spec(name, tensor) for name, tensor in function.structured_outputs.items()},
    }


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


def is_xla(path: Path) -> bool:
    """Whether an export is one for a server with XLA switched on, by its manifest; without one it is none."""
    try:
        return bool(json.loads((path / "manifest.json").read_text(encoding="utf-8")).get("xla", False))
    except (OSError, ValueError, AttributeError):
        return False


def servables(path: Path) -> list[Path]:
    """The SavedModels that a path means: itself, the highest version in it, or that of each model in it.

    Raises:
        UsageError: There is none.
    """
    if (path / "saved_model.pb").is_file() or versions(path):
        return [version_folder(path)]
    found = [version_folder(model) for model in sorted(path.glob("[!.]*")) if versions(model)]
    if not found:
        raise UsageError(f"{path} holds no SavedModel: wanted a folder NAME/VERSION, NAME, or one of several NAMEs")
    return found


def version_folder(path: Path) -> Path:
    """`path` itself if it is a SavedModel, else the highest version in it.

    Raises:
        UsageError: Neither is there.
    """
    if (path / "saved_model.pb").is_file():
        return path
    if not versions(path):
        raise UsageError(f"--model {path} holds no SavedModel: wanted a folder NAME or NAME/VERSION that export wrote")
    return path / str(versions(path)[-1])
