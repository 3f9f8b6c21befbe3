"""A stock Keras user's script, in which one import line changes: it trains, evaluates, saves and exports as before."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conformance.cases import assert_same, weighted_sum

from rnnapps import cells
from rnnapps.layers import GRU, LSTM, SimpleRNN, Stacked, Unroll
from rnnapps.ops import time_loop

RECURRENT = "LSTM(6, return_sequences=True, dropout=0.2), GRU(5)"
SCRIPT = """
import keras
from keras.layers import GRU, LSTM

class Traces(keras.layers.Layer):
    count = 0

    def call(self, x, training=False):
        self.count += training is True
        return x

keras.utils.set_random_seed(1)
model = keras.Sequential([
    keras.layers.Embedding(20, 8, mask_zero=True),
    RECURRENT,
    Traces(),
    keras.layers.Dense(1),
])
model.build((None, None))
model.compile("adam", "mse", metrics=["mae"], jit_compile=way == "xla", run_eagerly=way == "eager")
start = model.get_weights()
traces, histories = model.layers[-2], []
for epoch in range(epochs):
    for x, y in buckets:
        histories.append(model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history)
"""
SCRIPT = SCRIPT.replace("RECURRENT", RECURRENT)
OURS = SCRIPT.replace("from keras.layers import GRU, LSTM", "from rnnapps.layers import GRU, LSTM")
LENGTHS = (4, 7, 11)
FULL = pytest.mark.full


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Two shards of rows, whatever the machine has."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 2)
    monkeypatch.setattr(time_loop, "_STEPS_PER_TURN", 1)  # fewer to trace


@pytest.fixture
def one_core(monkeypatch):
    """One shard: half as much to trace."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 1)


def buckets(lengths=LENGTHS, rows=32):
    """Token ids and targets: in each bucket sequences of any length up to its own, padded on the right with zeros."""
    rng = np.random.default_rng(0)
    for length in lengths:
        ids, own = rng.integers(1, 20, (rows, length)), rng.integers(1, length + 1, rows)
        x = np.where(np.arange(length) < own[:, None], ids, 0).astype("int32")
        yield x, np.sin(x.sum(1, keepdims=True)).astype("float32")


def run(script, **names):
    namespace = {"buckets": list(buckets()), **names}
    exec(script, namespace)
    return namespace


@pytest.mark.parametrize(
    ("way", "recurrent"),
    [("eager", "LSTM(6, dropout=0.2)"), *(pytest.param(way, RECURRENT, marks=FULL) for way in ("graph", "xla"))],
)
def test_script_with_one_line_changed(way, recurrent, tmp_path):
    epochs, lengths = {"eager": (2, LENGTHS[:1]), "graph": (3, LENGTHS), "xla": (3, LENGTHS[1:])}[way]
    given = list(buckets(lengths, 16 if way == "eager" else 32))
    stock, ours = (
        run(script.replace(RECURRENT, recurrent), way=way, epochs=epochs, buckets=given) for script in (SCRIPT, OURS)
    )
    assert {type(layer).__module__.partition(".")[0] for layer in ours["model"].layers[1:-2]} == {"rnnapps"}
    assert_same(ours["start"], stock["start"], rtol=0, atol=0)  # the seed draws the same weights
    assert len(ours["histories"]) == epochs * len(lengths)
    for mine, theirs in zip(ours["histories"], stock["histories"], strict=True):
        for figure in ("loss", "mae"):
            np.testing.assert_allclose(mine[figure], theirs[figure], rtol=1e-4)
    first, last = ours["histories"][0], ours["histories"][-len(lengths)]
    assert last["loss"] != first["loss"]
    assert_same(ours["model"].get_weights(), stock["model"].get_weights(), rtol=1e-3, atol=1e-5)

    # A trace a bucket and one more, for the first call of a tf.function; as many as of the stock layers; of the engine.
    assert ours["traces"].count == stock["traces"].count
    assert ours["traces"].count <= 1 + len(lengths) or way == "eager"
    reason = {
        "eager": "scan: rows in 1 loops (",
        "graph": "scan: rows in 2 loops (2 cores, ",
        "xla": "scan: rows in 1 loops (XLA",
    }[way]
    assert all(layer.execution_reason.startswith(reason) for layer in ours["model"].layers[1:-2])

    x, y = ours["buckets"][-1]
    answers = ours["model"].predict(x, verbose=0)
    np.testing.assert_allclose(answers, stock["model"].predict(x, verbose=0), rtol=1e-3, atol=1e-5)
    assert np.ptp(answers) > 1e-3
    figures = ours["model"].evaluate(x, y, verbose=0)
    np.testing.assert_allclose(figures, stock["model"].evaluate(x, y, verbose=0), rtol=1e-3)
    ours["model"].save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Traces": ours["Traces"]})
    assert_same(loaded.predict(x, verbose=0), answers)


@pytest.mark.parametrize(
    ("scripts", "recurrent"), [((OURS,), "SimpleRNN(3)"), pytest.param((OURS, SCRIPT), RECURRENT, marks=FULL)]
)
def test_a_generator_of_all_lengths_is_traced_once(scripts, recurrent, one_core):
    """And once more, for the first call of a `tf.function`."""

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(LENGTHS)

        def __getitem__(self, index):
            return list(buckets())[index]

    fit = "model.fit(batches, epochs=1, shuffle=False, verbose=0); first = traces.count"
    counts = []
    for script in scripts:
        script = (
            script.replace("import GRU, LSTM", "import GRU, LSTM, SimpleRNN")
            .replace(RECURRENT, recurrent)
            .replace("adam", "sgd")
        )
        found = run(script.partition("for epoch")[0] + fit, batches=Batches(), way="graph")
        found["model"].fit(Batches(), epochs=2, shuffle=False, verbose=0)
        assert found["traces"].count == found["first"]
        counts.append(found["first"])
    assert counts[0] == counts[-1] <= 2


# === model.export ===

EXPORTED = {
    "SimpleRNN": lambda: SimpleRNN(5, return_sequences=True),
    "LSTM": lambda: LSTM(5, return_sequences=True, recurrent_dropout=0.2),
    "PeepholeLSTMCell": lambda: Unroll(cells.PeepholeLSTMCell(5), return_sequences=True),
    "MinGRUCell": lambda: Unroll(cells.MinGRUCell(5), return_sequences=True),
    "Stacked": lambda: Stacked(
        [keras.layers.Bidirectional(GRU(2)), SimpleRNN(4)], residual=True, return_sequences=True
    ),
}


@pytest.mark.parametrize(
    ("name", "time"), [("SimpleRNN", 6), *(pytest.param(name, None, marks=FULL) for name in EXPORTED)]
)
def test_export_of_a_trained_model(name, time, one_core, tmp_path):
    """With Keras' own `export`; and what is loaded has the gradients too, since their function runs the loop again."""
    masked = [keras.Input((time, 3)), keras.layers.Masking()]
    model = keras.Sequential([*masked, EXPORTED[name](), keras.layers.Dense(2)])
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(8, 6, 3)).astype("float32")
    x[:4, 4:] = 0
    model.fit(x, np.ones((8, 6, 2)), verbose=0)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    found, wanted = (
        gradients(function, tf.constant(x), variables)
        for function, variables in (
            (loaded.serve, list(loaded.trainable_variables)),
            (model, [variable.value for variable in model.trainable_variables]),
        )
    )
    assert_same(found, wanted)
    # Saving has left the model as it was.
    model.fit(x, np.ones((8, 6, 2)), verbose=0)
    assert np.abs(model(x) - wanted[0]).max() > 1e-4


def gradients(function, x, variables):
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = function(x)
        loss = weighted_sum([outputs])
    return [outputs, *tape.gradient(loss, [x, *variables])]


def test_a_saved_function_can_be_differentiated_afterwards(one_core, tmp_path):
    """Its gradient then comes from the arrays of the forward pass again, not from those of the graph that was saved."""
    layer = LSTM(3)
    layer.build((None, None, 2))
    module = tf.Module()
    module.layer = layer
    module.call = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 2))], autograph=False)
    x = tf.random.normal((4, 5, 2), seed=1)
    wanted = gradients(layer, x, [weight.value for weight in layer.trainable_weights])
    tf.saved_model.save(module, str(tmp_path / "model"))
    assert_same(gradients(module.call, x, [weight.value for weight in layer.trainable_weights]), wanted)
