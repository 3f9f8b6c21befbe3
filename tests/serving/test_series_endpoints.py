"""What forecasters answer: step by step as at once, each row by itself; of exports see `test_every_export`."""

import numpy as np
import pytest
import small_exports
import tensorflow as tf
from small_exports import history

from rnnapps.serving.saved_model import as_arrays

KINDS = ["direct", "segment", "attention", "autoregressive"]


def functions_of(kind="autoregressive", name="normal", **options):
    endpoints = small_exports.series(kind, name, **options).endpoints
    return {key: as_arrays(one) for key, one in endpoints.endpoints().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_autoregressive_draws_paths(kind):
    assert ("paths" in functions_of(kind)) == (kind == "autoregressive")


@pytest.mark.parametrize("kind", ["direct", *(pytest.param(kind, marks=pytest.mark.full) for kind in KINDS[1:])])
def test_steps_are_windows_that_move_on(kind, eagerly):
    functions = functions_of(kind)
    rng, x = np.random.default_rng(1), history(3)
    rest = {name: value for name, value in x.items() if name != "history"}
    values = rng.normal(5, 1, (3, 8, 2)).astype("float32")
    window = np.full((3, 6, 2), np.nan, "float32")
    for i in range(8):
        answer = functions["step"]({**rest, "observation": values[:, i], "window": window})
        window = answer.pop("window")
    wanted = functions["serving_default"]({**rest, "history": values[:, -6:]})
    np.testing.assert_array_equal(window, values[:, -6:])
    for name, found in answer.items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-4)


def test_compiled_by_xla_the_forecasts_are_the_same(eagerly):
    tf.config.run_functions_eagerly(False)
    found = functions_of("direct", "quantiles", xla=True)["serving_default"](history(3))
    tf.config.run_functions_eagerly(True)
    wanted = functions_of("direct", "quantiles")["serving_default"](history(3))
    for key, values in wanted.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-3, atol=1e-3, err_msg=key)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_by_xla_all_numbers_are_the_same(kind):
    compiled, plain = functions_of(kind, xla=True), functions_of(kind)
    x = history(3)
    rest = {name: value for name, value in x.items() if name != "history"}
    asked = {
        "serving_default": x,
        "step": {**rest, "observation": x["history"][:, -1], "window": x["history"]},
        "paths": {**x, "seed": np.array([4, 5, 6], np.int32)},
    }
    for name, ask in plain.items():
        found, wanted = compiled[name](asked[name]), ask(asked[name])
        for key, values in wanted.items():
            np.testing.assert_allclose(found[key], values, rtol=1e-3, atol=1e-3, err_msg=f"{name} {key}")


def test_a_row_is_its_own_and_a_strange_series_is_scaled_by_its_window(eagerly):
    ask, x = functions_of("segment", "quantiles")["serving_default"], whole_history()
    together = ask(x)
    for i in range(3):
        alone = ask({name: value[i : i + 1] for name, value in x.items()})
        np.testing.assert_allclose(alone["quantiles"][0], together["quantiles"][i], rtol=1e-4, atol=1e-4)
    moved = ask({**x, "history": 1000 * x["history"]})["mean"]
    np.testing.assert_allclose(moved[2], 1000 * together["mean"][2], rtol=1e-3)


def whole_history():
    """Without gaps."""
    x = history(3)
    return {**x, "history": np.nan_to_num(x["history"], nan=7.0)}


def test_a_horizon_that_is_not_known_has_no_forecast(eagerly):
    ask, x = functions_of("attention", "quantiles")["serving_default"], history(3)
    whole, gap = ask(x), {**x, "future": x["future"].copy()}
    gap["future"][1, -1, 0] = np.nan  # in the horizon
    gap["future"][2, 0, 0] = np.nan  # in the history: missing, as anything there may be
    found = ask(gap)
    np.testing.assert_array_equal(found["mean"][0], whole["mean"][0])
    assert np.isnan(found["mean"][1]).all() and np.isnan(found["quantiles"][1]).all()
    assert np.isfinite(found["mean"][2]).all()
