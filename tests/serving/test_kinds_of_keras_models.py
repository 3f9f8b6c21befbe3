"""Keras models of every kind on their way to a server, and what an example may be."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import layers
from rnnapps.errors import RunError
from rnnapps.serving import export_model
from rnnapps.serving.model_inputs import ModelInputs

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
LONG = [np.random.default_rng(n).normal(size=(1, n, 3)).astype("float32") for n in (4, 6)]


class Network(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = keras.layers.Dense(2)

    def call(self, series):
        return self.last(series)


class TwoInputs(Network):
    def call(self, series, shift):
        return self.last(series) + shift


class OneDict(Network):
    def call(self, inputs, training=False):
        return {"answer": self.last(inputs["series"]) + inputs["shift"]}


def sequential(*first):
    return keras.Sequential([*first, keras.layers.Dense(2)])


def named(name="series", **more):
    return [{name: x, **more} for x in LONG]


SHIFT = np.ones((1, 1), "float32")


@pytest.mark.parametrize(
    ("make", "examples", "names"),
    [
        (lambda: sequential(keras.Input((None, 3), name="series")), named(), ["series"]),
        (lambda: sequential(keras.Input((None, 3))), named("mine"), ["mine"]),
        (lambda: sequential(keras.Input((None, 3))), LONG, ["input"]),
        (sequential, named(), ["series"]),
        (sequential, LONG, ["input"]),
        # As the next one, with one input.
        pytest.param(Network, named(), ["series"], marks=pytest.mark.full),
        (TwoInputs, named(shift=SHIFT), ["series", "shift"]),
        (OneDict, named(shift=SHIFT), ["series", "shift"]),
    ],
)
def test_inputs_of_a_model(make, examples, names):
    model = make()
    inputs = ModelInputs(model, examples)
    assert sorted(inputs.specs) == names
    assert inputs.specs[names[0]].shape.as_list() == [None, None, 3]
    first = dict(zip(names, [LONG[0], SHIFT], strict=False))
    answer = tf.function(inputs.call, input_signature=[inputs.specs], autograph=False)(first)
    wanted = model.layers[-1](LONG[0]) + (SHIFT if "shift" in names else 0)
    np.testing.assert_allclose(keras.tree.flatten(answer)[0], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cast", [lambda x: x.astype("float64"), lambda x: x.astype("int64"), lambda x: x.tolist()])
def test_numbers_of_another_dtype_become_those_of_the_input(cast):
    for model in (sequential(keras.Input((None, 3), name="series")), Network()):
        inputs = ModelInputs(model, [{"series": x} for x in LONG])
        assert inputs._fitted({"series": cast(LONG[0])})["series"].dtype == "float32"


@pytest.mark.parametrize(
    ("model", "examples", "message"),
    [
        (layers.GRU(2), LONG, "model must be a keras.Model, not GRU"),
        (Network, LONG[0], "a list of requests of one row each, not one ndarray"),
        (Network, [], "two or more requests of one row each, not none"),
        (Network, LONG[:1], "two or more requests of one row each, not 1"),
        (Network, [{"series": np.zeros((2, 4, 3))}] * 2, r"shape \(2, 4, 3\): wanted \(1, 4, 3\), one row"),
        (sequential(keras.Input((None, 3))), [x[..., :2] for x in LONG], r"\(1, 4, 2\): wanted \(1, 'any', 3\)"),
        (sequential(keras.Input((None, 3))), [x.astype(str) for x in LONG], "example of <U32: wanted float32"),
        (sequential(keras.Input((4,), dtype="int32"), keras.layers.Embedding(5, 3)), [np.zeros((1, 4))] * 2, "float64"),
        (Network, [{"series": x[0]} for x in LONG], r"shape \(4, 3\): wanted"),
        (Network, [{"series": LONG[0]}, {"other": LONG[0]}], r"\['other'\]: wanted \['series'\]"),
        (TwoInputs, named(), "cannot be called with the first example"),
    ],
)
def test_what_does_not_fit_is_a_sentence(model, examples, message):
    with pytest.raises(RunError, match=message):
        ModelInputs(model() if isinstance(model, type) else model, examples)


@pytest.mark.skipif(sys.platform != "linux", reason="the names of the libraries are those of Linux")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: sequential(layers.SimpleRNN(3, return_sequences=True)), id="sequential"),
        pytest.param(Network, marks=pytest.mark.full),
    ],
)
def test_an_export_answers_as_the_model(make, tmp_path):
    model = make()
    (path,) = export_model(model, tmp_path, "mine", named())
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    (answer,) = serve(series=tf.constant(LONG[1])).values()
    np.testing.assert_allclose(answer, model(LONG[1]), rtol=1e-5, atol=1e-6)


def test_a_time_distributed_part_of_a_class_is_refused(tmp_path):
    class Each(keras.Model):
        def __init__(self):
            super().__init__()
            self.each = keras.layers.TimeDistributed(keras.layers.Dense(2))

        def call(self, series):
            return self.each(series)

    with pytest.raises(RunError, match="TimeDistributed over an unknown number of steps"):
        export_model(Each(), tmp_path, "each", named())
