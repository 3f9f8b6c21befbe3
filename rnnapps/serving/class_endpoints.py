"""What an exported classifier of series answers: raw values in, classes and their probabilities out."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from rnnapps.serving.endpoints import Endpoints, Request
from rnnapps.serving.series_endpoints import example

UNITS = {
    "past": "rows that end with the one to be classified, oldest first, in the columns' own units; categories as codes "
    "(see the manifest); NaN where missing",
    "static": "columns with one value a series; categories as codes; NaN where missing",
    "class": "the most probable class",
    "probabilities": "probability of each class, in the order of the manifest",
}


class ClassEndpoints(Endpoints):
    """`serving_default` names the class of each window.

    Args:
        network: As `rnnapps.models.sequence_classifier` builds it.
        classes: Names of its logits.
        xla: Whether the network is compiled, once for each number of rows.
    """

    UNITS = UNITS

    def __init__(self, network: keras.Model, classes: Sequence[str], xla: bool = False):
        super().__init__("class_endpoints", [network], xla)
        self._inputs = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=name)
            for name, tensor in network.input.items()
        }
        numbers = self.compiled(lambda inputs: tf.nn.softmax(network(inputs)["logits"]))

        def classify(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            """The class after each window. Rows of a batch do not change each other's."""
            probabilities = numbers(inputs)
            names = tf.constant(list(classes))
            return {"class": tf.gather(names, tf.argmax(probabilities, -1)), "probabilities": probabilities}

        self.functions = {"serving_default": tf.function(classify, input_signature=[self._inputs], autograph=False)}

    def examples(self) -> list[Request]:
        """Returns requests of one row, as of `Endpoints`."""
        rows = ({name: example(spec, number) for name, spec in self._inputs.items()} for number in (1, 2))
        return [("serving_default", inputs) for inputs in rows]
