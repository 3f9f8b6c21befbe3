"""Layers of layers: `Stacked` and `keras.layers.Bidirectional` against the same layers, called by hand."""

from __future__ import annotations

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conformance.cases import BATCH, MASKS, TIME, assert_same, weighted_sum
from keras.layers import Bidirectional

from rnnapps import cells, layers
from rnnapps.layers import GRU, LSTM, SimpleRNN, Stacked, Unroll

FEATURES, UNITS = 3, 5
FULL = pytest.mark.full
pytestmark = pytest.mark.usefixtures("one_step_a_turn")


@keras.saving.register_keras_serializable(package="test_composition")
class LeakyCell(keras.layers.Layer):
    """A stranger's: h_t = h_{t-1} / 2 + tanh(x_t W), and it puts out 2 h_t."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

    def call(self, inputs, states):
        h = states[0] / 2 + keras.ops.tanh(keras.ops.matmul(inputs, self.kernel))
        return 2 * h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


LAYERS = {
    "LSTM": lambda **kw: LSTM(UNITS, **kw),
    "GRU": lambda **kw: GRU(UNITS, **kw),
    "SimpleRNN": lambda **kw: SimpleRNN(UNITS, **kw),
    "ProjectedLSTMCell": lambda **kw: Unroll(cells.ProjectedLSTMCell(4, UNITS), **kw),
    "MinGRUCell": lambda **kw: Unroll(cells.MinGRUCell(UNITS), **kw),
    "LeakyCell": lambda **kw: Unroll(LeakyCell(UNITS), **kw),
}
MERGES = {
    "concat": lambda y, z: [tf.concat([y, z], -1)],
    "sum": lambda y, z: [y + z],
    "ave": lambda y, z: [(y + z) / 2],
    "mul": lambda y, z: [y * z],
    None: lambda y, z: [y, z],
}


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """One loop for all rows: how rows are cut is no business of these tests, and more to trace."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 1)


def normal(shape, seed, scale=1.0):
    return tf.constant(np.random.default_rng(seed).normal(0, scale, shape), tf.float32)


def inputs(rows=BATCH, time=TIME):
    return normal((rows, time, FEATURES), 1)


def with_random_weights(layer, shape=(BATCH, TIME, FEATURES), seed=2):
    """The layer, built: no weight is zero, and no two layers of a stack are alike."""
    layer.build(shape)
    layer.set_weights([normal(w.shape, seed + i, 0.6).numpy() for i, w in enumerate(layer.get_weights())])
    return layer


def run(function, weights, x, start, mask):
    """What `function(x, start, mask)` returns, and the gradients of a weighted sum of it."""
    weights = [weight.value for weight in weights]
    with tf.GradientTape() as tape:
        tape.watch([x, *start])
        outputs = tf.nest.flatten(function(x, start, mask))
        loss = weighted_sum(outputs)
    return outputs + tape.gradient(loss, [x, *start, *weights], unconnected_gradients=tf.UnconnectedGradients.ZERO)


def as_mask(name):
    return None if name == "none" else tf.constant(np.array(MASKS[name], bool))


# === keras.layers.Bidirectional ===


def by_hand(layer, merge_mode, sequences):
    """Two layers with the same weights that both run forwards, one over the sequence turned round; and the weights."""
    flags = {"return_sequences": sequences, "return_state": True, "zero_output_for_mask": sequences}
    copies = []
    for part in (layer.forward_layer, layer.backward_layer):
        copies.append(type(part).from_config({**part.get_config(), **flags, "go_backwards": False}))
        copies[-1].build((BATCH, TIME, FEATURES))
        copies[-1].set_weights(part.get_weights())

    def function(x, start, mask):
        half = len(start) // 2
        turned = None if mask is None else tf.reverse(mask, [1])
        y, *states = copies[0](x, initial_state=start[:half], mask=mask)
        z, *more = copies[1](tf.reverse(x, [1]), initial_state=start[half:], mask=turned)
        return [*MERGES[merge_mode](y, tf.reverse(z, [1]) if sequences else z), *states, *more]

    return function, [weight for copy in copies for weight in copy.trainable_weights]


def check_bidirectional(name, merge_mode, sequences, mask):
    layer = Bidirectional(LAYERS[name](return_sequences=sequences, return_state=True), merge_mode=merge_mode)
    with_random_weights(layer)
    states = [state for part in (layer.forward_layer, layer.backward_layer) for state in part.get_initial_state(BATCH)]
    start = [normal(state.shape, 50 + i) for i, state in enumerate(states)]
    hand, weights = by_hand(layer, merge_mode, sequences)
    found = run(
        lambda x, start, mask: layer(x, initial_state=start, mask=mask),
        layer.trainable_weights, inputs(), start, as_mask(mask),
    )  # fmt: skip
    assert_same(found, run(hand, weights, inputs(), start, as_mask(mask)))
    assert found[0].shape == layer.compute_output_shape((BATCH, TIME, FEATURES))[0]


# One of each kind, and each mask once with `MERGED`, whose mask is "inner".
QUICK = {
    ("LSTM", "left", True), ("ProjectedLSTMCell", "none", True), ("MinGRUCell", "empty", True),
    ("LeakyCell", "right", False),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mask", "sequences"),
    [
        pytest.param(*case, marks=() if case in QUICK else FULL)
        for case in itertools.product(LAYERS, MASKS, [True, False])
    ],
)
def test_bidirectional_is_two_layers(name, mask, sequences):
    check_bidirectional(name, "concat", sequences, mask)


# The sum of two sequences is made by Keras, whichever it is; two outputs are another shape.
MERGED = {("GRU", "mul"), ("LeakyCell", None)}


@pytest.mark.parametrize(
    ("name", "merge_mode"),
    [
        pytest.param(name, mode, marks=() if (name, mode) in MERGED else FULL)
        for name, mode in itertools.product(LAYERS, [mode for mode in MERGES if mode != "concat"])
    ],
)
def test_bidirectional_merges(name, merge_mode):
    check_bidirectional(name, merge_mode, True, "inner")


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        pytest.param(*case, marks=() if case == ("SimpleRNN", "inner") else FULL)
        for case in itertools.product(["LSTM", "GRU", "SimpleRNN"], MASKS)
    ],
)
def test_bidirectional_is_that_of_keras(name, mask):
    ours, theirs = (
        with_random_weights(Bidirectional(getattr(module, name)(UNITS, return_sequences=True, stateful=True)))
        for module in (layers, keras.layers)
    )
    for window in (inputs(), inputs() / 2):
        found, wanted = (
            run(lambda x, _, mask, layer=layer: layer(x, mask=mask), layer.trainable_weights, window, [], as_mask(mask))
            for layer in (ours, theirs)
        )
        assert_same(found, wanted)
    for layer in (ours, theirs):
        layer.reset_state()
    assert_same(ours(inputs(), mask=as_mask(mask)), theirs(inputs(), mask=as_mask(mask)))


@pytest.mark.parametrize(
    ("name", "by_xla"), [("MinGRUCell", False), *(pytest.param(name, True, marks=FULL) for name in LAYERS)]
)
def test_bidirectional_fit_save_and_load(name, by_xla, tmp_path):
    wrapped = [Bidirectional(LAYERS[name](return_sequences=i == 0)) for i in range(2)]
    check_fit_save_and_load(wrapped, by_xla, tmp_path)


def check_fit_save_and_load(parts, by_xla, tmp_path):
    """As part of a model that XLA compiles or that is not even traced, with a mask; then from a file."""
    masking = keras.layers.Masking()
    model = keras.Sequential([keras.Input((None, FEATURES)), masking, *parts, keras.layers.Dense(2)])
    model.compile("sgd", "mse", jit_compile=by_xla, run_eagerly=not by_xla)
    x = inputs().numpy()
    x[:2, 4:] = 0
    before = [weight.numpy() for weight in model.trainable_weights]
    history = model.fit(x, np.ones(model(x).shape), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for old, weight in zip(before, model.trainable_weights, strict=True):
        assert np.any(weight.numpy() != old), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded(x), model(x), rtol=0, atol=0)


# === Stacked ===

STACKS = {
    "one": lambda: [LSTM(4)],
    "layers": lambda: [LSTM(4), GRU(3, zero_output_for_mask=True), keras.layers.SimpleRNN(5)],
    "cells": lambda: [cells.ProjectedLSTMCell(5, 3), cells.MinGRUCell(4), LeakyCell(4)],
    "bidirectional": lambda: [Bidirectional(GRU(3)), Unroll(LeakyCell(6)), Bidirectional(LSTM(2), merge_mode="sum")],
    "lists of cells": lambda: [Unroll([cells.LSTMCell(3), cells.GRUCell(4)]), SimpleRNN(4)],
    "residual": lambda: [LSTM(4), GRU(4, zero_output_for_mask=True), cells.MinGRUCell(4)],
    "wider below": lambda: [Bidirectional(LSTM(4)), GRU(4), LSTM(4)],
}
RESIDUAL = {"residual": True, "wider below": 2}


def separate_layers(name, sequences):
    """The parts of a stack, as someone without `Stacked` makes them."""
    parts = []
    for number, part in enumerate(STACKS[name]()):
        flags = {"return_sequences": sequences or number < len(STACKS[name]()) - 1, "return_state": True}
        if isinstance(part, Bidirectional):
            inner = part.forward_layer
            inner = type(inner).from_config({**inner.get_config(), **flags})
            parts.append(Bidirectional(inner, merge_mode=part.merge_mode))
        elif isinstance(part, keras.layers.RNN):
            parts.append(type(part).from_config({**part.get_config(), **flags}))
        else:
            parts.append(Unroll(part, **flags))
    return parts


def one_after_the_other(parts, name, sequences):
    """Called by hand; a residual sum with the last unmasked step of each row."""

    def function(x, start, mask):
        states, first = [], RESIDUAL.get(name, len(parts))
        for number, part in enumerate(parts):
            structure = list(part(x[:, :1])[1:])
            count = len(tf.nest.flatten(structure))
            y, *new = part(x, initial_state=tf.nest.pack_sequence_as(structure, start[:count]), mask=mask)
            states, start = states + tf.nest.flatten(new), start[count:]
            if number >= first:
                y = y + (
                    x if len(y.shape) == 3 else tf.stack([row[t] for row, t in zip(x, last_steps(mask), strict=True)])
                )
            x = y
        return [x, *states]

    return function


def last_steps(mask):
    mask = np.ones((BATCH, TIME), bool) if mask is None else mask.numpy()
    return [max(np.flatnonzero(row), default=TIME - 1) for row in mask]


def stack_of(kind, **kwargs):
    stack = Stacked(STACKS[kind](), residual=RESIDUAL.get(kind, False), **kwargs)
    return with_random_weights(stack)


# One of each kind.
QUICK_STACKS = {
    ("cells", "empty", True), ("bidirectional", "right", False),
    ("residual", "inner", False), ("wider below", "left", True),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mask", "sequences"),
    [
        pytest.param(*case, marks=() if case in QUICK_STACKS else FULL)
        for case in itertools.product(STACKS, MASKS, [True, False])
    ],
)
def test_stack_is_its_layers_one_after_the_other(name, mask, sequences):
    stack = stack_of(name, return_sequences=sequences, return_state=True)
    parts = separate_layers(name, sequences)
    shape = (BATCH, TIME, FEATURES)
    for part, layer in zip(parts, stack.layers, strict=True):
        part.build(shape)
        part.set_weights(layer.get_weights())
        shape = (BATCH, TIME, part.compute_output_shape(shape)[0][-1])
    start = [normal(state.shape, 50 + i) for i, state in enumerate(stack.get_initial_state(BATCH))]
    weights = [weight for part in parts for weight in part.trainable_weights]
    found = run(lambda x, start, mask: stack(x, initial_state=start, mask=mask), stack.trainable_weights,
                inputs(), start, as_mask(mask))  # fmt: skip
    wanted = run(one_after_the_other(parts, name, sequences), weights, inputs(), start, as_mask(mask))
    assert_same(found, wanted)


nested_stacks = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("bidirectional", "lists of cells") else FULL) for name in STACKS]
)


@nested_stacks
def test_shapes_are_known_before_the_data(name):
    for sequences, states in ((True, True), (False, False)):
        stack = stack_of(name, return_sequences=sequences, return_state=states)
        found = tf.nest.flatten(stack(inputs()))
        assert len(found) == 1 + states * len(stack.get_initial_state(1))
        for time in (None, TIME):
            symbolic = tf.nest.flatten(stack(keras.Input((time, FEATURES))))
            wanted = [(None, time if s.ndim == 3 else s.shape[1], *s.shape[2:]) for s in found]
            assert [tuple(s.shape) for s in symbolic] == wanted


@pytest.mark.parametrize(
    ("name", "by_xla"),
    [
        ("residual", False),
        pytest.param("cells", False, marks=FULL),
        *(pytest.param(name, True, marks=FULL) for name in STACKS),
    ],
)
def test_stack_fit_save_and_load(name, by_xla, tmp_path):
    stack = Stacked(STACKS[name](), residual=RESIDUAL.get(name, False), dropout=0.2, locked=True, seed=3)
    check_fit_save_and_load([stack], by_xla, tmp_path)


@nested_stacks
def test_config_round_trip(name):
    stack = stack_of(name, dropout=0.25, return_sequences=True, return_state=True, seed=3, name="encoder")
    written = json.dumps(keras.saving.serialize_keras_object(stack))
    assert json.loads(written)["registered_name"] == "rnnapps>Stacked"
    copy = keras.saving.deserialize_keras_object(json.loads(written))
    assert json.dumps(copy.get_config()) == json.dumps(stack.get_config()) and copy.name == "encoder"
    copy.set_weights(stack.get_weights())
    assert_same(copy(inputs()), stack(inputs()), rtol=0, atol=0)


def test_states_are_inputs_and_outputs_of_a_functional_model():
    stack = stack_of("bidirectional", return_sequences=True, return_state=True)
    sequence = keras.Input((None, FEATURES))
    start = [keras.Input((state.shape[1],)) for state in stack.get_initial_state(1)]
    model = keras.Model([sequence, *start], stack(sequence, initial_state=start))
    values = [normal((BATCH, state.shape[1]), i) for i, state in enumerate(start)]
    assert_same(model([inputs(), *values]), stack(inputs(), initial_state=values))
    assert np.abs(model([inputs(), *values])[0] - stack(inputs())[0]).max() > 1e-3


def test_mask_goes_through_the_stack_and_on():
    x = inputs().numpy()
    mask = np.array(MASKS["right"], bool)
    x[~mask] = 0
    stack, after = stack_of("layers", return_sequences=True), with_random_weights(LSTM(2), (BATCH, TIME, 5))
    model = keras.Sequential([keras.layers.Masking(), stack, after])
    wanted = after(stack(x, mask=mask), mask=mask)
    assert_same(model(x), wanted)
    assert np.abs(wanted - after(stack(x))).max() > 1e-3
    assert Stacked([LSTM(2)]).compute_mask(x, mask) is None
    with_states = stack_of("layers", return_sequences=True, return_state=True)
    assert with_states.compute_mask(x, mask)[0] is mask and with_states.compute_mask(x, mask)[1:] == [None] * 4


def test_stateful_windows_are_one_long_pass():
    def parts(stateful):
        return [LSTM(4, stateful=stateful), Unroll(cells.MinGRUCell(4), stateful=stateful)]

    windows, long = Stacked(parts(True), residual=True), Stacked(parts(False), residual=True)
    x = inputs(time=12)
    with_random_weights(long, x.shape)
    windows.build((BATCH, 4, FEATURES))
    windows.set_weights(long.get_weights())
    assert windows.stateful and not long.stateful
    for first in range(0, 12, 4):
        last = windows(x[:, first : first + 4])
    assert_same(last, long(x))
    windows.reset_state()
    assert_same(windows(x[:, :4]), long(x[:, :4]))


def test_half_precision():
    half = Stacked([LSTM(4, dtype="mixed_bfloat16"), GRU(4, dtype="mixed_bfloat16")], residual=True, return_state=True,
                   dtype="mixed_bfloat16")  # fmt: skip
    full = with_random_weights(Stacked([LSTM(4), GRU(4)], residual=True, return_state=True))
    half.build((BATCH, TIME, FEATURES))
    half.set_weights(full.get_weights())
    found = half(inputs())
    assert {tensor.dtype for tensor in found} == {tf.bfloat16}
    assert [s.dtype for s in half(keras.Input((None, FEATURES)))] == ["bfloat16"] * 4
    assert_same([tf.cast(tensor, tf.float32) for tensor in found], full(inputs()), rtol=0.05, atol=0.03)


# === Dropout of a stack ===


@keras.saving.register_keras_serializable(package="test_composition")
class EchoCell(keras.layers.Layer):
    """Puts out its input, so that what is dropped can be seen."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = units

    def call(self, inputs, states):
        return inputs, [states[0]]


def echo(depth, width=40, time=30, rows=50, training=True, **kwargs):
    stack = Stacked([EchoCell(width) for _ in range(depth)], return_sequences=True, **kwargs)
    return stack(np.ones((rows, time, width), "float32"), training=training).numpy()


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_between_layers(locked):
    assert np.all(echo(1, dropout=0.3, locked=locked) == 1)  # neither before the first layer nor after the last
    assert np.all(echo(3, dropout=0.3, locked=locked, training=False) == 1)
    seen = echo(3, dropout=0.3, locked=locked, seed=1)
    kept = 1 / 0.7**2
    assert np.all((seen == 0) | np.isclose(seen, kept))
    # Two masks, independent of each other: 0.49 of the values; of 2,000 of them locked, of 60,000 else.
    drawn = seen[:, 0] if locked else seen
    assert abs((drawn > 0).mean() - 0.49) < 5 * np.sqrt(0.49 * 0.51 / drawn.size)
    same = (seen[:, 1:] > 0) == (seen[:, :-1] > 0)
    assert np.all(same) if locked else abs(same.mean() - (0.49**2 + 0.51**2)) < 0.02
    for axis in (0, 2):  # rows and features have masks of their own
        assert np.all(np.ptp(seen, axis=axis).max() > 0)


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_is_reproducible_by_seed_and_new_each_time(locked):
    def drawn(seed, rows=4):
        return echo(2, dropout=0.5, locked=locked, seed=seed, rows=rows)

    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))
    stack = Stacked([EchoCell(9), EchoCell(9)], dropout=0.5, locked=locked, return_sequences=True)
    x = np.ones((4, 5, 9), "float32")
    assert not np.array_equal(stack(x, training=True), stack(x, training=True))
    assert np.array_equal(stack(x), x)


def test_residual_input_is_not_dropped():
    seen = echo(2, residual=True, dropout=0.5, seed=1)
    assert set(np.unique(seen)) == {1.0, 3.0}


# === What is refused ===


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stacked([]), "layers of .* must be one or more"),
        (lambda: Stacked([LSTM(3)] * 2), "layers of .* must be one or more, each another"),
        (lambda: Stacked([LSTM(3), keras.layers.Dense(3)]), "must be recurrent layers, .* not <Dense"),
        (lambda: Stacked([LSTM(3, go_backwards=True)]), "has go_backwards=True: wanted"),
        (lambda: Stacked([Bidirectional(LSTM(3), merge_mode=None)]), "has merge_mode=None: wanted"),
        (lambda: Stacked([LSTM(3), LSTM(3, return_sequences=True)]), "has return_sequences=True: wanted it of"),
        (lambda: Stacked([LSTM(3, return_state=True), LSTM(3)]), "has return_state=True: wanted it of"),
        (lambda: Stacked([LSTM(3)], dropout=1.0), "dropout of .* below 1, not 1.0"),
        (lambda: Stacked([LSTM(3)], residual=0), "residual of .* an int above 0, not 0"),
        (lambda: Stacked([LSTM(4), Bidirectional(LSTM(2))], residual=True), "wants return_sequences=True"),
        (lambda: Stacked([LSTM(4), GRU(3)], residual=True)(inputs()), "as wide as the input: gru.* makes 3 of 4"),
        (
            lambda: Stacked([LSTM(4), GRU(3)])(inputs(), initial_state=[inputs()[:, 0]]),
            "got 1 initial states: wanted 3",
        ),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_are_taken_as_they_are_given():
    """With their weights; `return_sequences` below the last layer is the stack's to set."""
    below, last = with_random_weights(LSTM(4)), GRU(3, return_sequences=True)
    stack = Stacked([below, last], return_sequences=True)
    assert stack.layers[0] is below and stack.layers[1] is last
    weights = below.get_weights()
    stack(inputs())
    assert_same(stack.layers[0].get_weights(), weights, rtol=0, atol=0)
