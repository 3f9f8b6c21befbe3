"""What an exported classifier of series answers: raw values in, classes and their probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

UNITS = {
    "past": "rows that end with the one to be classified, oldest first, in the columns' own units; categories as codes "
    "(see the manifest); NaN where missing",
    "static": "columns with one value a series; categories as codes; NaN where missing",
    "class": "the most probable class",
    "probabilities": "probability of each class, in the order of the manifest",
}


class ClassEndpoints(tf.Module):
    """`serving_default` names the class of each window.

    Args:
        network: As `rnnapps.models.sequence_classifier` builds it.
        classes: Names of its logits.
    """

    def __init__(self, network: keras.Model, classes: Sequence[str]):
        super().__init__(name="class_endpoints")
        # A saved module restores the variables that it holds; Keras' own, if the model were held, would hide them.
        self.model_variables = [variable.value for variable in network.variables]
        self._inputs = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=name)
            for name, tensor in network.input.items()
        }

        def classify(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            """The class after each window. Rows of a batch do not change each other's."""
            probabilities = tf.nn.softmax(network(inputs)["logits"])
            names = tf.constant(list(classes))
            return {"class": tf.gather(names, tf.argmax(probabilities, -1)), "probabilities": probabilities}

        self._function = tf.function(classify, input_signature=[self._inputs], autograph=False)

    def endpoints(self) -> dict[str, Any]:
        """Returns the function by the name under which it is served."""
        return {"serving_default": self._function}

    def units(self) -> dict[str, str]:
        """Returns what inputs and outputs mean, by name."""
        return UNITS

    def warmup(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns one small request, which a server answers before it takes others."""
        zeros = {name: np.zeros((1, *spec.shape[1:]), np.float32) for name, spec in self._inputs.items()}
        return [("serving_default", zeros)]
