"""A copy of an exported text model whose matrices are stored in fewer bits.

TensorFlow has no fast product of int8 or float16 by a single row on a processor: the matrices are made float32 once a
request, before the loop over tokens. So such a model is small on disk and on its way to a server, and writes as fast as
before; for faster writing see the files of `convert`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps import decoding
from rnnapps.decoding import States, Step
from rnnapps.errors import UsageError
from rnnapps.portable.text import TextCore
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.text_endpoints import UNITS, rows, serving_default
from rnnapps.serving.tokenization import TextCodec

STORED = ("float16", "int8")
# Smaller matrices stay as they are: there is nothing to gain.
LARGE = 1024


def quantize(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix as whole numbers times one scale for each column.

        scale_j = max_i |w_ij| / 127,   q_ij = round(w_ij / scale_j),   |q_ij scale_j - w_ij| <= scale_j / 2

    Args:
        matrix: `(rows, columns)` float32.

    Returns:
        int8 `(rows, columns)`, from -127 to 127, and float32 scales `(columns,)`; that of a column of zeros is 1.
    """
    largest = np.abs(matrix).max(axis=0)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8), scales


class QuantizedText(tf.Module):
    """The endpoints of `TextEndpoints`, from an export's `step`, ready for `export.write_saved_model`.

    Args:
        text: The export.
        stored: "float16" or "int8".
    """

    def __init__(self, text: TextCore, stored: str):
        super().__init__(name="quantized_text")
        self.codec = TextCodec(text.vocabulary)
        self._text = text
        self._stored: dict[str, list[tf.Variable]] = {}
        for name, matrix in text.core.constants.items():
            if matrix.size < LARGE:
                continue
            parts = quantize(matrix) if stored == "int8" else [_as_float16(name, matrix)]
            self._stored[name] = [tf.Variable(part, trainable=False) for part in parts]
        self.serving_default = serving_default(self._make_step, text.zeros, self.codec)
        self.score = tf.function(self._score, input_signature=[rows(tf.string, "text")], autograph=False)
        signature = [rows(tf.int32, "tokens"), dict(text.states)]
        self.step = tf.function(self._one_step, input_signature=signature, autograph=False)

    def endpoints(self) -> dict[str, Any]:
        """Returns the functions by the names under which they are served."""
        return {"serving_default": self.serving_default, "score": self.score, "step": self.step}

    def units(self) -> dict[str, str]:
        """Returns what inputs and outputs mean, by name; the others are states, of which zeros are a cold start."""
        return UNITS

    def warmup(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns one small request for each endpoint, which a server answers before it takes others."""
        one, states = np.ones(1, "int32"), {name: value.numpy() for name, value in self._text.zeros(1).items()}
        settings = {"num_chars": 16 * one, "temperature": np.ones(1, "float32"), "seed": 0 * one}
        return [
            ("serving_default", {"prompt": np.array([b""], object), **settings}),
            ("score", {"text": np.array([b"text"], object)}),
            ("step", {"tokens": 0 * one, **states}),
        ]

    def _make_step(self) -> Step:
        """The step, with matrices that are float32 once for all of its calls."""
        swaps = {name: _restored(parts) for name, parts in self._stored.items()}

        def step(tokens: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
            found = self._text.core.rewrite({"tokens": tokens, **states}, swaps)
            return found["logits"], {name: found[name] for name in states}

        return step

    def _one_step(self, tokens: tf.Tensor, states: States) -> dict[str, tf.Tensor]:
        logits, states = self._make_step()(tokens, states)
        return {"logits": logits, **states}

    def _score(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = self.codec.encode(text)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        targets = ids.to_tensor()
        inputs = tf.pad(targets, [[0, 0], [1, 0]])[:, :-1]
        _, _, nats = decoding.follow(self._make_step(), self._text.zeros(tf.size(text)), inputs, targets)
        total = tf.reduce_sum(tf.where(tf.sequence_mask(lengths, tf.shape(nats)[1]), tf.cast(nats, tf.float64), 0), 1)
        mean = tf.math.divide_no_nan(total, tf.cast(lengths, tf.float64))
        return {"nats_per_char": tf.cast(mean, tf.float32), "num_chars": lengths}


def write_quantized(path: Path, output: Path, name: str | None, stored: str) -> Path:
    """Writes `output/name/<next version>/`, served as the export that it is made of.

    Args:
        path: An export of text generation: `NAME/VERSION`, or `NAME` for its highest version.
        output: Folder of all models.
        name: Of the new model. Default: the export's own with `_float16` or `_int8`.
        stored: "float16" or "int8".

    Returns:
        The folder of the new version.

    Raises:
        UsageError: There is no such export, or a matrix of it does not fit into float16.
        RunError: A check of the new model failed, or the folder cannot be written.
    """
    text = TextCore.load(path)
    endpoints = QuantizedText(text, stored)
    manifest = {key: value for key, value in text.manifest.items() if key not in ("endpoints", "name")}
    manifest["weights"] = {"stored": stored, "figures": "those of the model with float32 weights"}
    name = name or f"{text.manifest.get('name', text.path.parent.name)}_{stored}"
    return write_saved_model(endpoints, output, name, manifest, endpoints.warmup())


def _as_float16(name: str, matrix: np.ndarray) -> np.ndarray:
    if not np.abs(matrix).max() <= np.finfo(np.float16).max:
        raise UsageError(f"matrix {name} holds {np.abs(matrix).max():g}, which float16 does not: wanted int8")
    return matrix.astype(np.float16)


def _restored(parts: list[tf.Variable]) -> tf.Tensor:
    matrix = tf.cast(parts[0], tf.float32)
    return matrix * parts[1] if len(parts) > 1 else matrix
