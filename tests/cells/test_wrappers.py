"""Cells around cells: dropout, nesting, saving, what is refused; the rest stands in tests/conformance."""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from conformance.cases import MASKS, assert_same, weighted_sum
from wrapping import BATCH, EXACT, TIME, UNITS, assert_share, filled, inputs, lstm, run, start_of, unroll

from rnnapps import cells
from rnnapps.layers import Unroll

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
eager_and_traced = pytest.mark.usefixtures("eager_and_traced")


class Stranger(keras.layers.Layer):
    """A cell with no more than Keras asks for: one state, of which it puts out the half, and no `training`."""

    state_size = UNITS

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], UNITS), name="kernel")

    def call(self, inputs, states):
        new = keras.ops.tanh(states[0] + inputs @ self.kernel)
        return new / 2, [new]


@eager_and_traced
def test_a_strangers_cell():
    cell = filled(cells.ZoneoutCell(Stranger(dtype="float64"), 0.25))
    assert (cell.state_size, cell.output_size, cell.leaves_dropout) == (UNITS, UNITS, False)
    (sequence, state), _ = run(cell, False)
    s = start_of(cell)[0].numpy()
    for t, x in enumerate(np.moveaxis(inputs(), 1, 0)):
        new = np.tanh(s + x @ cell.kernel.numpy())
        s = 0.25 * s + 0.75 * new
        np.testing.assert_allclose(sequence[:, t], new / 2, **EXACT)  # nobody knows how it follows from s
    np.testing.assert_allclose(state, s, **EXACT)
    residual = filled(cells.ResidualCell(Stranger(dtype="float64")))
    alone = keras.layers.RNN(filled(Stranger(dtype="float64")), return_sequences=True, dtype="float64")
    wanted = inputs() + alone(inputs(), initial_state=start_of(residual))
    np.testing.assert_allclose(run(residual, False)[0][0], wanted, **EXACT)


# === Residual ===


class PassOn(cells.LinearCell):
    """Puts out its inputs."""

    def coefficients(self, inputs, before):
        (b,) = self.project(inputs)
        return 0 * b, b, None


PASS_ON = {
    "of Keras": lambda **kw: keras.layers.SimpleRNNCell(UNITS, activation=None, **kw),
    "Keras and three-part": lambda **kw: cells.SimpleRNNCell(UNITS, activation=None, **kw),
    "Cell": lambda **kw: cells.IndRNNCell(UNITS, activation="linear", recurrent_initializer="zeros", **kw),
    "LinearCell": lambda **kw: PassOn(UNITS, **kw),
}
WRAPPED = {
    "residual": cells.ResidualCell,
    "twice": lambda cell: cells.ResidualCell(cells.ResidualCell(cell)),
    "around zoneout": lambda cell: cells.ResidualCell(cells.ZoneoutCell(cell, 0.0)),
    "in zoneout": lambda cell: cells.ZoneoutCell(cells.ResidualCell(cell), 0.0),
}


# Each kind in two wrappers, and on the other path in one.
QUICK = {
    *((kind, "residual", "auto") for kind in PASS_ON),
    ("of Keras", "twice", "auto"), ("Cell", "around zoneout", "auto"),
    ("Keras and three-part", "in zoneout", "auto"), ("LinearCell", "twice", "auto"), ("of Keras", "twice", "loop"),
    ("Keras and three-part", "residual", "loop"), ("Cell", "in zoneout", "loop"), ("LinearCell", "residual", "loop"),
}  # fmt: skip


@eager_and_traced
@pytest.mark.parametrize(
    ("kind", "wrapped", "execution"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.full)
        for case in itertools.product(PASS_ON, WRAPPED, ("auto", "loop"))
    ],
)
def test_dropout_acts_once_and_inside_the_inner_cell(kind, wrapped, execution):
    """Around a cell that passes its inputs on, what was added to x is x / (1 - rate) or nothing, at all steps."""
    cell = WRAPPED[wrapped](PASS_ON[kind](dropout=0.75, seed=2, dtype="float64", kernel_initializer="identity"))
    cell.build((None, UNITS))
    if kind in ("of Keras", "Keras and three-part"):
        recurrent = cell.weights[1]
        recurrent.assign(tf.zeros_like(recurrent))
    layers = [unroll(cell, execution=execution, return_state=False)]
    if execution == "loop" and "Keras" in kind:
        layers.append(keras.layers.RNN(cell, return_sequences=True, dtype="float64"))
    x, times = inputs(50), 2 if wrapped == "twice" else 1
    for call in (tf.function(layer, autograph=False) for layer in layers):
        drawn = [np.array(call(x, training=True)) / x - times for _ in range(2)]
        for added in drawn:
            assert np.all(np.isclose(added, 0, atol=1e-6) | np.isclose(added, 4, atol=1e-6))
            np.testing.assert_allclose(added, added[:, :1] + 0 * added, atol=1e-6)
            assert_share(np.count_nonzero(added[:, 0] > 1), 50 * UNITS, 0.25)
        assert np.any(drawn[0] != drawn[1])
        np.testing.assert_allclose(call(x, training=False), (times + 1) * x, **EXACT)


@eager_and_traced
def test_residual_holds_the_sum_at_masked_steps():
    cell, mask = filled(cells.ResidualCell(lstm())), np.array(MASKS["inner"], bool)
    engine, loop = (run(cell, False, mask=mask, execution=execution) for execution in ("scan", "loop"))
    assert_same(engine, loop, **EXACT)
    assert np.all(engine[0][0][0, 1] == engine[0][0][0, 0]) and np.all(engine[0][0][2, 0] == 0)


# === Nested ===

NESTED = {
    "zoneout of residual": lambda cell: cells.ZoneoutCell(cells.ResidualCell(cell), [0.3, 0.2], seed=1),
    "residual of zoneout": lambda cell: cells.ResidualCell(cells.ZoneoutCell(cell, [0.3, 0.2], seed=1)),
    "zoneout twice": lambda cell: cells.ZoneoutCell(
        cells.ResidualCell(cells.ZoneoutCell(cell, [0.3, 0.2], seed=1)), [0.0, 0.4], seed=2
    ),
    "wrapper": cells.WrapperCell,
}


@eager_and_traced
@pytest.mark.parametrize(
    ("inner", "nested"),
    [
        (cells.LSTMCell, "zoneout of residual"),
        (cells.LSTMCell, "wrapper"),
        (cells.PeepholeLSTMCell, "zoneout twice"),
        pytest.param(cells.PeepholeLSTMCell, "residual of zoneout", marks=pytest.mark.full),
        pytest.param(cells.PeepholeLSTMCell, "zoneout of residual", marks=pytest.mark.full),
        pytest.param(cells.PeepholeLSTMCell, "wrapper", marks=pytest.mark.full),
        pytest.param(cells.LSTMCell, "residual of zoneout", marks=pytest.mark.full),
        pytest.param(cells.LSTMCell, "zoneout twice", marks=pytest.mark.full),
    ],
)
def test_nested_wrappers_are_the_loop(nested, inner):
    cell = filled(NESTED[nested](inner(UNITS, dtype="float64")))
    mask = np.array(MASKS["inner"], bool)
    assert_same(run(cell, False, mask=mask), run(cell, False, mask=mask, execution="loop"), **EXACT)
    layer = unroll(cell)
    layer(inputs(), training=True)
    assert layer.execution_reason.startswith("scan: ")


@eager_and_traced
def test_zoneout_around_and_inside_residual_is_the_same():
    one, other = (filled(NESTED[name](lstm())) for name in ("zoneout of residual", "residual of zoneout"))
    for training in (False, True):
        for execution in ("scan", "loop"):
            found = [run(cell, training, execution=execution) for cell in (one, other)]
            assert_same(*found, **EXACT)


def make_dropped(inner):
    inner = cells.WeightDropCell(inner(UNITS, dtype="float64", dropout=0.2, recurrent_dropout=0.2, seed=3), 0.3, seed=4)
    return filled(cells.ResidualCell(cells.ZoneoutCell(inner, [0.4, 0.1], seed=5)))


@pytest.mark.parametrize("inner", [cells.LSTMCell, cells.PeepholeLSTMCell])
def test_gradient_in_training_is_the_slope(inner):
    """Along random directions of each source, all masks drawn anew from the same seeds for every evaluation."""
    mask = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]], bool)

    cell = make_dropped(inner)
    layer, seeds = unroll(cell), [variable.numpy() for variable in cell.non_trainable_variables]
    at = [tf.constant(inputs(3, 3)), *start_of(cell, 3), *[tf.constant(w.numpy()) for w in cell.trainable_weights]]

    def loss(sources):
        """And the weights that it was computed with."""
        for weight, value in zip(cell.trainable_weights, sources[3:], strict=True):
            weight.assign(value)
        for variable, seed in zip(cell.non_trainable_variables, seeds, strict=True):
            variable.assign(seed)
        total = weighted_sum(layer(sources[0], initial_state=sources[1:3], mask=mask, training=True))
        return total, [weight.value for weight in cell.trainable_weights]

    with tf.GradientTape() as tape:
        tape.watch(at[:3])
        total, weights = loss(at)
    assert seeds and all(np.any(v.numpy() != seed) for v, seed in zip(cell.non_trainable_variables, seeds, strict=True))
    for i, gradient in enumerate(tape.gradient(total, [*at[:3], *weights])):
        direction, ends = np.random.default_rng(i).normal(size=at[i].shape), []
        for sign in (1e-6, -1e-6):
            ends.append(float(loss([*at[:i], at[i] + sign * direction, *at[i + 1 :]])[0]))
        assert np.sum(gradient * direction) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7), i
        assert np.any(gradient != 0)


# === In a model ===

KINDS = {
    "gated": lambda: cells.ResidualCell(cells.ZoneoutCell(cells.WeightDropCell(cells.GRUCell(UNITS)), 0.2)),
    "linear": lambda: cells.ZoneoutCell(cells.ResidualCell(cells.SRUCell(UNITS, dropout=0.5)), 0.2),
    "of Keras": lambda: cells.ZoneoutCell(keras.layers.LSTMCell(UNITS, dropout=0.5, recurrent_dropout=0.2), 0.2),
}


@pytest.mark.parametrize(
    ("kind", "by_xla"),
    [("gated", False), ("of Keras", False), *(pytest.param(kind, True, marks=pytest.mark.full) for kind in KINDS)],
)
def test_a_model_trains_and_comes_back_from_its_file(kind, by_xla, tmp_path):
    layer = Unroll(KINDS[kind](), return_sequences=True)
    model = keras.Sequential([keras.Input((None, UNITS)), keras.layers.Masking(), layer])
    model.compile("sgd", "mse", jit_compile=by_xla, run_eagerly=not by_xla)
    x = inputs(dtype="float32")
    x[1, 3:] = 0
    history = model.fit(x, np.ones((BATCH, TIME, UNITS)), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].cell.get_config() == layer.cell.get_config()
    assert_same(loaded(x), model(x), rtol=0, atol=0)


def test_dtype_is_that_of_the_inner_cell():
    cell = cells.ZoneoutCell(cells.GRUCell(UNITS, dtype="mixed_bfloat16"))
    assert cell.dtype_policy.name == "mixed_bfloat16" and cell.gate_dtype == "float32"
    assert cells.ZoneoutCell.from_config(cell.get_config()).dtype_policy.name == "mixed_bfloat16"
    assert cells.ResidualCell(cell, dtype="mixed_bfloat16").compute_dtype == "bfloat16"
    with pytest.raises(ValueError, match="dtype of ResidualCell must be its cell's, 'mixed_bfloat16', not 'float32'"):
        cells.ResidualCell(cell, dtype="float32")


def test_regularizers_of_the_inner_cell_count():
    layer = Unroll(cells.ZoneoutCell(cells.LSTMCell(UNITS, kernel_regularizer="l2")))
    layer(inputs())
    assert float(layer.losses[0]) > 0


def test_gates_stay_hand_written():
    for wrapper in (cells.ResidualCell, functools.partial(cells.ZoneoutCell, rate=0.0)):
        assert type(wrapper(lstm()).loop_gates()) is type(lstm().loop_gates())
    assert type(cells.ZoneoutCell(lstm()).loop_gates().gates) is type(lstm().loop_gates())


# === What is refused ===


class NoRecurrence(cells.Cell):
    def build_recurrent_kernel(self, width):
        pass

    def gates(self, projected, recurrent, states, weights=()):
        return [projected]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cells.ZoneoutCell(lstm(), 1.0), "rate of ZoneoutCell must be at least 0 and below 1, not 1.0"),
        (lambda: cells.ZoneoutCell(lstm(), [0.1, -0.1]), "rate of ZoneoutCell must be at least 0 .*not .0.1, -0.1."),
        (lambda: cells.ZoneoutCell(lstm(), [0.1]), "rate of ZoneoutCell must be one for each of 2 states, not .0.1."),
        (lambda: cells.ZoneoutCell("lstm"), "cell of ZoneoutCell must be a layer with state_size, not 'lstm'"),
        (lambda: cells.ResidualCell(keras.layers.Dense(3)), "cell of ResidualCell must be a layer with state_size"),
        (lambda: cells.ResidualCell(keras.layers.StackedRNNCells([lstm()])), "cell of ResidualCell must be one cell"),
        (
            lambda: cells.ResidualCell(lstm()).build((None, 3)),
            "inputs of ResidualCell must have the 5 .*not 3",
        ),
        (lambda: cells.WeightDropCell(lstm(), -0.5), "rate of WeightDropCell must be at least 0 and below 1, not -0.5"),
        (lambda: cells.WeightDropCell(cells.SRUCell(3)), "cell of WeightDropCell must be a GatedCell .*not SRUCell"),
        (
            lambda: cells.WeightDropCell(cells.GRUCell(3, reset_after=False)),
            "cell of WeightDropCell must be a GatedCell in three-part form, not GRUCell with these options",
        ),
        (
            lambda: cells.WeightDropCell(cells.IndRNNCell(3)).build((None, 2)),
            "cell of WeightDropCell must have a recurrent kernel, and IndRNNCell has none",
        ),
        (
            lambda: NoRecurrence(3, recurrent_dropout=0.1).build((None, 2)),
            "recurrent_dropout of NoRecurrence must be 0, not 0.1: there is no recurrent projection",
        ),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
def test_dropout_of_a_wrapped_cell_that_would_be_lost(option):
    wrapped = cells.ZoneoutCell(cells.UGRNNCell(UNITS, **{option: 0.5}))
    stacked = Unroll([wrapped])
    with pytest.raises(ValueError, match=f"{option} of .* wants the engine, but loop: "):
        stacked(inputs(), training=True)
    alone = Unroll(wrapped, execution="loop")
    if option == "dropout":
        alone(inputs(), training=True)  # the layer applies it
    else:
        with pytest.raises(ValueError, match="recurrent_dropout of .* wants the engine, but loop: "):
            alone(inputs(), training=True)
