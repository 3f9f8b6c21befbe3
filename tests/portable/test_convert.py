"""ONNX and LiteRT: what is written answers as TensorFlow does, in other processes too, or is not written."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from portable_exports import written
from small_exports import SERIES, history

from rnnapps.errors import RunError
from rnnapps.portable import convert as module
from rnnapps.portable.convert import FORMATS, WEIGHTS, convert, convert_export, difference
from rnnapps.portable.core import numeric_core
from rnnapps.serving.endpoints import Endpoints
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.saved_model import load_endpoints

FORMS = pytest.mark.parametrize("form", ["onnx", "litert"])

# Greedy text from the file alone. TensorFlow, Keras and this package are not to be had.
ALONE = """
import json, sys
for name in ("tensorflow", "keras", "rnnapps"):
    sys.modules[name] = None
import numpy as np
path, steps, states = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
if path.endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    run = lambda inputs: dict(zip(names, session.run(names, inputs)))
    after = "next_"
else:
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(path)
    runner = interpreter.get_signature_runner()
    run = lambda inputs: runner(**inputs)
    after = ""
states = {name: np.zeros((1, size), "float32") for name, size in states.items()}
token, tokens = 0, []
for _ in range(steps):
    found = run({"tokens": np.array([token], "int32"), **states})
    states = {name: found[after + name] for name in states}
    token = 1 + int(found["logits"][0, 1:].argmax())
    tokens.append(token)
print(json.dumps(tokens))
"""


@pytest.fixture(autouse=True, scope="module")
def _run_times():
    """These are an extra."""
    for form in FORMATS.values():
        for package in form.packages:
            pytest.importorskip(package)


@pytest.fixture(scope="module")
def converted(text_export, tmp_path_factory):
    """A text model in each form and with each kind of weights, converted once: from both names to folder and file."""

    @functools.cache
    def convert_text(form, weights):
        folder = tmp_path_factory.mktemp("converted") / "out"
        (one,) = convert_export(text_export.parent, folder, form, weights, ())
        return folder, one

    return convert_text


@FORMS
@pytest.mark.parametrize("weights", ["float32", "int8", pytest.param("float16", marks=pytest.mark.full)])
def test_a_text_model_answers_the_same(converted, text, form, weights):
    folder, one = converted(form, weights)
    stored = "" if weights == "float32" else f"_{weights}"
    names = {f"step{stored}{FORMATS[form].suffix}", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["task"] == "text_generation"
    assert (folder / one.file).read_bytes() == one.content
    inputs = text.core.example(4, 0, seed=9)
    wanted = {name: value.numpy() for name, value in text.core.function(**inputs).items()}
    off = {name: difference(value, wanted[name]) for name, value in one.run(inputs).items()}
    low, high = {"float32": (0, 1e-5), "float16": (1e-6, 1e-2), "int8": (1e-4, 0.2)}[weights]
    assert off.keys() == wanted.keys() and low < max(off.values()) < high, off


@FORMS
def test_fewer_bits_are_fewer_bytes(converted, text, form):
    large, small = (len(converted(form, weights)[1].content) for weights in ("float32", "int8"))
    weights = sum(matrix.size for matrix in text.core.constants.values())
    assert large - small > 2 * weights, (large, small, weights)


@pytest.mark.full
@FORMS
def test_half_as_many_bits_are_half_as_many_bytes(converted, text, form):
    sizes = [len(converted(form, weights)[1].content) for weights in WEIGHTS]
    weights = sum(matrix.size for matrix in text.core.constants.values())
    assert sizes[0] - sizes[1] > 1.5 * weights and sizes[1] - sizes[2] > 0.4 * weights, (sizes, weights)


@FORMS
def test_elsewhere_it_writes_the_same_text(converted, text, form):
    folder, one = converted(form, "float32")
    states = {name: spec.shape[1] for name, spec in text.states.items()}
    command = [sys.executable, "-c", ALONE, str(folder / one.file), "40", json.dumps(states)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    symbols = json.loads((folder / "manifest.json").read_text("utf-8"))["vocabulary"]["symbols"]
    found = "".join(symbols[token - 1] for token in json.loads(done.stdout))
    assert found == written(text.path, "", 40, temperature=0.0).decode() and len(set(found)) > 2


@FORMS
def test_names_are_numbers_and_gaps_stay_gaps(form):
    """As an endpoint of series has them, by itself."""
    rows = tf.lookup.KeyValueTensorInitializer(SERIES, tf.range(2, dtype=tf.int64))
    table, levels = tf.lookup.StaticHashTable(rows, default_value=-1), tf.constant([7.0, 8.0, 9.0])

    @tf.function(autograph=False)
    def endpoint(x, series):
        level = tf.gather(levels, table.lookup(series) + 1)[:, tf.newaxis]
        return {"filled": tf.where(tf.math.is_nan(x), level, x), "doubled": 2 * x}

    specs = {"x": tf.TensorSpec((None, 3), tf.float32, "x"), "series": tf.TensorSpec((None,), tf.string, "series")}
    core = numeric_core("gaps", endpoint.get_concrete_function(**specs))
    x = np.array([[1, np.nan, 3], [np.nan, 5, 6]], "float32")
    found = convert(core, form, "float32").run({"x": x, "series": np.array([1, -1])})
    np.testing.assert_array_equal(found["filled"], [[1, 9, 3], [7, 5, 6]])
    np.testing.assert_array_equal(found["doubled"], 2 * x)


@pytest.mark.full
@FORMS
def test_a_forecaster_answers_the_same_with_gaps(series_export, form, tmp_path):
    made = {one.file: one for one in convert_export(series_export, tmp_path, form, "float32", ())}
    suffix = FORMATS[form].suffix
    assert set(made) == {f"serving_default{suffix}", f"step{suffix}"}
    endpoints = load_endpoints(series_export)
    for rows, names in ((1, ["shop b"]), (3, ["elsewhere", "shop b", "shop a"])):
        x = history(rows)
        wanted = endpoints["serving_default"]({name: tf.constant(x) for name, x in {**x, "series": names}.items()})
        numbers = np.array([SERIES.index(name) if name in SERIES else -1 for name in names])
        found = made[f"serving_default{suffix}"].run({**x, "series": numbers})
        for name, value in wanted.items():
            assert difference(found[name], value.numpy()) < 1e-5, name


class Normal(Endpoints):
    """An endpoint with an operation that no other run time has: quantiles of a normal distribution."""

    def __init__(self):
        super().__init__("normal", [])
        spec = tf.TensorSpec((None,), tf.float32, name="p")
        self.functions = {"serving_default": tf.function(lambda p: {"z": tf.math.ndtri(p)}, [spec])}

    def examples(self):
        return [("serving_default", {"p": np.array([one], "float32")}) for one in (0.5, 0.9)]


@pytest.mark.parametrize(("form", "name"), [("onnx", "tf2onnx"), ("litert", "LiteRT")])
def test_what_has_no_form_is_said_by_name_and_nothing_is_written(form, name, tmp_path):
    path = write_saved_model(Normal(), tmp_path / "models", "normal", {})
    with pytest.raises(RunError) as error:
        convert_export(path, tmp_path / "out", form, "float32", ())
    assert str(error.value) == f"{name} has no form of Ndtri in endpoint 'serving_default'"
    assert [child.name for child in tmp_path.iterdir()] == ["models"]


@FORMS
def test_another_answer_is_not_written(text_export, form, tmp_path, monkeypatch):
    monkeypatch.setitem(module.LIMITS, "int8", 1e-6)
    with pytest.raises(RunError, match="with int8 weights gives another .* than TensorFlow in endpoint 'step': off by"):
        convert_export(text_export, tmp_path / "out", form, "int8", ())
    assert not (tmp_path / "out").exists() and not list(tmp_path.iterdir())
