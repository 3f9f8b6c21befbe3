"""Any Keras model on its way to a server: what is served is its call, and what cannot be served is refused."""

from __future__ import annotations

import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import layers
from rnnapps.errors import RunError
from rnnapps.serving import export_model
from rnnapps.serving.capi import run_in_c_api
from rnnapps.serving.keras_model import ModelEndpoints

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the names of the libraries are those of Linux"),
    pytest.mark.usefixtures("one_step_a_turn"),
]


def series(*lengths, width=3):
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(1, length, width)).astype("float32")} for length in lengths]


def test_a_model_answers_in_cpp_as_it_does_here(tmp_path):
    x = keras.Input((None, 3), name="x")
    y = layers.SimpleRNN(5, return_sequences=True)(x)
    model = keras.Model(x, {"all": y, "first": keras.layers.Dense(2)(y[:, 0])})
    (path,) = export_model(model, tmp_path, "small", series(4, 7))
    asked = {"x": np.concatenate([one["x"] for one in series(6, 6)])}
    (answer,) = run_in_c_api(path, [("serving_default", asked)])
    wanted = model(asked["x"])
    assert set(answer) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5)


def test_for_a_server_with_xla_there_is_a_form_of_its_own(tmp_path):
    x = keras.Input((3,), name="x")
    model = keras.Model(x, {"y": keras.layers.Dense(2)(x)})
    plain, compiled = export_model(model, tmp_path, "small", [{"x": np.ones((1, 3), "float32")}] * 2, xla=True)
    assert (plain.parent.name, compiled.parent.name) == ("small", "small_xla")
    asked = [("serving_default", {"x": np.float32([[1, 2, 3], [4, 5, 6]])})]
    for path, xla in ((plain, False), (compiled, True)):
        (answer,) = run_in_c_api(path, asked, xla=xla)
        np.testing.assert_allclose(answer["y"], model(asked[0][1]["x"])["y"], rtol=1e-4, atol=1e-5)
    with pytest.raises(RunError, match="XLA"):
        run_in_c_api(compiled, asked)


@pytest.mark.full
@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU, layers.SimpleRNN, keras.layers.GRU])
def test_a_model_answers_in_cpp_and_with_xla_as_it_does_here(layer, tmp_path):
    x = keras.Input((None, 3), name="x")
    y = layer(5, return_sequences=True, **({"use_cudnn": False} if layer is keras.layers.GRU else {}))(x)
    model = keras.Model(x, {"all": y, "first": keras.layers.Dense(2)(y[:, 0])})
    plain, compiled = export_model(model, tmp_path, "small", series(4, 7), xla=True)
    assert (plain.parent.name, compiled.parent.name) == ("small", "small_xla")
    asked = {"x": np.concatenate([one["x"] for one in series(6, 6)])}
    wanted = model.predict(asked["x"], verbose=0)
    for path, xla in ((plain, False), (compiled, True)):
        (answer,) = run_in_c_api(path, [("serving_default", asked)], xla=xla)
        assert set(answer) == {"all", "first"}
        for name, value in wanted.items():
            np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5)


def test_inputs_and_outputs_without_keys_get_names(tmp_path):
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], [a + b, a * b])
    ones, threes = np.ones((1, 2), "float32"), np.full((1, 2), 3.0, "float32")
    (path,) = export_model(model, tmp_path, "pair", [{"a": ones, "b": threes}, {"a": threes, "b": threes}])
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    answer = serve(a=tf.constant(ones), b=tf.constant(threes))
    assert answer["output_0"].numpy().tolist() == [[4, 4]] and answer["output_1"].numpy().tolist() == [[3, 3]]
    with pytest.raises(RunError, match=r"\['a'\]: wanted \['a', 'b'\]"):
        export_model(model, tmp_path, "pair", [{"a": ones}])


def refused(model, tmp_path, message):
    with pytest.raises(RunError, match=message):
        export_model(model, tmp_path, "bad", series(4, 7))
    assert not (tmp_path / "bad" / "1").exists()


def test_states_that_outlive_a_request_are_refused(tmp_path):
    x = keras.Input(batch_shape=(1, None, 3), name="x")
    refused(keras.Model(x, layers.LSTM(2, stateful=True, name="keeps")(x)), tmp_path, "'keeps' has stateful=True")


def test_a_time_distributed_layer_over_unknown_steps_is_refused(tmp_path):
    x = keras.Input((None, 3), name="x")
    each = keras.layers.TimeDistributed(keras.layers.Dense(2), name="each")
    refused(keras.Model(x, each(x)), tmp_path, "'each' is a TimeDistributed over an unknown number of steps")
    fixed = keras.Input((4, 3), name="x")
    each = keras.layers.TimeDistributed(keras.layers.Dense(2))
    assert export_model(keras.Model(fixed, each(fixed)), tmp_path, "good", series(4, 4))


def test_cudnn_is_refused(tmp_path, monkeypatch):
    """Where a GPU is seen, Keras' own layers put an op into the graph that no processor runs."""
    monkeypatch.setattr(sys.modules["keras.src.backend.tensorflow.rnn"], "_is_gpu_available", lambda: True)
    x = keras.Input((None, 3), name="x")
    theirs = keras.Model(x, keras.layers.LSTM(2)(x))
    refused(theirs, tmp_path, "CudnnRNN.* on a GPU only: wanted layers with use_cudnn=False")
    own = ModelEndpoints(keras.Model(x, layers.LSTM(2)(x)), series(4, 7)).functions["serving_default"]
    graph = own.get_concrete_function().graph.as_graph_def()
    assert not [name for name in re.findall(r'op: "(.*)"', str(graph)) if "Cudnn" in name]
