"""A tiny text model of stock Keras layers, with the inputs and outputs that every text model has; small exports."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import pytest
import small_exports
import tensorflow as tf
from cpp_process import one_cpp_process  # noqa: F401  # a fixture
from small_runs import eagerly, elsewhere  # noqa: F401  # fixtures

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.ops.strings import normalised
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


@pytest.fixture(scope="module")  # a file's, since what is traced stays with it
def endpoints(model: keras.Model, vocabulary: Vocabulary) -> TextEndpoints:
    found = TextEndpoints(model, TextCodec(vocabulary))
    found.functions["serving_default"].get_concrete_function()  # here, and not on account of the first test
    return found


@pytest.fixture(scope="session")
def unicode_tables():
    """Those that sentences are normalised with: they take longer to make than most tests."""
    normalised(tf.constant(["a"]))


@pytest.fixture(scope="session")
def text_export(kept) -> Path:
    return small_exports.folder(kept, "text")
