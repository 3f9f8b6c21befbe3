"""A tiny text model of stock Keras layers, with the inputs and outputs that every text model has."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.serving.text_endpoints import TextEndpoints
from rnnapps.serving.tokenization import TextCodec

# Test files are not a package; this lets those of this folder share `export_helpers`.
sys.path.append(str(Path(__file__).parent))

SYMBOLS = "abcdefgh .\né中"
UNITS = 9


def build_model(vocabulary_size: int) -> keras.Model:
    keras.utils.set_random_seed(4)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    states = {name: keras.Input((UNITS,), name=name) for name in ("layer_0_h", "layer_0_c", "layer_1_h")}
    wide = {"kernel_initializer": keras.initializers.RandomNormal(stddev=1.0)}  # a distribution that is not flat
    x = keras.layers.Embedding(vocabulary_size, 5, embeddings_initializer=wide["kernel_initializer"])(tokens)
    lstm = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True, use_cudnn=False, **wide)
    x, h0, c0 = lstm(x, initial_state=[states["layer_0_h"], states["layer_0_c"]])
    gru = keras.layers.GRU(UNITS, return_sequences=True, return_state=True, use_cudnn=False, **wide)
    x, h1 = gru(x, initial_state=states["layer_1_h"])
    logits = keras.layers.Dense(vocabulary_size, **wide)(x)
    outputs = {"logits": logits, "layer_0_h": h0, "layer_0_c": c0, "layer_1_h": h1}
    return keras.Model({"tokens": tokens, **states}, outputs)


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary("char", SYMBOLS)


@pytest.fixture(scope="session")
def model(vocabulary: Vocabulary) -> keras.Model:
    return build_model(vocabulary.size)


@pytest.fixture(scope="session")
def endpoints(model: keras.Model, vocabulary: Vocabulary) -> TextEndpoints:
    return TextEndpoints(model, TextCodec(vocabulary))


@pytest.fixture(scope="session")
def requests() -> list[tuple[str, dict[str, np.ndarray]]]:
    """Requests to every endpoint, with one and with several rows of different length."""
    prompts = np.array(["abc é", "", "中 bad ?" * 9], object)
    several = {
        "prompt": prompts,
        "num_chars": np.array([40, 7, 0], np.int32),
        "temperature": np.array([1.0, 0.0, 0.5], np.float32),
        "seed": np.array([1, -2, 3], np.int32),
    }
    states = {name: np.full((2, UNITS), 0.25, np.float32) for name in ("layer_0_h", "layer_0_c", "layer_1_h")}
    return [
        ("serving_default", several),
        ("serving_default", {name: value[:1] for name, value in several.items()}),
        ("score", {"text": prompts}),
        ("score", {"text": prompts[1:2]}),
        ("step", {"tokens": np.array([3, 0], np.int32), **states}),
    ]
