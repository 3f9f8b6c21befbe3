"""What exported forecasters answer: in TensorFlow's C++ loader as here, step by step as at once."""

import sys

import numpy as np
import pytest

from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.models.sequence_classifier import sequence_classifier
from rnnapps.ops.heads import LEVELS, head
from rnnapps.serving.capi import run_in_c_api
from rnnapps.serving.class_endpoints import ClassEndpoints
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.saved_model import as_arrays
from rnnapps.serving.series_endpoints import NUM_PATHS, SeriesEndpoints

SHAPE = Shape(6, 4, 2, future=(0, 2), num_series=2, cycles=("day",))
NAMES = ["shop a", "shop b"]


def made(kind="autoregressive", name="normal", shape=SHAPE, offsets=None, xla=False):
    one = head(name)
    network = forecaster(kind, shape, one.parameters, units=5, segment=2)
    network.get_layer("targets").set_tables([[5.0, 50.0], [6.0, 60.0]], [[1.0, 10.0], [2.0, 20.0]])
    return SeriesEndpoints(network, one, NAMES, offsets, xla)


def request(rows=3, seed=0):
    rng = np.random.default_rng(seed)
    known = np.stack([rng.normal(size=(rows, 10)), rng.integers(0, 3, (rows, 10))], -1)
    return {
        "history": rng.normal([5, 50], [1, 10], (rows, 6, 2)).astype("float32"),
        "future": known.astype("float32"),
        "times": (3600 * np.tile(np.arange(10), (rows, 1))).astype("int64"),
        "series": np.array([b"shop b", b"shop a", b"elsewhere"][:rows], object),
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TensorFlow's libraries have other names elsewhere")
def test_every_endpoint_answers_the_same_in_the_c_api(tmp_path):
    endpoints = made(offsets=np.linspace(-0.1, 0.1, 4 * 2 * len(LEVELS), dtype="float32").reshape(4, 2, len(LEVELS)))
    path = write_saved_model(endpoints, tmp_path, "tiny", {})
    x = request()
    rest = {name: value for name, value in x.items() if name != "history"}
    asked = [
        ("serving_default", x),
        ("step", {**rest, "observation": x["history"][:, -1], "window": x["history"]}),
        ("paths", {**x, "seed": np.array([4, 5, 6], np.int32)}),
    ]
    for (name, inputs), answer in zip(asked, run_in_c_api(path, asked), strict=True):
        wanted = as_arrays(endpoints.endpoints()[name])(inputs)
        assert set(answer) == set(wanted), name
        for key, values in wanted.items():
            np.testing.assert_allclose(answer[key], values, rtol=1e-4, atol=1e-4, err_msg=f"{name} {key}")
    assert wanted["paths"].shape == (3, NUM_PATHS, 4, 2)


@pytest.mark.parametrize("kind", ["segment", "direct", "attention", "autoregressive"])
def test_steps_are_windows_that_move_on(kind):
    functions = {name: as_arrays(one) for name, one in made(kind).endpoints().items()}
    assert ("paths" in functions) == (kind == "autoregressive")
    rng, x = np.random.default_rng(1), request()
    rest = {name: value for name, value in x.items() if name != "history"}
    values = rng.normal(5, 1, (3, 9, 2)).astype("float32")
    window = np.full((3, 6, 2), np.nan, "float32")
    for i in range(9):
        answer = functions["step"]({**rest, "observation": values[:, i], "window": window})
        window = answer.pop("window")
    wanted = functions["serving_default"]({**rest, "history": values[:, -6:]})
    np.testing.assert_array_equal(window, values[:, -6:])
    for name, found in answer.items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-4)


@pytest.mark.full
def test_compiled_by_xla_the_numbers_are_the_same():
    each = (made(xla=xla).endpoints() for xla in (True, False))
    compiled, plain = ({name: as_arrays(one) for name, one in endpoints.items()} for endpoints in each)
    x = request()
    rest = {name: value for name, value in x.items() if name != "history"}
    asked = {
        "serving_default": x,
        "step": {**rest, "observation": x["history"][:, -1], "window": x["history"]},
        "paths": {**x, "seed": np.array([4, 5, 6], np.int32)},
    }
    for name, inputs in asked.items():
        found, wanted = compiled[name](inputs), plain[name](inputs)
        for key, values in wanted.items():
            np.testing.assert_allclose(found[key], values, rtol=1e-3, atol=1e-3, err_msg=f"{name} {key}")


def test_a_row_is_its_own_and_a_strange_series_is_scaled_by_its_window():
    ask, x = as_arrays(made("segment", "quantiles").endpoints()["serving_default"]), request()
    together = ask(x)
    for i in range(3):
        alone = ask({name: value[i : i + 1] for name, value in x.items()})
        np.testing.assert_allclose(alone["quantiles"][0], together["quantiles"][i], rtol=1e-4, atol=1e-4)
    moved = ask({**x, "history": 1000 * x["history"]})["mean"]
    np.testing.assert_allclose(moved[2], 1000 * together["mean"][2], rtol=1e-3)


def test_a_horizon_that_is_not_known_has_no_forecast():
    ask, x = as_arrays(made("attention", "quantiles").endpoints()["serving_default"]), request()
    whole, gap = ask(x), {**x, "future": x["future"].copy()}
    gap["future"][1, -1, 0] = np.nan  # in the horizon
    gap["future"][2, 0, 0] = np.nan  # in the history: missing, as anything there may be
    found = ask(gap)
    np.testing.assert_array_equal(found["mean"][0], whole["mean"][0])
    assert np.isnan(found["mean"][1]).all() and np.isnan(found["quantiles"][1]).all()
    assert np.isfinite(found["mean"][2]).all()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TensorFlow's libraries have other names elsewhere")
def test_classes_answer_the_same_in_the_c_api(tmp_path):
    shape = Shape(6, 0, 0, past=(0, 2), static=(0,))
    endpoints = ClassEndpoints(sequence_classifier(shape, 3, units=4, segment=2), ["a", "b", "ß"])
    rng = np.random.default_rng(0)
    past = np.stack([rng.normal(size=(4, 6)), rng.integers(0, 3, (4, 6))], -1).astype("float32")
    past[0, :3] = np.nan
    x = {"past": past, "static": rng.normal(size=(4, 1)).astype("float32")}
    path = write_saved_model(endpoints, tmp_path, "tiny", {})
    (answer,) = run_in_c_api(path, [("serving_default", x)])
    wanted = as_arrays(endpoints.endpoints()["serving_default"])(x)
    assert answer["class"].tolist() == wanted["class"].tolist() and len(set(wanted["class"])) > 1
    np.testing.assert_allclose(answer["probabilities"], wanted["probabilities"], rtol=1e-4)
