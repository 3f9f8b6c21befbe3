"""An update of the trainer against plain TensorFlow on stock Keras layers: gradient, state, clipping, shards."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps.models.text_generator import text_generator
from rnnapps.training.trainer import CarriedStateTrainer

SIZE, UNITS, ROWS, STEPS = 7, 5, 4, 6
KERAS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}


def trainer(cell="lstm", rows=ROWS, optimizer=None, layers=1, embedding=0, **options):
    """With plain gradient descent at rate 1, a weight falls by exactly the gradient that was applied."""
    network = text_generator(SIZE, cell, UNITS, layers, embedding=embedding, seed=3)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    made = CarriedStateTrainer(network, rows, **options)
    made.compile(optimizer=optimizer or keras.optimizers.SGD(1.0), run_eagerly=True)
    return made


def batch(seed, reset=(), padded=(), rows=ROWS):
    """Random windows; the last two targets of the rows in `padded` do not count."""
    rng = np.random.default_rng(seed)
    weights = np.ones((rows, STEPS), "float32")
    for row in padded:
        weights[row, -2:] = 0
    tokens, targets = rng.integers(0, SIZE, (2, rows, STEPS)).astype("int32")
    flags = np.isin(np.arange(rows), reset)
    return {"tokens": tf.constant(tokens), "reset": tf.constant(flags)}, tf.constant(targets), tf.constant(weights)


def values(model):
    return [v.numpy().astype("float64") for v in model.network.trainable_variables]


def applied(model, data):
    """The gradients that one update applied, and its figures."""
    before = values(model)
    figures = model.train_step(data)
    return [b - a for b, a in zip(before, values(model), strict=True)], {k: float(v) for k, v in figures.items()}


def carried(model):
    return {name: value.numpy() for name, value in model.carried.items()}


def stock(cell, network, layers=2):
    """The same network from Keras' own layers, with the same weights."""
    tokens = keras.Input((None,), dtype="int32")
    x, states, after = keras.ops.one_hot(tokens, SIZE), [], []
    for i in range(layers):
        layer = KERAS[cell](UNITS, return_sequences=True, return_state=True, unroll=False)
        mine = [keras.Input((UNITS,)) for _ in range(2 if cell == "lstm" else 1)]
        x, *out = layer(x, initial_state=mine)
        layer.set_weights(network.get_layer(f"layer_{i}").get_weights())
        states, after = states + mine, after + out
    dense = keras.layers.Dense(SIZE)
    logits = dense(x)
    dense.set_weights(network.get_layer("logits").get_weights())
    return keras.Model([tokens, *states], [logits, *after])


@pytest.mark.parametrize("cell", list(KERAS))
def test_an_update_is_that_of_autodiff_from_the_carried_state(cell):
    """Two windows: in the second, rows 1 and 3 begin a document, and row 2 ends one."""
    model = trainer(cell, layers=2)
    first, second = batch(1, reset=range(ROWS)), batch(2, reset=(1, 3), padded=(2,))
    model.train_step(first)
    plain, before = stock(cell, model.network), carried(model)
    names = list(before)
    assert all(np.abs(state).min(axis=1).max() > 0 for state in before.values())
    gradients, figures = applied(model, second)

    cold = np.array([1, 0, 1, 0], "float32")[:, None]
    inputs, targets, weights = second
    with tf.GradientTape() as tape:
        logits, *after = plain([inputs["tokens"], *(tf.constant(before[name] * cold) for name in names)])
        nats = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        loss = tf.reduce_sum(nats * weights) / tf.reduce_sum(weights)
    wanted = tape.gradient(loss, [v.value for v in plain.trainable_variables])
    assert figures["loss"] == pytest.approx(float(loss), rel=1e-5)
    for ours, theirs in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in wanted))
    assert figures["gradient_norm"] == pytest.approx(norm, rel=1e-4) and figures["clipped"] == 0
    for name, state in zip(names, after, strict=True):
        np.testing.assert_allclose(carried(model)[name], state, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_reset_row_forgets_and_the_others_do_not():
    model, twin = trainer(), trainer()
    twin.train_step(batch(5, reset=range(ROWS)))
    model.train_step(batch(1, reset=range(ROWS)))
    for ours, theirs in zip(model.network.variables, twin.network.variables, strict=True):
        ours.assign(theirs)  # from here on only what was carried differs
    second = batch(2, reset=(1, 3))
    model.train_step(second)
    twin.train_step(second)
    for name, state in carried(model).items():
        same = [np.allclose(a, b, atol=1e-6) for a, b in zip(state, carried(twin)[name], strict=True)]
        assert same == [False, True, False, True], name
    model.reset_states()
    assert not any(state.any() for state in carried(model).values())


def test_padding_teaches_nothing_and_a_sum_is_the_mean_times_the_tokens_of_a_row():
    data = batch(1, reset=range(ROWS), padded=(0, 1))
    mean, figures = applied(trainer(), data)
    total, summed = applied(trainer(reduction="sum"), data)
    assert figures["loss"] == pytest.approx(summed["loss"], rel=1e-6)  # nats a token, either way
    tokens = ROWS * STEPS - 4
    for a, b in zip(mean, total, strict=True):
        np.testing.assert_allclose(b, a * tokens / ROWS, rtol=1e-4, atol=2e-6)
    inputs, targets, weights = data
    other = tf.where(weights > 0, targets, (targets + 3) % SIZE)
    again, _ = applied(trainer(), (inputs, other, weights))
    for a, b in zip(mean, again, strict=True):
        np.testing.assert_array_equal(a, b)


def clip_by_hand(gradients, clip, limit):
    if clip == "value":
        return [np.clip(g, -limit, limit) for g in gradients]
    norms = [np.sqrt((g**2).sum()) for g in gradients]
    if clip == "global_norm":
        norms = [np.sqrt(sum(n**2 for n in norms))] * len(norms)
    return [g * min(1, limit / n) for g, n in zip(gradients, norms, strict=True)]


@pytest.mark.parametrize("clip", ["value", "norm", "global_norm"])
def test_clipping_is_that_of_the_equations(clip):
    data = batch(1, reset=range(ROWS))
    whole, figures = applied(trainer(), data)
    norms = [np.sqrt((g**2).sum()) for g in whole]
    largest = {"value": max(np.abs(g).max() for g in whole), "norm": max(norms), "global_norm": np.hypot.reduce(norms)}
    for limit, fires in ((largest[clip] * 1.01, 0), (largest[clip] * 0.99, 1), (largest[clip] * 0.3, 1)):
        gradients, cut = applied(trainer(clip=clip, clip_at=float(limit)), data)
        assert cut["clipped"] == fires
        assert cut["gradient_norm"] == pytest.approx(figures["gradient_norm"], rel=1e-5), "the norm before the cut"
        for ours, theirs in zip(gradients, clip_by_hand(whole, clip, limit), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append({name: float(value) for name, value in logs.items()})


def fitted(updates, **options):
    """Several updates through Keras' own `fit`."""
    model = trainer(optimizer=keras.optimizers.Adam(0.05), **options)
    model.run_eagerly = False
    parts = [batch(seed, reset=range(ROWS) if seed == 0 else (seed % ROWS,), padded=(2,)) for seed in range(updates)]
    stacked = tf.nest.map_structure(lambda *rows: tf.stack(rows), *parts)
    recorder = Recorder()
    model.fit(tf.data.Dataset.from_tensor_slices(stacked), epochs=1, verbose=0, shuffle=False, callbacks=[recorder])
    return model, recorder.logs


@pytest.mark.usefixtures("one_step_a_turn")
@pytest.mark.parametrize(
    "options",
    [
        {"cell": "simple_rnn"},
        *(pytest.param(some, marks=pytest.mark.full) for some in ({"cell": "gru"}, {"cell": "lstm", "layers": 2})),
    ],
    ids=str,
)
def test_fit_is_the_eager_step_compiled(options):
    model, logs = fitted(4, **options)
    eager = trainer(optimizer=keras.optimizers.Adam(0.05), **options)
    losses = []
    for seed in range(4):
        data = batch(seed, reset=range(ROWS) if seed == 0 else (seed % ROWS,), padded=(2,))
        losses.append(float(eager.train_step(data)["loss"]))
    # A window at a time: Keras' own averages over an epoch would hide how the loss falls.
    np.testing.assert_allclose([log["loss"] for log in logs], losses, rtol=1e-4)
    for ours, theirs in zip(values(model), values(eager), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
