"""What zoneout and weight drop do while training, on both paths; the rest stands in tests/conformance."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conformance.cases import MASKS, assert_same, named_weights
from wrapping import BATCH, EXACT, TIME, UNITS, assert_share, filled, inputs, lstm, lstm_step, run, start_of, unroll

from rnnapps import cells
from rnnapps.layers import Unroll

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
eager_and_traced = pytest.mark.usefixtures("eager_and_traced")


# === Zoneout ===

RATES = {"both": [0.4, 0.2], "h": [0.4, 0.0], "c": [0.0, 0.3], "one": 0.25}


@eager_and_traced
@pytest.mark.parametrize(
    ("rates", "mask"),
    [
        *(("h", "none"), ("c", "inner"), ("one", "none")),
        *(pytest.param(rates, "none", marks=pytest.mark.full) for rates in ("both", "c")),
        *(pytest.param(rates, "inner", marks=pytest.mark.full) for rates in ("both", "h", "one")),
    ],
)
def test_zoneout_in_training_is_the_hand_loop_with_the_masks_drawn(rates, mask):
    def make():
        return filled(cells.ZoneoutCell(lstm(), RATES[rates], seed=5))

    z = RATES[rates] if isinstance(RATES[rates], list) else [RATES[rates]] * 2
    drawn = np.array(make().loop_inputs(tf.constant(inputs()), training=True)[-1])
    assert drawn.shape == (BATCH, TIME, UNITS * sum(rate > 0 for rate in z)) and set(np.unique(drawn)) == {0, 1}
    columns = iter(np.split(drawn, drawn.shape[-1] // UNITS, axis=-1))
    kept = [next(columns) if rate else np.zeros((BATCH, TIME, UNITS)) for rate in z]

    cell, keep = make(), np.array(MASKS[mask], bool)
    weights = {name: weight.numpy() for name, weight in named_weights(cell).items()}
    states, outputs = [state.numpy() for state in start_of(cell)], []
    for t in range(TIME):
        new = reference.zoneout(lstm_step, [d[:, t] for d in kept])(inputs()[:, t], states, weights)[1]
        states = [np.where(keep[:, t, None], n, s) for n, s in zip(new, states, strict=True)]
        outputs.append(np.where(keep[:, : t + 1].any(axis=1, keepdims=True), states[0], 0))
    found, _ = run(cell, True, mask=None if mask == "none" else keep)
    assert_same(found, [np.stack(outputs, 1), *states], **EXACT)


@eager_and_traced
@pytest.mark.parametrize("execution", ["scan", "loop"])
def test_zoneout_keeps_as_many_values_as_the_rate_says(execution):
    cell, rows, rates = filled(cells.ZoneoutCell(lstm(), [0.3, 0.1], seed=1)), 60, [0.3, 0.1]
    x, start = inputs(rows, 40), start_of(cell, rows)
    (sequence, *_), _ = run(cell, True, x, execution=execution)
    before = np.concatenate([start[0][:, None], sequence[:, :-1]], axis=1)
    kept = np.equal(sequence, before)
    assert_share(kept.sum(), kept.size, 0.3)
    # Steps, rows and units are drawn apart: two of them agree as often as strangers do.
    for one, other in ((kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1]), (kept[..., 1:], kept[..., :-1])):
        assert_share((one & other).sum(), one.size, 0.09)
    (_, *states), _ = run(cell, True, x[:, :1], execution=execution)
    for new, old, rate in zip(states, start, rates, strict=True):
        assert_share(np.equal(new, old).sum(), new.shape[0] * UNITS, rate)


@eager_and_traced
@pytest.mark.parametrize("execution", ["scan", "loop"])
def test_zoneout_of_rate_zero_is_the_inner_cell(execution):
    options = {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 4}
    for training in (False, True):
        wrapped = run(filled(cells.ZoneoutCell(lstm(**options), 0.0)), training, execution=execution)
        assert_same(wrapped, run(filled(lstm(**options)), training, execution=execution), rtol=0, atol=0)


@pytest.mark.parametrize("execution", ["scan", "loop"])
def test_zoneout_masks_follow_the_seed_and_are_new_in_every_call(execution):
    def outputs(seed):
        layer, x = unroll(filled(cells.ZoneoutCell(lstm(), 0.5, seed=seed)), execution=execution), inputs(BATCH, 3)
        return [layer(x, training=training)[0].numpy() for training in (True, True, False, False)]

    first, second, *inference = outputs(1)
    assert_same(outputs(1), [first, second, *inference], rtol=0, atol=0)
    assert np.any(first != second) and np.any(first != outputs(2)[0])
    assert_same(*inference, rtol=0, atol=0)


def test_zoneout_mean_in_training_is_near_the_inference():
    """Of one step exactly, and so its expectation: d = z."""
    cell = filled(cells.ZoneoutCell(lstm(), [0.5, 0.2], seed=3))
    x, start = np.repeat(inputs(1, 1), 4000, axis=0), [tf.repeat(state[:1], 4000, 0) for state in start_of(cell)]
    layer = unroll(cell)
    drawn, expected = (layer(x, initial_state=start, training=training)[1:] for training in (True, False))
    for one, mean in zip(drawn, expected, strict=True):
        error = np.std(one, axis=0) / np.sqrt(4000)
        assert np.all(np.abs(np.mean(one, axis=0) - mean[0]) < 4.5 * error + 1e-12) and np.all(error > 0)


@eager_and_traced
@pytest.mark.parametrize("window", [pytest.param(1, marks=pytest.mark.full), 2])
def test_zoneout_of_a_linear_cell_puts_out_what_follows_from_the_state_kept(window):
    """QRNN: h = sigmoid(o) c, so that the output too stems from the pooled state after zoneout (its paper, 2.1)."""
    rates = [0.3] + [0.0] * (3 if window == 2 else 0)
    cell = filled(cells.ZoneoutCell(cells.QRNNCell(UNITS, window=window, dtype="float64"), rates))
    (sequence, *states), _ = run(cell, False)
    w, bias = cell.cell.kernel.numpy(), cell.cell.bias.numpy()
    previous = cell.cell.previous_kernel.numpy() if window == 2 else 0 * w
    c, *before = [state.numpy() for state in start_of(cell)]
    before = np.concatenate(before, axis=1) if window == 2 else 0
    for t, x in enumerate(np.moveaxis(inputs(), 1, 0)):
        z, f, o = np.split(x @ w + before + bias, 3, axis=1)
        f = reference.sigmoid(f)
        c = 0.3 * c + 0.7 * (f * c + (1 - f) * np.tanh(z))
        before = x @ previous
        np.testing.assert_allclose(sequence[:, t], reference.sigmoid(o) * c, **EXACT)
    np.testing.assert_allclose(states[0], c, **EXACT)
    training, _ = run(cell, True)
    assert np.any(np.abs(training[0] - sequence) > 1e-3)


@eager_and_traced
def test_zoneout_of_keras_own_cell_is_that_of_ours():
    ours, theirs = filled(cells.ZoneoutCell(lstm(), [0.3, 0.2])), keras.layers.LSTMCell(UNITS, dtype="float64")
    theirs = cells.ZoneoutCell(theirs, [0.3, 0.2])
    theirs.build((None, UNITS))
    theirs.set_weights(ours.get_weights())
    assert not theirs.is_three_part(training=False)
    mask = np.array(MASKS["inner"], bool)
    assert_same(run(theirs, False, mask=mask), run(ours, False, mask=mask), **EXACT)
    (sequence, *_), _ = run(theirs, True)
    assert_share(np.equal(sequence[:, 1:], sequence[:, :-1]).sum(), sequence[:, 1:].shape.num_elements(), 0.3)


# === Weight drop ===


@pytest.mark.parametrize(
    ("rows", "execution"), [(4, "scan"), (20, "scan"), (4, "xla"), pytest.param(20, "xla", marks=pytest.mark.full)]
)
def test_weight_drop_is_one_mask_for_all_steps_and_rows(rows, execution, monkeypatch):
    """The layer is the inner one with the kernel of that mask; twenty rows, traced, run in two shards."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 2)
    cell, same = (filled(cells.WeightDropCell(lstm(), 0.4, seed=6)) for _ in range(2))
    inner = filled(lstm())
    dropped = np.array(same.recurrent_weights(training=True)[0])
    mask = dropped * 0.6 / inner.recurrent_kernel.numpy()
    assert np.all(np.isclose(mask, 0) | np.isclose(mask, 1))
    inner.recurrent_kernel.assign(dropped)
    found = run(cell, True, inputs(rows), traced=rows == 20, execution=execution)
    wanted = run(inner, False, inputs(rows), traced=False)
    assert_same(found[0], wanted[0], **EXACT)
    wanted[1][-2] = wanted[1][-2] * np.round(mask) / 0.6  # the gradient by U passes the mask too
    assert_same(found[1], wanted[1], **EXACT)
    oracle = reference.weight_drop(lstm_step, np.round(mask), 0.4)
    weights = {name: weight.numpy() for name, weight in named_weights(cell).items()}
    states = [state.numpy() for state in start_of(cell, rows)]
    for t in range(TIME):
        states = oracle(inputs(rows)[:, t], states, weights)[1]
    assert_same(found[0][1:], states, **EXACT)


def test_weight_drop_acts_in_training_alone_and_anew_in_every_call():
    layer, inner = unroll(filled(cells.WeightDropCell(lstm(), 0.4, seed=1))), unroll(filled(lstm()))
    again = unroll(filled(cells.WeightDropCell(lstm(), 0.4, seed=1)))
    first, second, still = (layer(inputs(), training=training) for training in (True, True, False))
    assert_same(still, inner(inputs()), rtol=0, atol=0)
    assert np.abs(first[0] - still[0]).max() > 1e-2 and np.abs(first[0] - second[0]).max() > 1e-2
    assert_same([again(inputs(), training=True), again(inputs(), training=True)], [first, second], rtol=0, atol=0)
    assert_same(unroll(filled(cells.WeightDropCell(lstm(), 0)))(inputs(), training=True), still, rtol=0, atol=0)


def test_weight_drop_drops_as_many_weights_as_the_rate_says():
    cell = cells.WeightDropCell(cells.GRUCell(60), 0.3, seed=2)
    cell.build((None, 3))
    kernel = np.array(cell.recurrent_weights(training=True)[0])
    assert_share(np.count_nonzero(kernel == 0), kernel.size, 0.3)
    np.testing.assert_allclose(kernel[kernel != 0], cell.recurrent_kernel.numpy()[kernel != 0] / 0.7, rtol=1e-5)


@pytest.mark.parametrize("around", [lambda cell: cell, lambda cell: [cell, cells.GRUCell(2)], cells.ResidualCell])
def test_weight_drop_refuses_a_training_step_that_would_not_drop(around):
    options = {"execution": "loop"} if around is cells.ResidualCell else {"unroll": True}
    layer = Unroll(around(cells.WeightDropCell(cells.LSTMCell(UNITS), 0.5)), **options)
    layer(inputs(), training=False)
    with pytest.raises(ValueError, match="rate of weight_drop_cell.* wants the engine"):
        layer(inputs(), training=True)
