"""What a trained network writes about lists of things: in batches, by functions that are compiled once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.decoding import Search
from rnnapps.serving.sentence_writer import Draws

Answer = dict[str, np.ndarray]
# From what is read `(batch,)`, options, what each text begins with, or None, and whether to say where it looked.
Write = Callable[[tf.Tensor, Search | Draws, tf.Tensor | None, bool], dict[str, tf.Tensor]]


class WriterModel:
    """Writes about lists of sentences, or of pictures.

    Args:
        write: Does so in a graph.
        text: Name of the texts `(batch, n)` in what it gives.
        max_length: Tokens of a text at most, its end included.
    """

    def __init__(self, write: Write, text: str, max_length: int):
        self.max_length = max_length
        self._write, self._text = write, text
        self._functions: dict[Any, Callable[[Any], Any]] = {}

    def answers(
        self, read: Sequence[Any], options: Search | Draws, prefix: str | None, batch_size: int, align: bool
    ) -> list[Answer]:
        """What is written about each, a row for each."""
        found: list[Answer] = []
        run = self.compiled(options, prefix, align)
        for first in range(0, len(read), batch_size):
            some = list(read[first : first + batch_size])
            arrays = {name: tensor.numpy() for name, tensor in run(tf.constant(some)).items()}
            found += [{name: array[row] for name, array in arrays.items()} for row in range(len(some))]
        return found

    def compiled(self, options: Search | Draws, prefix: str | None, align: bool) -> Callable[[Any], Any]:
        """The function of what is read, made once."""

        def run(read: tf.Tensor) -> dict[str, tf.Tensor]:
            begin = None if prefix is None else tf.fill(tf.shape(read), prefix)
            return self._write(read, options, begin, align)

        asked = (options, prefix, align)
        if asked not in self._functions:
            self._functions[asked] = tf.function(run, [tf.TensorSpec((None,), tf.string)], autograph=False)
        return self._functions[asked]

    def texts(self, answers: Sequence[Answer]) -> list[str]:
        """The first text of each answer."""
        return [answer[self._text][0].decode("utf-8") for answer in answers]
