"""The decoder with attention against NumPy, against its slow twin, and against itself a step at a time."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import gru_step, lstm_step

from rnnapps import cells
from rnnapps.layers import AttentionDecoder
from rnnapps.ops import time_loop

ROWS, TIME, PLACES, FEATURES, MEMORY, UNITS, OUT = 3, 7, 4, 5, 6, 6, 8
CELLS = {"gru": cells.GRUCell, "lstm": cells.LSTMCell, "layer_norm": cells.LayerNormLSTMCell, "min": cells.MinGRUCell}
SCORES = ("additive", "dot", "general", "scaled")
LENGTHS = [4, 2, 3]


def build(cell="gru", layers=1, seed=0, **options):
    """A decoder whose weights are all far from zero, biases included, so that each of them shows."""
    layer = AttentionDecoder([CELLS[cell](UNITS) for _ in range(layers)], units=OUT, **options)
    layer.build((None, None, FEATURES), (None, None, MEMORY))
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return layer


def twin(layer, **changes):
    other = AttentionDecoder.from_config({**layer.get_config(), **changes})
    other.build((None, None, FEATURES), (None, None, MEMORY))
    other.set_weights(layer.get_weights())
    return other


def data(seed=1, rows=ROWS):
    rng = np.random.default_rng(seed)
    x, memory = (
        rng.normal(0, 1, shape).astype("float32") for shape in ((rows, TIME, FEATURES), (rows, PLACES, MEMORY))
    )
    return tf.constant(x), tf.constant(memory), tf.sequence_mask((LENGTHS * rows)[:rows], PLACES)


def softmax(scores):
    found = np.exp(scores - scores.max(-1, keepdims=True))
    return found / found.sum(-1, keepdims=True)


def expected(layer, x, memory, mask, cell):
    """One cell, one step at a time, in float64, from the equations in the docstring."""
    weights = {w.name: w.numpy().astype("float64") for w in layer.weights if w.path.count("/") == 1}
    own = [w.numpy().astype("float64") for w in layer.cells[0].weights]
    x, memory = np.float64(x), np.float64(memory)
    states = [np.zeros((len(x), UNITS)) for _ in range(2 if cell == "lstm" else 1)]
    a, seen, outputs, looks = np.zeros((len(x), OUT)), np.zeros((len(x), PLACES)), [], []
    for t in range(TIME):
        given = np.concatenate([x[:, t], a], -1) if layer.input_feeding else x[:, t]
        if cell == "lstm":
            states = list(lstm_step(given, *states, *own))
        else:
            states = [gru_step(given, *states, *own)]
        h = states[0]
        if layer.score == "additive":
            inner = (h @ weights["query_kernel"])[:, None] + memory @ weights["memory_kernel"]
            inner = inner + seen[..., None] * weights["coverage_kernel"] if layer.coverage else inner
            scores = np.tanh(inner) @ weights["attention_vector"][:, 0]
        else:
            keys = memory @ weights["memory_kernel"] if layer.score == "general" else memory
            scores = np.einsum("bu,bpu->bp", h, keys) / (np.sqrt(UNITS) if layer.score == "scaled" else 1)
        there = np.zeros((len(x), 0), bool)
        if layer.sentinel:
            sentinel = np.tanh(states[-1]) / (1 + np.exp(-h @ weights["sentinel_gate"]))
            key, value = np.split(sentinel @ weights["sentinel_kernel"], [UNITS], axis=1)
            score = np.tanh(h @ weights["query_kernel"] + key) @ weights["attention_vector"]
            scores, there = np.concatenate([scores, score], 1), np.ones((len(x), 1), bool)
        look = softmax(np.where(np.concatenate([mask, there], 1), scores, -np.inf))
        read = np.concatenate([h, np.einsum("bp,bpm->bm", look[:, :PLACES], memory)], -1) @ weights["output_kernel"]
        read = read + look[:, PLACES:] * value if layer.sentinel else read
        a, seen = np.tanh(read + weights["bias"]), seen + look[:, :PLACES]
        outputs.append(a)
        looks.append(look)
    return np.stack(outputs, 1), np.stack(looks, 1), states


EQUATIONS = [
    *(("gru", "additive", True), ("lstm", "additive", False), ("gru", "dot", False), ("lstm", "dot", True)),
    *(("lstm", "general", True), ("gru", "scaled", True)),
]


@pytest.mark.parametrize(
    ("cell", "score", "feeding"),
    [
        pytest.param(*case, marks=() if case in EQUATIONS else pytest.mark.full)
        for case in itertools.product(("gru", "lstm"), SCORES, (True, False))
    ],
)
def test_equals_its_equations(cell, score, feeding):
    layer = build(cell, score=score, input_feeding=feeding, coverage=score == "additive" and feeding)
    x, memory, mask = data()
    outputs, looks, *states = layer(x, memory, memory_mask=mask)
    wanted = expected(layer, x, memory, mask.numpy(), cell)
    np.testing.assert_allclose(outputs, wanted[0], atol=2e-5)
    np.testing.assert_allclose(looks, wanted[1], atol=2e-5)
    for state, value in zip(states, wanted[2], strict=False):
        np.testing.assert_allclose(state, value, atol=2e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("feeding", [True, False])
def test_a_sentinel_equals_its_equations(cell, feeding):
    layer = build(cell, sentinel=True, input_feeding=feeding)
    x, memory, mask = data()
    outputs, looks, *_ = layer(x, memory, memory_mask=mask)
    assert looks.shape[-1] == PLACES + 1
    for one, other in zip((outputs, looks), expected(layer, x, memory, mask.numpy(), cell), strict=False):
        np.testing.assert_allclose(one, other, atol=2e-5)


def gradients(layer, inputs, compiled=False):
    """Outputs, and the gradients of inputs and weights of a sum in which every output has another part."""
    x, memory, mask = inputs

    @tf.function(jit_compile=compiled, autograph=False)
    def run(x, memory):
        with tf.GradientTape() as tape:
            tape.watch([x, memory])
            found = layer(x, memory, memory_mask=mask, training=True)
            terms = [tf.reduce_sum(tf.sin((i + 1.0) * tf.cast(v, tf.float32))) for i, v in enumerate(found)]
            total = tf.add_n(terms)
        return found, tape.gradient(total, [x, memory, *[w.value for w in layer.trainable_weights]])

    return run(x, memory)


@pytest.mark.usefixtures("eager_and_traced")
@pytest.mark.parametrize(
    "options",
    [
        {"input_feeding": False, "coverage": True, "layers": 2},
        {"cell": "lstm", "score": "general", "layers": 2, "residual": True},
        {"cell": "lstm", "sentinel": True},
        {"score": "scaled"},
        *(pytest.param({"score": score}, marks=pytest.mark.full) for score in SCORES if score != "scaled"),
        pytest.param({"cell": "lstm", "score": "general", "layers": 3, "residual": True}, marks=pytest.mark.full),
        pytest.param({"cell": "lstm", "coverage": True}, marks=pytest.mark.full),
        pytest.param({"input_feeding": False, "sentinel": True}, marks=pytest.mark.full),
    ],
    ids=str,
)
def test_outputs_and_gradients_are_those_of_the_slow_twin(options):
    layer = build(**options)
    slow = twin(layer, execution="loop")
    (outputs, fast), (wanted, right) = gradients(layer, data()), gradients(slow, data())
    for one, other in zip([*outputs, *fast], [*wanted, *right], strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.full)])
def test_rows_in_shards_and_a_program_of_xla_change_nothing(compiled, monkeypatch):
    """Nineteen rows run in two shards where a graph runs them, and in one under XLA."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 2)
    monkeypatch.setattr(time_loop, "_STEPS_PER_TURN", 1)  # less to trace
    layer, (x, memory, mask) = build("gru", score="general"), data(rows=19)
    inputs = x[:, :3], memory, mask
    found = gradients(layer, inputs, compiled)
    tf.config.run_functions_eagerly(True)
    slow = gradients(twin(layer, execution="loop"), inputs)
    tf.config.run_functions_eagerly(False)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(slow), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize(
    ("cell", "more"),
    [
        *(("gru", "coverage"), ("lstm", "sentinel"), ("min", "sentinel")),
        *(pytest.param(cell, "coverage", marks=pytest.mark.full) for cell in ("lstm", "min", "layer_norm")),
        *(pytest.param(cell, "sentinel", marks=pytest.mark.full) for cell in ("gru", "layer_norm")),
    ],
)
def test_a_step_at_a_time_gives_the_same(cell, more):
    layer = build(cell, layers=2, residual=True, **{more: True})
    x, memory, mask = data()
    outputs, looks, *last = layer(x, memory, memory_mask=mask)
    read, states = layer.read(memory, mask), layer.initial_states(memory)
    for t in range(TIME):
        a, look, states = layer.step(x[:, t], states, read)
        np.testing.assert_allclose(a, outputs[:, t], atol=1e-5)
        np.testing.assert_allclose(look, looks[:, t], atol=1e-5)
    for state, wanted in zip(states, last, strict=True):
        np.testing.assert_allclose(state, wanted, atol=1e-5)


@pytest.mark.parametrize("score", [*SCORES, "sentinel"])
def test_hypotheses_that_share_a_memory_are_steps_of_their_own(score):
    layer = build(sentinel=True) if score == "sentinel" else build(score=score, coverage=score == "additive")
    _, memory, mask = data()
    beams, rng = 2, np.random.default_rng(5)
    x = tf.constant(rng.normal(0, 1, (ROWS * beams, FEATURES)).astype("float32"))
    sizes = [PLACES if size is None else size for size in layer.state_sizes.values()]
    states = [tf.constant(rng.uniform(0, 1, (ROWS * beams, size)).astype("float32")) for size in sizes]
    together = layer.step(x, states, layer.read(memory, mask), beams)
    for beam in range(beams):
        alone = layer.step(x[beam::beams], [s[beam::beams] for s in states], layer.read(memory, mask))
        for one, other in zip(tf.nest.flatten(together), tf.nest.flatten(alone), strict=True):
            np.testing.assert_allclose(one[beam::beams], other, atol=1e-5)


def test_what_is_masked_is_not_looked_at_and_changes_nothing():
    layer, (x, memory, mask) = build(), data()
    outputs, looks, *_ = layer(x, memory, memory_mask=mask)
    assert np.all(np.array(looks)[1, :, LENGTHS[1] :] == 0)
    np.testing.assert_allclose(tf.reduce_sum(looks, -1), 1, atol=1e-6)
    other = tf.where(mask[..., None], memory, 100.0)
    np.testing.assert_array_equal(layer(x, other, memory_mask=mask)[0], outputs)
    nothing = layer(x, memory, memory_mask=tf.zeros_like(mask))
    assert np.all(np.isfinite(nothing[0])) and np.all(np.array(nothing[1]) == 0)


@pytest.mark.full
def test_gradient_equals_finite_differences():
    """The slow twin's gradients, to which the quick tier holds the others, are TensorFlow's own."""
    layer = AttentionDecoder(cells.LSTMCell(UNITS, dtype="float64"), units=OUT, coverage=True, dtype="float64")
    layer.build((None, None, FEATURES), (None, None, MEMORY))
    x, memory, mask = data()
    x, memory = tf.cast(x[:, :4], tf.float64), tf.cast(memory, tf.float64)

    def cost():
        return float(tf.reduce_sum(tf.sin(layer(x, memory, memory_mask=mask)[0])))

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.sin(layer(x, memory, memory_mask=mask)[0]))
    found = tape.gradient(total, [w.value for w in layer.trainable_weights])
    rng, step = np.random.default_rng(3), 1e-5
    for weight, gradient in zip(layer.trainable_weights, found, strict=True):
        place = tuple(rng.integers(0, size) for size in weight.shape)
        before, costs = weight.numpy(), []
        for sign in (1, -1):
            moved = before.copy()
            moved[place] += sign * step
            weight.assign(moved)
            costs.append(cost())
        weight.assign(before)
        assert gradient.numpy()[place] == pytest.approx((costs[0] - costs[1]) / (2 * step), rel=1e-5, abs=1e-8), (
            weight.path
        )


def test_initial_states_are_taken_and_recurrent_dropout_is_the_same_at_all_steps():
    layer, (x, memory, mask) = build("lstm"), data()
    start = [tf.ones((ROWS, UNITS)), -tf.ones((ROWS, UNITS))]
    assert not np.allclose(layer(x, memory, mask, start)[0], layer(x, memory, mask)[0])
    np.testing.assert_allclose(
        layer(x, memory, mask, start)[0][:, 0],
        layer.step(x[:, 0], layer.initial_states(memory, start), layer.read(memory, mask))[0],
        atol=1e-6,
    )
    dropping = AttentionDecoder(cells.LSTMCell(UNITS, recurrent_dropout=0.5, seed=1), units=OUT)
    dropping(x, memory)
    dropping.set_weights(layer.get_weights())
    once, again = (np.array(dropping(x, memory, mask, training=True)[0]) for _ in range(2))
    assert not np.allclose(once, layer(x, memory, mask)[0]) and not np.allclose(once, again)
    dropping(x[:2], memory[:2], mask[:2], training=True)  # no mask is kept for other rows
    np.testing.assert_allclose(dropping(x, memory, mask)[0], layer(x, memory, mask)[0], atol=1e-6)


def test_a_model_of_it_is_saved_and_loaded(tmp_path):
    x, memory = keras.Input((None, FEATURES)), keras.Input((None, MEMORY))
    outputs, looks, *_ = AttentionDecoder([cells.GRUCell(UNITS), cells.LSTMCell(UNITS)], residual=True)(x, memory)
    assert outputs.shape == (None, None, UNITS) and looks.shape == (None, None, None)
    model = keras.Model([x, memory], [outputs, looks])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    given = [np.array(t) for t in data()[:2]]
    for one, other in zip(model(given), loaded(given), strict=True):
        np.testing.assert_array_equal(one, other)


def test_mixed_precision_stays_near_and_keeps_weights_of_attention_in_float32():
    layer = build("lstm")
    narrow = AttentionDecoder(cells.LSTMCell(UNITS, dtype="mixed_bfloat16"), units=OUT, dtype="mixed_bfloat16")
    narrow.build((None, None, FEATURES), (None, None, MEMORY))
    narrow.set_weights(layer.get_weights())
    x, memory, mask = data()
    found = narrow(x, memory, memory_mask=mask)
    assert (found[0].dtype, found[1].dtype) == (tf.bfloat16, tf.float32)
    np.testing.assert_allclose(tf.cast(found[0], tf.float32), layer(x, memory, memory_mask=mask)[0], atol=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"score": "cosine"}, "score must be one of"),
        ({"execution": "cudnn"}, "execution must be one of"),
        ({"score": "dot", "coverage": True}, "coverage of .* wants score='additive'"),
        ({"score": "dot", "sentinel": True}, "sentinel of .* wants score='additive'"),
    ],
)
def test_options_that_are_not_known(options, said):
    with pytest.raises(ValueError, match=said):
        AttentionDecoder(cells.GRUCell(UNITS), **options)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="wants cells of one size"):
        AttentionDecoder([cells.GRUCell(3), cells.GRUCell(4)], residual=True)
    with pytest.raises(ValueError, match="wants a memory of 3 features, not 6"):
        AttentionDecoder(cells.GRUCell(3), score="dot").build((None, None, 5), (None, None, 6))
    x, memory, _ = data()
    with pytest.raises(ValueError, match="dropout 0.5 of .*: wanted 0"):
        AttentionDecoder(cells.GRUCell(3, dropout=0.5))
    lost = AttentionDecoder(cells.LayerNormLSTMCell(3, recurrent_dropout=0.5))
    with pytest.raises(ValueError, match="wants a cell in three-part form"):
        lost(*data()[:2], training=True)
    with pytest.raises(ValueError, match="wants cells in three-part form"):
        AttentionDecoder(cells.MinGRUCell(3), execution="scan")(x, memory)
