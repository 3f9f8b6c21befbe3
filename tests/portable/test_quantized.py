"""Exports with fewer bits: against NumPy, and against the export that they are made of."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from portable_exports import written

from rnnapps.errors import UsageError
from rnnapps.portable.quantized import LARGE, QuantizedText, quantize, write_quantized
from rnnapps.serving.text_model import TextModel

STORED = ("float16", "int8")


@pytest.fixture(scope="session")
def copy(request, text_export, kept):
    """A copy of the export, kept in so many bits."""

    def make(folder):
        assert (
            write_quantized(text_export.parent, folder, None, request.param) == folder / f"text_{request.param}" / "1"
        )

    return request.param, kept.folder(f"small-text-{request.param}", make) / f"text_{request.param}" / "1"


COPIES = pytest.mark.parametrize("copy", ["int8", pytest.param("float16", marks=pytest.mark.full)], indirect=True)


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
def test_a_step_is_that_of_rounded_matrices(text, stored):
    """The graph of the export with matrices that are rounded by hand."""
    core = text.core
    matrices = {name: value for name, value in core.constants.items() if value.size >= LARGE}
    assert len(matrices) >= 3
    swaps = {name: tf.constant(rounded_by_hand(value, stored)) for name, value in matrices.items()}
    inputs = {name: tf.constant(value) for name, value in core.example(3, 0).items()}
    wanted = tf.function(core.rewrite)(inputs, swaps)
    step = QuantizedText(text, stored).functions["step"]
    found = step(inputs["tokens"], {name: inputs[name] for name in text.states})
    plain = core.function(**inputs)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
        assert not np.allclose(plain[name], value, rtol=1e-6, atol=1e-7), name


@COPIES
def test_endpoints_are_those_of_their_step(copy):
    """The text is what a chain of steps writes, and its cost what they say."""
    model = TextModel.from_saved_model(copy[1])
    ids, states, nats, token = [], model.initial_states(1), [], 0
    for _ in range(30):
        logits, states = model.step(tf.constant([token]), states)
        token = 1 + int(np.argmax(logits[0, 1:]))
        nats.append(-float(tf.nn.log_softmax(logits[0])[token]))
        ids.append(token)
    text = model.vocabulary.decode(ids)
    assert written(copy[1], "", 30, temperature=0.0).decode() == text
    score = model.score([text.encode(), b"", text[:7].encode()])
    np.testing.assert_allclose(score["nats_per_char"], [np.mean(nats), 0, np.mean(nats[:7])], rtol=1e-4)
    assert score["num_chars"].numpy().tolist() == [30, 0, 7]


@COPIES
def test_a_copy_is_smaller_and_says_what_it_is(text_export, copy):
    def weights(path):
        return sum(file.stat().st_size for file in (path / "variables").iterdir() if ".data" in file.name)

    stored, path = copy
    share = {"float16": 0.62, "int8": 0.42}[stored]  # biases and scales are float32
    assert weights(path) < share * weights(text_export)
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    assert manifest["weights"]["stored"] == stored and manifest["figures"] == {"test_nats": 1.5}
    given = json.loads((text_export / "manifest.json").read_text("utf-8"))
    assert manifest["endpoints"] == given["endpoints"] and manifest["vocabulary"] == given["vocabulary"]


def test_what_float16_cannot_hold_is_refused(text):
    name, matrix = next((name, value) for name, value in text.core.constants.items() if value.size >= LARGE)
    large = np.where(np.arange(matrix.size).reshape(matrix.shape) == 0, np.float32(1e5), matrix)
    core = dataclasses.replace(text.core, constants={**text.core.constants, name: large})
    with pytest.raises(UsageError, match="holds 100000, which float16 does not: wanted int8"):
        QuantizedText(dataclasses.replace(text, core=core), "float16")


def test_only_text_models_are_taken(series_export, tmp_path):
    with pytest.raises(UsageError, match="is an export of forecasting: wanted one of text generation"):
        write_quantized(series_export, tmp_path, None, "int8")
