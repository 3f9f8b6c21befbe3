"""Numeric cores: the same numbers as the endpoints, where text is cut off too."""

from __future__ import annotations

import colour_pictures
import number_words
import numpy as np
import pytest
import small_exports
import tensorflow as tf
from small_exports import PICTURES, history

from rnnapps.data.picture_tensors import decoded
from rnnapps.errors import UsageError
from rnnapps.portable import core as core_module
from rnnapps.portable.core import numeric_core, numeric_cores
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.saved_model import load_endpoints

NAMES = [b"elsewhere", b"shop b", b"shop a"]
NUMBERS = [-1, 1, 0]


def asked(function, inputs):
    found = function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in found.items()}


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def operations(core):
    """The types of all operations, those in loops too."""
    graph = core.function.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return [node.op for node in nodes]


@pytest.fixture(scope="module")
def text_endpoints(text_export):
    return load_endpoints(text_export)


def test_of_a_text_model_the_step_is_left(text_export, text_endpoints):
    cores = numeric_cores(text_export)
    assert list(cores) == ["step"] and cores["step"].cut == ()
    inputs = cores["step"].example(3, 0)
    wanted = asked(text_endpoints["step"].function, inputs)
    assert_same(asked(cores["step"].function, inputs), wanted)
    assert cores["step"].ask(inputs).keys() == wanted.keys()
    assert "ReadVariableOp" not in operations(cores["step"])


@pytest.fixture(scope="module")
def segments(series_export):
    """The endpoints of a forecaster."""
    return load_endpoints(series_export)


def test_a_series_is_the_row_of_its_name(segments):
    _a_series_is_the_row_of_its_name(segments)


@pytest.mark.full
def test_to_a_forecaster_with_attention_a_series_is_the_row_of_its_name(tmp_path):
    made = small_exports.series("attention", "quantiles", normalize="series")
    _a_series_is_the_row_of_its_name(load_endpoints(write_saved_model(made.endpoints, tmp_path, "attention", {})))


def _a_series_is_the_row_of_its_name(endpoints):
    core, endpoint = (make(endpoints["serving_default"].function) for make in (_core_of, lambda function: function))
    assert core.cut == ("series",) and core.inputs["series"].dtype == tf.int64
    assert not [name for name in operations(core) if name.startswith(("TensorList", "Lookup", "EnsureShape"))]
    for rows in (1, 3):
        x = history(rows)
        found = asked(core.function, {**x, "series": np.array(NUMBERS[-rows:])})
        assert_same(found, asked(endpoint, {**x, "series": np.array(NAMES[-rows:], object)}))
        assert np.isfinite(found["quantiles"]).all()


def _core_of(function):
    return numeric_core("serving_default", function)


def test_a_step_of_a_forecaster_has_a_core(segments):
    endpoint = segments["step"].function
    core, x = numeric_core("step", endpoint), history(2)
    x["observation"], x["window"] = x["history"][:, 3], x.pop("history")
    found = asked(core.function, {**x, "series": np.array(NUMBERS[1:])})
    assert_same(found, asked(endpoint, {**x, "series": np.array(NAMES[1:], object)}))


@pytest.fixture(scope="module")
def translation(kept):
    """Cores and endpoints of a translator: its encoder reads in both directions, and rows in parts."""
    endpoints = load_endpoints(number_words.exported(kept), "encode", "step")
    return {name: numeric_core(name, endpoints[name].function) for name in ("encode", "step")}, endpoints


@pytest.mark.parametrize(("rows", "places"), [(1, 1), (1, 7), (2, 5), (5, 12)])
def test_an_encoder_reads_any_number_of_sentences_of_any_length(translation, rows, places):
    cores, endpoints = translation
    ids = cores["step"].function.structured_outputs["logits"].shape[-1]
    source = np.random.default_rng(places).integers(1, ids, (rows, places)).astype("int32")
    source[0, places // 2 + 1 :] = 0
    found = asked(cores["encode"].function, {"source": source})
    assert_same(found, asked(endpoints["encode"].function, {"source": source}))
    read = {"token": np.ones(rows, "int32"), **found}
    assert_same(asked(cores["step"].function, read), asked(endpoints["step"].function, read))


def test_loops_keep_arrays_and_no_parts(translation):
    found = operations(translation[0]["encode"])
    assert not [name for name in found if name.startswith(("TensorList", "EnsureShape"))]
    # Two directions, each with a loop of some steps a turn, and one for the steps that are left.
    assert found.count("While") + found.count("StatelessWhile") == 4


@pytest.fixture(scope="module")
def captioner(kept):
    """The endpoints of a captioner."""
    return load_endpoints(colour_pictures.exported(kept), "encode")


def test_a_captioner_takes_pixels(captioner):
    endpoint = captioner["encode"].function
    core = numeric_core("encode", endpoint)
    assert core.cut == ("pixels",) and core.inputs["pixels"].shape.as_list() == [None, 32, 32, 3]
    found = asked(core.function, {"pixels": decoded(tf.constant(PICTURES), 32).numpy()})
    assert_same(found, asked(endpoint, {"image_bytes": np.array(PICTURES, object)}))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("serving_default", "endpoint 'serving_default' gives text (text): wanted one that gives numbers"),
        ("score", "endpoint 'score' does more with text than to look it up: wanted one that takes numbers"),
        ("other", "has no endpoint 'other': wanted one of score, serving_default, step"),
    ],
)
def test_what_has_no_core_says_why(text_export, text_endpoints, name, sentence, monkeypatch):
    monkeypatch.setattr(core_module, "load_endpoints", lambda path: text_endpoints)
    with pytest.raises(UsageError) as error:
        numeric_cores(text_export, (name,))
    assert str(error.value).endswith(sentence)
