"""Exports with fewer bits: against NumPy, and against the export that they are made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from portable_exports import written

from rnnapps.errors import UsageError
from rnnapps.portable.core import numeric_cores
from rnnapps.portable.quantized import LARGE, QuantizedText, quantize, write_quantized
from rnnapps.portable.text import TextCore
from rnnapps.serving.saved_model import load_endpoints
from rnnapps.serving.text_model import TextModel

STORED = ("float16", "int8")


@pytest.fixture(scope="module")
def copies(text_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    return {stored: write_quantized(text_export.parent, folder, None, stored) for stored in STORED}


def rounded_by_hand(matrix, stored):
    """The numbers that are left of a matrix, one at a time."""
    if stored == "float16":
        return matrix.astype(np.float16).astype(np.float32)
    found = np.zeros_like(matrix)
    for j in range(matrix.shape[1]):
        scale = np.float32(max(abs(float(w)) for w in matrix[:, j]) / 127) or np.float32(1)
        for i in range(matrix.shape[0]):
            found[i, j] = np.float32(round(float(matrix[i, j] / scale))) * scale
    return found


def test_columns_are_rounded_to_their_own_scale():
    rng = np.random.default_rng(0)
    matrix = (rng.normal(size=(40, 7)) * [1, 10, 1e-3, 1e4, 1, 1e-30, 0]).astype("float32")
    whole, scales = quantize(matrix)
    assert whole.dtype == np.int8 and scales.dtype == np.float32 and scales[-1] == 1
    assert whole.min() >= -127 and (np.abs(whole).max(axis=0)[:-1] == 127).all()
    np.testing.assert_array_equal(whole * scales, rounded_by_hand(matrix, "int8"))
    assert (np.abs(whole * scales - matrix) <= 0.5001 * scales).all()


@pytest.mark.parametrize("stored", STORED)
def test_a_step_is_that_of_rounded_matrices(text_export, copies, stored):
    """The graph of the export with matrices that are rounded by hand."""
    core = numeric_cores(text_export, ("step",))["step"]
    matrices = {name: value for name, value in core.constants.items() if value.size >= LARGE}
    assert len(matrices) >= 3
    swaps = {name: tf.constant(rounded_by_hand(value, stored)) for name, value in matrices.items()}
    inputs = {name: tf.constant(value) for name, value in core.example(3, 0).items()}
    wanted = tf.function(core.rewrite)(inputs, swaps)
    found = load_endpoints(copies[stored])["step"].function(**inputs)
    plain = core.function(**inputs)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
        assert not np.allclose(plain[name], value, rtol=1e-6, atol=1e-7), name


@pytest.mark.parametrize("stored", STORED)
def test_endpoints_are_those_of_their_step(copies, stored):
    """The text is what a chain of steps writes, and its cost what they say."""
    model = TextModel.from_saved_model(copies[stored])
    text, ids, states = "", [], model.initial_states(1)
    nats, token = [], 0
    for _ in range(30):
        logits, states = model.step(tf.constant([token]), states)
        token = 1 + int(np.argmax(logits[0, 1:]))
        nats.append(-float(tf.nn.log_softmax(logits[0])[token]))
        ids.append(token)
    text = model.vocabulary.decode(ids)
    assert written(copies[stored], "", 30, temperature=0.0).decode() == text
    score = model.score([text.encode(), b"", text[:7].encode()])
    np.testing.assert_allclose(score["nats_per_char"], [np.mean(nats), 0, np.mean(nats[:7])], rtol=1e-4)
    assert score["num_chars"].numpy().tolist() == [30, 0, 7]


@pytest.mark.parametrize("stored", STORED)
def test_a_copy_is_smaller_and_says_what_it_is(text_export, copies, stored):
    def weights(path):
        return sum(file.stat().st_size for file in (path / "variables").iterdir() if ".data" in file.name)

    share = {"float16": 0.62, "int8": 0.42}[stored]  # biases and scales are float32
    assert weights(copies[stored]) < share * weights(text_export)
    assert copies[stored].parent.name == f"tiny_{stored}"
    manifest = json.loads((copies[stored] / "manifest.json").read_text("utf-8"))
    assert manifest["weights"]["stored"] == stored and manifest["figures"] == {"test_nats": 1.5}
    given = json.loads((text_export / "manifest.json").read_text("utf-8"))
    assert manifest["endpoints"] == given["endpoints"] and manifest["vocabulary"] == given["vocabulary"]


def test_what_float16_cannot_hold_is_refused(text_export):
    text = TextCore.load(text_export)
    next(value for value in text.core.constants.values() if value.size >= LARGE)[0, 0] = 1e5
    with pytest.raises(UsageError, match="holds 100000, which float16 does not: wanted int8"):
        QuantizedText(text, "float16")


def test_only_text_models_are_taken(series_export, tmp_path):
    with pytest.raises(UsageError, match="is an export of forecasting: wanted one of text generation"):
        write_quantized(series_export, tmp_path, None, "int8")
