"""What is particular to the cells that run in parallel; what holds for all cells stands in tests/conformance."""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conformance.cases import assert_same, named_weights, weighted_sum

from rnnapps import cells
from rnnapps.layers import Unroll

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
FULL = pytest.mark.full
eager_and_traced = pytest.mark.usefixtures("eager_and_traced")

BATCH, TIME, UNITS = 5, 20, 4  # two blocks of steps


def positive(step):
    """An oracle with g(n), the n of z = x W + b changed so that the step's own arithmetic does the rest."""

    def changed(x, states, weights):
        rows = x @ weights["kernel"] + weights["bias"]
        n = rows[:, -UNITS:]
        rows[:, -UNITS:] = np.where(n >= 0, n + 0.5, reference.sigmoid(n))
        return step(rows, states, {"kernel": np.eye(rows.shape[1]), "bias": np.zeros(rows.shape[1])})

    return changed


# Name: cell, size of its input, oracle. Between them: outputs that are the state, that are not, and a second state.
CELLS = {
    "MinGRU": (lambda **kw: cells.MinGRUCell(UNITS, **kw), 3, reference.min_gru_step),
    "MinGRU positive": (lambda **kw: cells.MinGRUCell(UNITS, True, **kw), 3, positive(reference.min_gru_step)),
    "MinLSTM": (lambda **kw: cells.MinLSTMCell(UNITS, **kw), 3, reference.min_lstm_step),
    "MinLSTM positive": (lambda **kw: cells.MinLSTMCell(UNITS, True, **kw), 3, positive(reference.min_lstm_step)),
    "SRU": (lambda **kw: cells.SRUCell(UNITS, **kw), UNITS, reference.sru_step),
    "SRU projected": (lambda **kw: cells.SRUCell(UNITS, **kw), 3, reference.sru_step),
    "QRNN 1": (lambda **kw: cells.QRNNCell(UNITS, window=1, **kw), 3, reference.qrnn_step),
    "QRNN 2": (lambda **kw: cells.QRNNCell(UNITS, window=2, **kw), 3, reference.qrnn_step),
    "RGLRU": (lambda **kw: cells.RGLRUCell(UNITS, **kw), UNITS, reference.rg_lru_step),
    "RGLRU projected": (lambda **kw: cells.RGLRUCell(UNITS, **kw), 3, reference.rg_lru_step),
}  # fmt: skip
KINDS = ["MinGRU", "SRU projected", "QRNN 2"]
QUICK = ("MinGRU positive", "MinLSTM positive", "SRU", "QRNN 2", "RGLRU projected")
every_class = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else FULL) for name in CELLS]
)


def filled(name, **kwargs):
    """The cell, built, with random weights, none of them zero."""
    make, features, _ = CELLS[name]
    cell = make(**kwargs)
    cell.build((None, features))
    rng = np.random.default_rng(1)
    for weight in cell.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return cell


def inputs(name, time=TIME, rows=BATCH, seed=2):
    return np.random.default_rng(seed).normal(size=(rows, time, CELLS[name][1])).astype("float32")


def start(cell, rows=BATCH, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rows, size)).astype("float32") for size in cell.state_size]


def masks():
    """Masked at the left, here and there, everywhere, nowhere, and for longer than a block of steps."""
    mask = np.random.default_rng(4).random((BATCH, TIME)) < 0.5
    mask[0, :13], mask[0, 13:] = False, True
    mask[2], mask[3] = False, True
    mask[4, 5:17] = False
    return mask


def traced(cell, jit_compile=None, **kwargs):
    """Sequence and states, and the gradients of a weighted sum of them by inputs, initial states and weights."""
    layer = Unroll(cell, return_sequences=True, return_state=True, **kwargs)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run(x, start, mask=None):
        with tf.GradientTape() as tape:
            tape.watch([x, *start])
            outputs = layer(x, initial_state=start, mask=mask)
            loss = weighted_sum(outputs)
        return outputs, tape.gradient(loss, [x, *start, *[weight.value for weight in cell.trainable_weights]])

    def checked(*arguments):
        result = run(*tf.nest.map_structure(tf.constant, arguments))
        is_loop = kwargs.get("execution") == "loop"
        assert layer.execution_reason.startswith("loop: asked for" if is_loop else "parallel: ")
        return result

    return checked


# Outputs that are the state, a second state, outputs that are not: how blocks are joined is the same for all cells.
WAYS = [*((name, True, False, False) for name in ("MinGRU positive", "QRNN 2")), ("SRU projected", True, True, True)]
ALL_WAYS = [
    *itertools.product(CELLS, (True, False), (False,), (False,)),
    *((name, True, *options) for name in KINDS for options in ((True, True), (True, False), (False, True))),
]


@eager_and_traced
@pytest.mark.parametrize(
    ("name", "masked", "backwards", "zero_output"),
    [pytest.param(*way, marks=() if way in WAYS else FULL) for way in ALL_WAYS],
)
def test_parallel_is_the_loop(name, masked, backwards, zero_output):
    """Over several blocks of steps, with initial states."""
    cell = filled(name)
    parallel, loop = (
        traced(cell, execution=e, go_backwards=backwards, zero_output_for_mask=zero_output) for e in ("scan", "loop")
    )
    given = inputs(name), start(cell), *([masks()] if masked else [])
    assert_same(parallel(*given), loop(*given))


@pytest.mark.full
@pytest.mark.parametrize("name", KINDS)
def test_compiled_by_xla_over_several_blocks(name):
    cell = filled(name)
    given = inputs(name), start(cell), masks()
    assert_same(traced(cell, jit_compile=True)(*given), traced(cell)(*given))


@eager_and_traced
@every_class
def test_single_step_is_the_first_of_many(name):
    cell = filled(name)
    one = traced(cell)(inputs(name)[:, :1], start(cell))
    assert_same(one, traced(cell)(inputs(name)[:, :1], start(cell), np.ones((BATCH, 1), bool)))
    first, *after = cell(inputs(name)[:, 0], start(cell))
    assert_same(one[0], [first[:, None], *after])


DROPPING = [cells.MinGRUCell(3), cells.QRNNCell(3), cells.SRUCell(3)]


def oracle_loop(name, cell, x, states):
    """The equations in NumPy, in float64, a step at a time."""
    weights = {key: weight.numpy().astype("float64") for key, weight in named_weights(cell).items()}
    outputs, states = [], [state.astype("float64") for state in states]
    for t in range(x.shape[1]):
        output, states = CELLS[name][2](x[:, t].astype("float64"), states, weights)
        outputs.append(output)
    return [np.stack(outputs, 1), *states]


@eager_and_traced
@every_class
def test_two_thousand_steps_are_the_equations_in_float64(name):
    cell = filled(name)
    x, states = inputs(name, time=2000, rows=2), start(cell, rows=2)
    found = tf.function(Unroll(cell, return_sequences=True, return_state=True), autograph=False)(x, states)
    wanted = oracle_loop(name, cell, x, states)
    assert np.abs(wanted[0][:, -5:]).max() > 0.05
    assert_same(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "execution"),
    [
        *((cell, "auto") for cell in DROPPING),
        (DROPPING[0], "loop"),
        *(pytest.param(cell, "loop", marks=FULL) for cell in DROPPING[1:]),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_dropout_of_inputs_has_one_mask_for_a_sequence(cell, execution):
    cell = type(cell).from_config({**cell.get_config(), "dropout": 0.5, "seed": 8})
    twin = type(cell).from_config(cell.get_config())
    mask = twin.drop_inputs(tf.ones((BATCH, TIME, 6)), True).numpy()
    assert set(np.unique(mask)) == {0, 2} and (mask == mask[:, :1]).all() and (mask != mask[:1]).any()
    layer = Unroll(cell, return_sequences=True, execution=execution)
    x = np.random.default_rng(2).normal(size=(BATCH, TIME, 6)).astype("float32")
    assert_same(layer(x, training=True), layer(x * mask))
    assert np.abs(layer(x, training=True) - layer(x)).max() > 0.01  # the next mask, and none


def test_decay_of_rg_lru_starts_slow():
    cell = cells.RGLRUCell(2000, seed=1)
    cell.build((None, 3))
    slow = reference.sigmoid(cell.decay.numpy().astype("float64")) ** 8
    assert slow.min() >= 0.9 - 1e-4 and slow.max() <= 0.999 + 1e-4
    np.testing.assert_allclose(np.quantile(slow, [0.25, 0.5, 0.75]), [0.92475, 0.9495, 0.97425], atol=0.005)
    again = cells.RGLRUCell(2000, seed=1)
    again.build((None, 3))
    assert_same(again.decay, cell.decay, rtol=0, atol=0)


def test_root_of_rg_lru_has_a_slope_where_the_gate_holds_everything():
    cell = cells.RGLRUCell(2)
    cell.build((None, 2))
    cell.bias.assign([-200, -20, 0, 0])
    x = tf.constant([[[1.0, 2.0]] * 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        h = Unroll(cell)(x, initial_state=[tf.constant([[3.0, 4.0]])])
        loss = tf.reduce_sum(h)
    np.testing.assert_allclose(h, [[3, 4]], rtol=1e-3)
    for gradient in tape.gradient(loss, [x, *[weight.value for weight in cell.trainable_weights]]):
        assert np.isfinite(gradient).all()


def test_gates_of_min_lstm_share_one_whole_even_where_both_vanish():
    cell = cells.MinLSTMCell(2)
    cell.build((None, 1))
    cell.bias.assign([-300, -300, -300, -299, 7, 7])
    h, _ = cell(tf.zeros((1, 1)), [tf.constant([[3.0, 3.0]])])
    np.testing.assert_allclose(h, [[(3 + 7) / 2, (3 + np.e * 7) / (1 + np.e)]], rtol=1e-6)


def test_previous_input_of_qrnn_is_the_last_that_was_not_masked():
    cell = filled("QRNN 2")
    x = inputs("QRNN 2", time=4)
    layer = Unroll(cell, return_state=True)
    found = layer(x, mask=np.array([[True, False, False, True]] * BATCH))
    assert_same(found, layer(x[:, [0, 3]]))
    assert np.abs(found[0] - layer(x)[0]).max() > 0.01


def test_no_activation_of_sru_is_the_state_on_its_highway():
    cell, plain = filled("SRU"), filled("SRU", activation=None)
    x = inputs("SRU")[:, 0]
    h, (c,) = plain(x, start(cell))
    assert_same(c, cell(x, start(cell))[1])
    gates = x @ cell.kernel.numpy()[:, UNITS : 2 * UNITS] + cell.bias.numpy()[UNITS:]
    r = reference.sigmoid(gates)
    assert_same(h, r * c + (1 - r) * x)


@functools.cache
def wild_mlstm():
    """The matrix LSTM with gates up to about 100, whose exp float32 does not hold, and the sequence behind them."""
    cell = cells.MLSTMCell(6, heads=2)
    cell.build((None, 3))
    rng = np.random.default_rng(1)
    for weight in cell.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return cell, np.random.default_rng(2).normal(0, 50, (BATCH, 30, 3)).astype("float32")


def test_mlstm_with_large_inputs_is_its_equations():
    cell, x = wild_mlstm()
    weights = {key: weight.numpy().astype("float64") for key, weight in named_weights(cell).items()}
    gates = x @ weights["kernel"] + weights["bias"]
    assert gates[..., -4:-2].max() > 90  # exp(90) is infinite in float32
    states = [np.zeros((BATCH, size)) for size in cell.state_size]
    wanted = []
    for t in range(x.shape[1]):
        output, states = reference.mlstm_step(x[:, t].astype("float64"), states, weights)
        wanted.append(output)
    found = Unroll(cell, return_sequences=True)(x)
    # q and k are large as well: small differences of large numbers are left.
    assert_same(found, np.stack(wanted, 1), rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("sign", [1, -1])
def test_mlstm_with_gates_of_thousands_is_finite(sign):
    cell, x = wild_mlstm()
    layer = Unroll(cell, return_sequences=True)
    x = tf.constant(sign * 30 * x[:, :10])
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x)
        loss = tf.reduce_sum(outputs)
    for tensor in (outputs, *tape.gradient(loss, [x, *[weight.value for weight in cell.trainable_weights]])):
        assert np.isfinite(tensor).all()


def test_forget_bias_of_mlstm_starts_at_one():
    for unit, wanted in ((True, [1, 1]), (False, [0, 0])):
        cell = cells.MLSTMCell(6, heads=2, unit_forget_bias=unit)
        cell.build((None, 3))
        np.testing.assert_array_equal(cell.bias, [0] * 26 + wanted)


def test_how_it_ran():
    x = inputs("MinGRU")
    for options, reason in (
        ({}, "parallel: the cell's recurrence is linear"),
        ({"execution": "scan"}, "parallel: the cell's recurrence is linear"),
        ({"execution": "loop"}, "loop: asked for"),
        ({"unroll": True}, "loop: unroll=True"),
    ):
        layer = Unroll(cells.MinGRUCell(2), **options)
        layer(x[:, :2])
        assert layer.execution_reason == reason
    with pytest.raises(ValueError, match="execution='xla' of .* is not possible: the cell has no loop to compile"):
        Unroll(cells.MinGRUCell(2), execution="xla")(x)


def test_in_a_stack_of_cells():
    stack = [filled("MinGRU"), keras.layers.GRUCell(3), cells.SRUCell(3)]
    layer = Unroll(stack, return_sequences=True)
    found = layer(inputs("MinGRU"))
    one_by_one = inputs("MinGRU")
    for cell in stack:
        one_by_one = Unroll(cell, return_sequences=True)(one_by_one)
    assert_same(found, one_by_one)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cells.MinGRUCell(0), "units of MinGRUCell must be an int above 0, not 0"),
        (lambda: cells.SRUCell(2.0), "units of SRUCell must be an int above 0, not 2.0"),
        (lambda: cells.SRUCell(2, dropout=1), "dropout of SRUCell must be at least 0 and below 1, not 1"),
        (lambda: cells.QRNNCell(2, window=3), "window of QRNNCell must be 1 or 2, not 3"),
        (lambda: cells.MLSTMCell(6, heads=4), "heads of MLSTMCell must be an int that divides 6 units, not 4"),
        (lambda: cells.MLSTMCell(6, recurrent_dropout=0.1), "recurrent_dropout of MLSTMCell must be 0, not 0.1"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
