"""Numeric cores: the same numbers as the endpoints, where text is cut off too."""

from __future__ import annotations

import colour_pictures
import numpy as np
import pytest
import tensorflow as tf
from portable_exports import SERIES, drawn, export_series, history

from rnnapps.data.picture_tensors import decoded
from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.decoding import Search
from rnnapps.errors import UsageError
from rnnapps.models.captioner import captioner, with_encoder
from rnnapps.models.picture_encoder import picture_encoder
from rnnapps.models.translator import translator
from rnnapps.portable.core import numeric_cores
from rnnapps.serving.caption_endpoints import CaptionEndpoints
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.saved_model import load_endpoints
from rnnapps.serving.translation_endpoints import TranslationEndpoints

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
WORDS = SentenceVocabulary("word", [" a", " dog", " runs", "."])
SEARCH = Search(beam=2, max_length=5)


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


def test_of_a_text_model_the_step_is_left(text_export):
    cores = numeric_cores(text_export)
    assert list(cores) == ["step"] and cores["step"].cut == ()
    inputs = cores["step"].example(3, 0)
    wanted = asked(load_endpoints(text_export)["step"].function, inputs)
    assert_same(asked(cores["step"].function, inputs), wanted)
    assert cores["step"].ask(inputs).keys() == wanted.keys()
    assert "ReadVariableOp" not in operations(cores["step"])


@pytest.mark.parametrize(
    ("kind", "normalize"), [("segment", "last"), pytest.param("attention", "series", marks=pytest.mark.full)]
)
def test_a_series_is_the_row_of_its_name(kind, normalize, tmp_path):
    path = export_series(tmp_path, kind, normalize=normalize)
    core = numeric_cores(path, ("serving_default",))["serving_default"]
    endpoint = load_endpoints(path)["serving_default"].function
    assert core.cut == ("series",) and core.inputs["series"].dtype == tf.int64
    assert not [name for name in operations(core) if name.startswith(("TensorList", "Lookup", "EnsureShape"))]
    for rows, names in ((1, ["shop b"]), (3, ["elsewhere", "shop b", "shop a"])):
        x = history(rows)
        numbers = np.array([SERIES.index(name) if name in SERIES else -1 for name in names])
        found = asked(core.function, {**x, "series": numbers})
        assert_same(found, asked(endpoint, {**x, "series": np.array(names, object)}))
        assert np.isfinite(found["quantiles"]).all()


def test_a_step_of_a_forecaster_has_a_core(series_export):
    core, endpoint = numeric_cores(series_export, ("step",))["step"], load_endpoints(series_export)["step"].function
    x = history(2)
    x["observation"], x["window"] = x["history"][:, 3], x.pop("history")
    found = asked(core.function, {**x, "series": np.array([1, 0])})
    assert_same(found, asked(endpoint, {**x, "series": np.array(["shop b", "shop a"], object)}))


@pytest.fixture(scope="module")
def translation(tmp_path_factory, one_step_a_turn):
    """Cores and endpoints of a translator: its encoder reads in both directions, and rows in parts."""
    codec = SentenceCodec(WORDS)
    endpoints = TranslationEndpoints(drawn(translator(WORDS.size, WORDS.size, units=8)), codec, codec, SEARCH)
    path = write_saved_model(endpoints, tmp_path_factory.mktemp("models"), "words", {})
    return numeric_cores(path, ("encode", "step")), load_endpoints(path)


@pytest.mark.parametrize(("rows", "places"), [(1, 1), (1, 7), (2, 5), (5, 12)])
def test_an_encoder_reads_any_number_of_sentences_of_any_length(translation, rows, places):
    cores, endpoints = translation
    source = np.random.default_rng(places).integers(1, WORDS.size, (rows, places)).astype("int32")
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


@pytest.mark.full
def test_a_captioner_takes_pixels(tmp_path):
    encoder = picture_encoder("cnn", 32, seed=2)
    writer = drawn(captioner(*encoder.output.shape[1:], WORDS.size, units=8, embedding=8))
    endpoints = CaptionEndpoints(with_encoder(encoder, writer), SentenceCodec(WORDS), (4, 4), SEARCH)
    path = write_saved_model(endpoints, tmp_path, "few", {})
    core, endpoint = numeric_cores(path, ("encode",))["encode"], load_endpoints(path)["encode"].function
    assert core.cut == ("pixels",) and core.inputs["pixels"].shape.as_list() == [None, 32, 32, 3]
    files = [colour_pictures.picture(top, "blue", kind="PNG", size=40) for top in ("red", "green")]
    found = asked(core.function, {"pixels": decoded(tf.constant(files), 32).numpy()})
    assert_same(found, asked(endpoint, {"image_bytes": np.array(files, object)}))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("serving_default", "endpoint 'serving_default' gives text (text): wanted one that gives numbers"),
        ("score", "endpoint 'score' does more with text than to look it up: wanted one that takes numbers"),
        ("other", "has no endpoint 'other': wanted one of score, serving_default, step"),
    ],
)
def test_what_has_no_core_says_why(text_export, name, sentence):
    with pytest.raises(UsageError) as error:
        numeric_cores(text_export, (name,))
    assert str(error.value).endswith(sentence)
