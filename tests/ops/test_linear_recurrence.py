"""The linear recurrence in each of its forms, against a loop in NumPy and against finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from rnnapps.ops import linear_recurrence as module
from rnnapps.ops.linear_recurrence import linear_recurrence

FORMS = ["_in_blocks", "_in_steps", "_in_a_tree"]
# One block, several blocks without rest, with rest (of prime lengths), and more than 64 steps to a block's root.
LENGTHS = [1, 2, 3, 16, 17, 31, 32, 48, 67, 100]
BATCH, UNITS = 3, 4

FULL = pytest.mark.full
every_form = pytest.mark.parametrize("form", FORMS)
eager_and_traced = pytest.mark.usefixtures("eager_and_traced")


@pytest.fixture
def only(monkeypatch, form):
    """Makes `linear_recurrence` take this form."""
    monkeypatch.setattr(module, "_form", lambda time: getattr(module, form))


def arrays(time, batch=BATCH, units=UNITS, dtype="float64"):
    rng = np.random.default_rng(time)
    shape = time, batch, units
    return [v.astype(dtype) for v in (rng.uniform(size=shape), rng.normal(size=shape), rng.normal(size=shape[1:]))]


def loop(a, b, h):
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    return np.array(states), h


def with_gradients(a, b, start, weights, last_weights):
    """h, h_T, and the gradients of a sum over both that weighs every element differently."""
    with tf.GradientTape() as tape:
        tape.watch([a, b, start])
        states, last = linear_recurrence(a, b, start)
        loss = tf.reduce_sum(states * weights) + tf.reduce_sum(last * last_weights)
    return states, last, *tape.gradient(loss, [a, b, start])


def wanted_gradients(a, b, start, weights, last_weights):
    """By hand, a step at a time from the last to the first."""
    before = np.concatenate([start[None], loop(a, b, start)[0][:-1]])
    d_a, d_b, later = np.zeros_like(a), np.zeros_like(b), last_weights
    for t in reversed(range(len(a))):
        d_h = weights[t] + later
        d_a[t], d_b[t], later = d_h * before[t], d_h, a[t] * d_h
    return d_a, d_b, later


def gradient_weights(time, batch=BATCH, units=UNITS):
    rng = np.random.default_rng(1000 + time)
    return rng.normal(size=(time, batch, units)), rng.normal(size=(batch, units))


def assert_all_close(found, wanted, **tolerance):
    for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_allclose(one, other, err_msg=f"number {i}", **tolerance)


@eager_and_traced
@every_form
@pytest.mark.parametrize("time", [pytest.param(t, marks=() if t in {1, 3, 17, 32, 67} else FULL) for t in LENGTHS])
def test_states_and_gradients_are_those_of_a_loop(only, time):
    values = *arrays(time), *gradient_weights(time)
    found = tf.function(with_gradients, autograph=False)(*map(tf.constant, values))
    assert_all_close(found, [*loop(*values[:3]), *wanted_gradients(*values)], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("batch", "units"), [(1, 1), (1, 5), (5, 1)])
def test_sizes_of_one(batch, units):
    values = *arrays(40, batch, units), *gradient_weights(40, batch, units)
    found = with_gradients(*map(tf.constant, values))  # eagerly, in the form that a plain graph takes
    assert_all_close(found, [*loop(*values[:3]), *wanted_gradients(*values)], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "jit"),
    [
        *(((None, None), False), ((37, None), True)),
        *(pytest.param((None, BATCH), jit, marks=FULL) for jit in (False, True)),
        *(pytest.param(*case, marks=FULL) for case in (((None, None), True), ((37, None), False))),
    ],
    ids=str,
)
def test_sizes_that_only_the_data_tell(sizes, jit):
    time, batch = sizes
    steps, row = tf.TensorSpec((time, batch, UNITS), tf.float64), tf.TensorSpec((None, UNITS), tf.float64)
    traced = tf.function(
        with_gradients, input_signature=[steps, steps, row, steps, row], jit_compile=jit, autograph=False
    )
    for length in (37,) if time else (1, 37, 64):
        values = *arrays(length), *gradient_weights(length)
        assert_all_close(traced(*values), [*loop(*values[:3]), *wanted_gradients(*values)], rtol=1e-11, atol=1e-12)
    assert traced.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("form", [pytest.param(FORMS[0], marks=FULL), *FORMS[1:]])
def test_compiled_by_xla(only, form):
    # Blocks are not what XLA gets (it takes long to compile them), and only small ones here.
    time = 9 if form == "_in_blocks" else 45
    values = *arrays(time), *gradient_weights(time)
    found = tf.function(with_gradients, jit_compile=True, autograph=False)(*map(tf.constant, values))
    assert_all_close(found, [*loop(*values[:3]), *wanted_gradients(*values)], rtol=1e-11, atol=1e-12)


@every_form
def test_gradient_is_the_slope(only):
    """Of every single element, by finite differences of the loop in NumPy."""
    time = 20
    values = *arrays(time, 2, 2), *gradient_weights(time, 2, 2)
    *_, d_a, d_b, d_start = with_gradients(*map(tf.constant, values))

    def loss(*sources):
        states, last = loop(*sources)
        return np.sum(states * values[3]) + np.sum(last * values[4])

    for i, gradient in enumerate((d_a, d_b, d_start)):
        slope = np.zeros_like(values[i])
        for index in np.ndindex(*slope.shape):
            ends = []
            for move in (1e-6, -1e-6):
                sources = [v.copy() for v in values[:3]]
                sources[i][index] += move
                ends.append(loss(*sources))
            slope[index] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-8)


@every_form
def test_only_the_last_state_or_only_the_states_may_be_used(only):
    a, b, start = map(tf.constant, arrays(21))
    weights, last_weights = gradient_weights(21)
    for used, zero in ((0, 1), (1, 0)):
        with tf.GradientTape() as tape:
            tape.watch([a, b, start])
            loss = tf.reduce_sum(linear_recurrence(a, b, start)[used] * (weights, last_weights)[used])
        both = [weights, last_weights]
        both[zero] = np.zeros_like(both[zero])
        wanted = wanted_gradients(*(v.numpy() for v in (a, b, start)), *both)
        assert_all_close(tape.gradient(loss, [a, b, start]), wanted, rtol=1e-11, atol=1e-12)


DECAYS = ["zeros", "ones", "tiny", "mixed", "near one"]
QUICK = {("_in_blocks", "mixed"), ("_in_blocks", "tiny"), ("_in_blocks", "near one"), ("_in_steps", "near one"),
         ("_in_a_tree", "tiny")}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "decay"),
    [pytest.param(*case, marks=() if case in QUICK else FULL) for case in itertools.product(FORMS, DECAYS)],
)
def test_decays_at_the_ends_of_their_range_in_float32(only, form, decay):
    """2,000 steps in float32 stay within 1e-5 of the loop in float64, and finite."""
    time = 2000
    a, b, start = arrays(time)
    rng = np.random.default_rng(7)
    a = {
        "zeros": np.zeros_like(a),
        "ones": np.ones_like(a),
        "tiny": a * 1e-30,  # whose products leave the range of float32 within two steps
        "mixed": np.where(rng.random(a.shape) < 0.5, np.round(a), a),
        "near one": 1 - 1e-4 * a,
    }[decay].astype("float32")
    b, start = b.astype("float32"), start.astype("float32")
    weights = [w.astype("float32") for w in gradient_weights(time)]
    values = a, b, start, *weights
    # Step by step only in a graph, where it does not take long.
    run = tf.function(with_gradients, autograph=False) if form == "_in_steps" else with_gradients
    found = run(*map(tf.constant, values))
    wide = [v.astype("float64") for v in values]
    for one, other in zip(found, [*loop(*wide[:3]), *wanted_gradients(*wide)], strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def test_form_fits_what_runs_it(monkeypatch):
    assert module._form(10) is module._in_blocks
    tf.function(lambda: assert_form(module._in_steps, 10), jit_compile=True, autograph=False)()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    tf.function(lambda: assert_form(module._in_a_tree, 10), jit_compile=True, autograph=False)()
    tf.function(lambda: assert_form(module._in_steps, None), jit_compile=True, autograph=False)()
    assert module._form(10) is module._in_blocks


def assert_form(form, time):
    assert module._form(time) is form


def test_blocks_have_no_rest_where_they_can(monkeypatch):
    assert [module._block_size(time) for time in (1, 7, 16, 100, 1000, 1024, 2000)] == [1, 7, 16, 10, 25, 32, 40]
    assert module._block_size(None) == module._block_size(101) == 32


def test_shapes_that_do_not_go_together_are_refused():
    a, b, start = arrays(5)
    with pytest.raises(ValueError, match="not compatible"):
        linear_recurrence(tf.constant(a), tf.constant(b[1:]), tf.constant(start))
    with pytest.raises(ValueError, match="not compatible"):
        linear_recurrence(tf.constant(a), tf.constant(b), tf.constant(start[1:]))
