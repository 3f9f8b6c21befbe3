"""Any Keras model of numbers, on the way out that the tasks' own models take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.serving.endpoints import Endpoints, Request
from rnnapps.serving.export import export_servables
from rnnapps.serving.model_inputs import ModelInputs


class ModelEndpoints(Endpoints):
    """`serving_default` is a model's call: inputs by name, as `ModelInputs` says, outputs by their keys.

    Args:
        model: A Keras model: functional, Sequential or subclassed. An output that has no key is named `output_0`, and
            so on.
        examples: Two or more requests of one row each, by the names of the inputs, or bare arrays where there is one;
            of different lengths where the model takes those.
        xla: Whether the model is compiled, once for each shape.

    Raises:
        RunError: The model cannot be served, or an example does not have its inputs.
    """

    def __init__(self, model: keras.Model, examples: Sequence[Mapping[str, Any] | np.ndarray], xla: bool = False):
        inputs = ModelInputs(model, examples)
        super().__init__("model_endpoints", [model], xla)
        self._examples = inputs.examples
        call = self.compiled(inputs.call)

        def serving_default(given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            found = call(given)
            if isinstance(found, dict):
                return found
            return {f"output_{i}": value for i, value in enumerate(keras.tree.flatten(found))}

        self.functions = {
            "serving_default": tf.function(serving_default, input_signature=[inputs.specs], autograph=False)
        }

    def examples(self) -> list[Request]:
        """Returns the requests that were given."""
        return [("serving_default", given) for given in self._examples]


def export_model(
    model: keras.Model,
    output: str | Path,
    name: str,
    examples: Sequence[Mapping[str, Any] | np.ndarray],
    xla: bool = False,
    manifest: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes a Keras model as `output/name/<next version>/` for TensorFlow Serving, tried out as every export is.

    Args:
        model, examples: As of `ModelEndpoints`.
        output: Folder of all models.
        name: The model's name, a folder's name.
        xla: Whether its form for a server with XLA switched on is written too, as `NAME_xla`.
        manifest: What else goes into `manifest.json`, values of JSON only.

    Returns:
        The folders of the new versions.

    Raises:
        RunError: The model cannot be served, a check failed, or the folder cannot be written.
    """
    return export_servables(lambda xla: ModelEndpoints(model, examples, xla), Path(output), name, manifest or {}, xla)
