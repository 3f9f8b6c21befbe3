"""What is particular to the Mogrifier LSTM; what holds for every cell stands in tests/conformance."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conformance.cases import MASKS, assert_same, named_weights, weighted_sum

from rnnapps.cells import LSTMCell, MogrifierLSTMCell
from rnnapps.layers import Unroll

BATCH, TIME, FEATURES, UNITS = 4, 7, 3, 5


def filled(cell):
    """The cell, built, with random weights, none of them zero."""
    cell.build((None, FEATURES))
    rng = np.random.default_rng(1)
    for weight in cell.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return cell


def inputs():
    return np.random.default_rng(2).normal(size=(BATCH, TIME, FEATURES))


def states():
    return [np.random.default_rng(seed).normal(size=(BATCH, UNITS)) for seed in (3, 4)]


def run(cell, mask=None, training=False, x=None, **kwargs):
    """Sequence and states, and the gradients of a weighted sum of them by inputs, initial states and weights."""
    layer = Unroll(cell, return_sequences=True, return_state=True, dtype=cell.dtype_policy, **kwargs)
    x, start = tf.cast(inputs() if x is None else x, cell.compute_dtype), [tf.constant(s) for s in states()]
    with tf.GradientTape() as tape:
        tape.watch([x, *start])
        outputs = layer(x, initial_state=start, mask=mask, training=training)
        loss = weighted_sum(outputs)
    return outputs, tape.gradient(loss, [x, *start, *[weight.value for weight in cell.weights]])


@pytest.mark.parametrize(
    "options",
    [
        {"rounds": 1},
        {"rounds": 2, "use_bias": False},
        {"rounds": 5, "rank": 7},
        pytest.param({"rounds": 0}, marks=pytest.mark.full),
        pytest.param({"rounds": 6}, marks=pytest.mark.full),
        pytest.param({"rounds": 1, "rank": 1}, marks=pytest.mark.full),
        pytest.param({"rounds": 4, "rank": 2, "use_bias": False}, marks=pytest.mark.full),
    ],
    ids=str,
)
def test_rounds_and_rank_against_the_equations_and_the_loop(options):
    cell = filled(MogrifierLSTMCell(UNITS, dtype="float64", **options))
    weights = {name: weight.numpy() for name, weight in named_weights(cell).items()}
    assert len(weights) == 2 + cell.use_bias + options["rounds"] * (1 if cell.rank is None else 2)
    weights.setdefault("bias", np.zeros(4 * UNITS))
    mask = np.array(MASKS["inner"], bool)
    outputs, gradients = run(cell, mask, execution="scan")
    after = states()
    for t in range(TIME):
        new = reference.mogrifier_lstm_step(inputs()[:, t], after, weights)[1]
        after = [np.where(mask[:, t, None], n, s) for n, s in zip(new, after, strict=True)]
        seen = mask[:, : t + 1].any(axis=1, keepdims=True)
        np.testing.assert_allclose(outputs[0][:, t], np.where(seen, after[0], 0), rtol=1e-9, atol=1e-11)
    assert_same(outputs[1:], after, rtol=1e-9, atol=1e-11)
    assert_same((outputs, gradients), run(cell, mask, execution="loop"), rtol=1e-9, atol=1e-11)
    copy = MogrifierLSTMCell.from_config(cell.get_config())
    copy.build((None, FEATURES))
    copy.set_weights(cell.get_weights())
    assert_same(copy(inputs()[:, 0], states()), cell(inputs()[:, 0], states()), rtol=0, atol=0)


def test_the_oracle_of_two_rounds_by_hand():
    """x = 3, h = 0.5, Q = 2, R = -1: x^1 = 2 sigmoid(1) 3 and h^2 = 2 sigmoid(-x^1) 0.5, which the candidate sees."""
    weights = {"q_kernel_1": np.array([[2.0]]), "r_kernel_2": np.array([[-1.0]])}
    weights |= {"kernel": np.array([[0, 0, 0.1, 0]]), "recurrent_kernel": np.array([[0, 0, 1.0, 0]])}
    x1 = 2 / (1 + np.exp(-1)) * 3
    h2 = 2 / (1 + np.exp(x1)) * 0.5
    c = 0.5 * 0.7 + 0.5 * np.tanh(0.1 * x1 + h2)
    states = [np.array([[0.5]]), np.array([[0.7]])]
    _, (h, found) = reference.mogrifier_lstm_step(np.array([[3.0]]), states, weights | {"bias": np.zeros(4)})
    np.testing.assert_allclose([h[0, 0], found[0, 0]], [0.5 * np.tanh(c), c])


@pytest.mark.parametrize("rounds", [0, 3])
def test_without_rounds_or_with_gates_of_one_it_is_the_lstm(rounds):
    """2 sigmoid(0) = 1; with the gradients of what both cells have."""
    lstm = filled(LSTMCell(UNITS, dtype="float64"))
    cell = filled(MogrifierLSTMCell(UNITS, rounds=rounds, dtype="float64"))
    cell.set_weights([*lstm.get_weights(), *(0 * weight for weight in cell.get_weights()[3:])])
    (found, gradients), (wanted, wanted_gradients) = (run(one, np.array(MASKS["left"], bool)) for one in (cell, lstm))
    assert_same(found, wanted, 1e-12, 1e-12)
    weights = len(lstm.weights)
    if rounds == 0:
        assert_same(gradients, wanted_gradients, 1e-9, 1e-11)
    else:  # x and h count in the gates of each other as well
        assert_same(gradients[3 : 3 + weights], wanted_gradients[3:], 1e-9, 1e-11)
        assert all(np.any(gradient != 0) for gradient in gradients[3 + weights :])


def test_factors_are_the_matrix_that_they_give():
    low, full = (filled(MogrifierLSTMCell(UNITS, rounds=3, rank=rank, dtype="float64")) for rank in (2, None))
    factors = low.get_weights()
    products = [right @ left for right, left in zip(factors[3::2], factors[4::2], strict=True)]
    full.set_weights([*factors[:3], *products])
    assert_same(run(low)[0], run(full)[0], 1e-10, 1e-12)


@pytest.mark.parametrize("rank", [None, 2])
def test_matrices_start_different_from_each_other(rank):
    cell = MogrifierLSTMCell(UNITS, rounds=6, rank=rank)
    cell.build((None, UNITS))  # so that all of them have one shape
    for one, other in itertools.combinations(cell.get_weights()[3:], 2):
        assert one.shape != other.shape or np.abs(one - other).max() > 1e-3
    function = MogrifierLSTMCell(UNITS, rank=rank, kernel_initializer=lambda shape, dtype: keras.ops.ones(shape, dtype))
    function.build((None, FEATURES))
    assert all(np.all(weight == 1) for weight in function.get_weights()[3:])


def test_forget_bias_starts_at_one():
    cell = MogrifierLSTMCell(UNITS)
    cell.build((None, FEATURES))
    np.testing.assert_array_equal(cell.bias, np.repeat([0, 1, 0, 0], UNITS))


@pytest.mark.parametrize("execution", ["scan", pytest.param("loop", marks=pytest.mark.full)])
def test_dropout_is_of_the_inputs_the_same_at_every_step(execution):
    def dropped(seed):
        cell = filled(MogrifierLSTMCell(UNITS, dropout=0.5, seed=seed, dtype="float64"))
        return run(cell, training=True, execution=execution)

    ones = np.ones((BATCH, 1, FEATURES))
    mask = keras.random.dropout(ones, 0.5, seed=keras.random.SeedGenerator(7)).numpy()
    assert set(np.unique(mask)) == {0.0, 2.0}
    plain = filled(MogrifierLSTMCell(UNITS, dtype="float64"))
    wanted, wanted_gradients = run(plain, x=inputs() * mask)
    found, gradients = dropped(7)
    assert_same(found, wanted, 1e-10, 1e-12)
    assert_same(gradients, [wanted_gradients[0] * mask, *wanted_gradients[1:]], 1e-9, 1e-11)
    assert_same(dropped(7), (found, gradients), rtol=0, atol=0)
    assert np.abs(dropped(8)[0][0] - found[0]).max() > 1e-3


def test_products_are_in_half_precision_and_gates_are_not():
    cell = filled(MogrifierLSTMCell(UNITS, rounds=2, rank=2, dtype="mixed_bfloat16"))

    @tf.function(autograph=False)
    def gates(x, h, c):
        return cell.gates(cell.project(x), None, [h, c], cell.gate_weights())

    shapes = [((BATCH, FEATURES), "bfloat16"), *[((BATCH, UNITS), "float32")] * 2]
    graph = gates.get_concrete_function(*(tf.TensorSpec(*shape) for shape in shapes)).graph
    operations = [op for op in graph.get_operations() if op.type in ("MatMul", "Sigmoid", "Tanh")]
    found = [(op.type, op.outputs[0].dtype.name) for op in operations]
    assert sorted(found) == [("MatMul", "bfloat16")] * 6 + [("Sigmoid", "float32")] * 5 + [("Tanh", "float32")] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounds": -1}, "rounds of MogrifierLSTMCell must be an int of at least 0, not -1"),
        ({"rounds": 2.0}, "rounds of MogrifierLSTMCell must be an int of at least 0, not 2.0"),
        ({"rank": 0}, "rank of MogrifierLSTMCell must be None or an int above 0, not 0"),
        ({"recurrent_dropout": 0.1}, "recurrent_dropout of MogrifierLSTMCell must be 0, not 0.1"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        MogrifierLSTMCell(UNITS, **options)
