"""The drop-in layers against their Keras namesakes, and the engine against a hand loop over `cell.call`."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import rnnapps.cells as cells
import rnnapps.layers as layers

NAMES = ["SimpleRNN", "GRU", "LSTM"]
FULL = pytest.mark.full
BATCH, TIME, FEATURES, UNITS = 4, 6, 3, 5
MASKS = {
    "none": None,
    "right": [[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4, [1] + [0] * 5],
    "left": [[1] * 6, [0] * 2 + [1] * 4, [0] * 5 + [1], [0] + [1] * 5],
    "inner": [[1, 0] * 3, [0, 1] * 3, [1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0]],
    "empty": [[0] * 6, [1] * 6, [0] * 6, [0] * 3 + [1] * 3],
}


def pair(name, **kwargs):
    """Our layer and Keras' with the same, non-trivial weights."""
    ours, theirs = getattr(layers, name)(UNITS, **kwargs), getattr(keras.layers, name)(UNITS, **kwargs)
    for layer in (ours, theirs):
        layer.build((BATCH, TIME, FEATURES))
    rng = np.random.default_rng(1)
    weights = [rng.normal(0, 0.6, w.shape).astype("float32") for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    assert [w.path.split("/", 1)[1] for w in ours.weights] == [w.path.split("/", 1)[1] for w in theirs.weights]
    return ours, theirs


def inputs(seed=0, time=TIME):
    return np.random.default_rng(seed).normal(size=(BATCH, time, FEATURES)).astype("float32")


def states(layer, seed=3):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=(BATCH, UNITS)), tf.float32) for _ in layer.state_size]


def weighted_sum(tensors):
    """A scalar in which every element of every tensor has a weight of its own, whatever the shapes are."""
    return tf.add_n(
        [
            tf.reduce_sum(t * tf.reshape(tf.sin(tf.range(tf.size(t), dtype=t.dtype) + i), tf.shape(t)))
            for i, t in enumerate(tensors)
        ]
    )


def run(layer, x, **kwargs):
    """Outputs, and the gradients of a weighted sum of all of them w.r.t. inputs, initial states and weights."""
    x = tf.convert_to_tensor(x)
    start = states(layer)
    with tf.GradientTape() as tape:
        tape.watch([x, *start])
        outputs = layer(x, initial_state=start, **kwargs)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        loss = weighted_sum(outputs)
    gradients = tape.gradient(loss, [x, *start, *[w.value for w in layer.trainable_weights]])
    return outputs, gradients


def assert_same(ours, theirs, **tolerance):
    tolerance = tolerance or {"rtol": 2e-4, "atol": 2e-5}
    assert len(ours) == len(theirs)
    for ours_one, theirs_one in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(ours_one, theirs_one, **tolerance)


# Each layer once without a mask and once with all that a layer can do with one; of the one with most states each mask,
# each way to go at masked steps twice.
WAYS = {("none", False, False), ("right", False, True), ("left", True, False), ("inner", True, True),
        ("empty", False, False)}  # fmt: skip
OF_EACH = {("none", False, False), ("inner", True, True)}


@pytest.mark.parametrize(
    ("mask", "backwards", "zero_output", "name"),
    [
        pytest.param(*case, marks=() if case[:3] in (WAYS if case[3] == "LSTM" else OF_EACH) else FULL)
        for case in itertools.product(MASKS, [False, True], [False, True], NAMES)
    ],
)
def test_outputs_states_and_gradients_are_those_of_keras(name, mask, backwards, zero_output):
    ours, theirs = pair(
        name, return_sequences=True, return_state=True, go_backwards=backwards, zero_output_for_mask=zero_output
    )
    mask = None if MASKS[mask] is None else np.array(MASKS[mask], bool)
    for ours_part, theirs_part in zip(run(ours, inputs(), mask=mask), run(theirs, inputs(), mask=mask), strict=True):
        assert_same(ours_part, theirs_part)


OPTIONS = [  # The first two are of the step, the others of the layer.
    {"use_bias": False, "return_sequences": True},
    {"activation": "relu"},
    {"activation": None, "return_state": True},
    {"unroll": True, "return_sequences": True},
    {"activation": None},
    {},
    {"return_sequences": True},
    {"return_state": True},
]


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        *itertools.product(NAMES, OPTIONS[:2]),
        *(("LSTM", kwargs) for kwargs in OPTIONS[2:4]),
        *(pytest.param(*case, marks=FULL) for case in itertools.product(NAMES, OPTIONS[4:])),
        *(pytest.param(*case, marks=FULL) for case in itertools.product(NAMES[:2], [OPTIONS[3]])),
    ],
    ids=str,
)
def test_constructor_options(name, kwargs):
    ours, theirs = pair(name, **kwargs)
    for ours_part, theirs_part in zip(run(ours, inputs()), run(theirs, inputs()), strict=True):
        assert_same(ours_part, theirs_part)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("GRU", {"reset_after": False}),
        ("GRU", {"reset_after": False, "return_sequences": True, "use_bias": False}),
        ("GRU", {"recurrent_activation": "hard_sigmoid"}),
        ("LSTM", {"recurrent_activation": "hard_sigmoid", "unit_forget_bias": False}),
    ],
)
def test_options_of_gated_layers(name, kwargs):
    ours, theirs = pair(name, **kwargs)
    for ours_part, theirs_part in zip(run(ours, inputs()), run(theirs, inputs()), strict=True):
        assert_same(ours_part, theirs_part)


TRACED = {("SimpleRNN", 7, True), ("GRU", None, False)}


@pytest.mark.parametrize(
    ("name", "time", "jit"),
    [
        pytest.param(*case, marks=() if case in TRACED else FULL)
        for case in itertools.product(NAMES, [1, 2, 7, 12, None], [False, True])
    ],
)
def test_any_length_compiled_and_not(name, time, jit):
    """`time=None`: the traced length is unknown, so the loop cannot be planned for it."""
    ours, theirs = pair(name, return_sequences=True, return_state=True)
    traced = tf.function(
        lambda x: run(ours, x),
        input_signature=[tf.TensorSpec((BATCH, time, FEATURES))],
        jit_compile=jit,
        autograph=False,
    )
    for length in (time,) if time else (2, 5, 11):
        x = inputs(time=length)
        for ours_part, theirs_part in zip(traced(x), run(theirs, x), strict=True):
            assert_same(ours_part, theirs_part)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_gradient_against_finite_differences_in_float64(name):
    """Number by number; the quick tier has the slope along a direction, in tests/conformance."""
    layer = getattr(layers, name)(2, return_sequences=True, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 4, 1))
    mask = np.array([[1, 1, 0, 1], [0, 1, 1, 0]], bool)
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(0, 0.7, w.shape) for w in layer.get_weights()])
    weight = rng.normal(size=(2, 4, 2))

    def loss():
        return tf.reduce_sum(layer(tf.constant(x), mask=mask) * weight)

    with tf.GradientTape() as tape:
        value = loss()
    for variable, gradient in zip(
        layer.trainable_weights, tape.gradient(value, [w.value for w in layer.trainable_weights]), strict=True
    ):
        base, numeric = variable.numpy(), np.zeros(variable.shape)
        for index in np.ndindex(*variable.shape):
            ends = []
            for sign in (1, -1):
                moved = base.copy()
                moved[index] += sign * 1e-6
                variable.assign(moved)
                ends.append(float(loss()))
            numeric[index] = (ends[0] - ends[1]) / 2e-6
        variable.assign(base)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)


DROPOUTS = [{"dropout": 0.4}, {"recurrent_dropout": 0.3}, {"dropout": 0.2, "recurrent_dropout": 0.2}]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *zip(NAMES, DROPOUTS, strict=True),
        *(
            pytest.param(name, options, marks=FULL)
            for (i, name), (j, options) in itertools.product(enumerate(NAMES), enumerate(DROPOUTS))
            if i != j
        ),
    ],
)
def test_dropout_draws_what_keras_draws(name, options):
    """On the engine, and with the same gradients: masks by gate too, which Keras has with recurrent dropout."""
    ours, theirs = pair(name, return_sequences=True, return_state=True, seed=7, **options)
    for training in (True, True, False):
        for found, wanted in zip(
            run(ours, inputs(), training=training), run(theirs, inputs(), training=training), strict=True
        ):
            assert_same(found, wanted)
        assert ours.execution_reason.startswith("scan")
    assert np.abs(ours(inputs(), training=True)[0] - ours(inputs(), training=False)[0]).max() > 1e-3


def test_a_list_of_cells_refuses_dropout_that_would_be_lost():
    x = inputs()
    for options in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}):
        layer = layers.Unroll([cells.UGRNNCell(UNITS), cells.UGRNNCell(UNITS, **options)])
        layer(x)
        with pytest.raises(ValueError, match=f"{next(iter(options))} of .* wants the engine, but loop: "):
            layer(x, training=True)


@pytest.mark.parametrize("name", NAMES)
def test_stateful_windows_are_one_long_pass(name):
    layer, long = getattr(layers, name)(UNITS, stateful=True), getattr(layers, name)(UNITS)
    x = inputs(time=12)
    layer.build((BATCH, 4, FEATURES))
    long.build((BATCH, 12, FEATURES))
    long.set_weights(layer.get_weights())
    for start in range(0, 12, 4):
        last = layer(x[:, start : start + 4])
    assert_same([last], [long(x)])
    layer.reset_state()
    assert_same([layer(x[:, :4])], [long(x[:, :4])])


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_configs_convert_both_ways(name):
    theirs = getattr(keras.layers, name)(UNITS, dropout=0.1, kernel_regularizer="l2", name="a")
    ours = getattr(layers, name).from_config(theirs.get_config())
    assert isinstance(ours, type(theirs))
    assert {**ours.get_config(), "seed": None} == {**theirs.get_config(), "seed": None}
    back = type(theirs).from_config(ours.get_config())
    assert back.get_config() == theirs.get_config()


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backwards", [False, True])
def test_engine_is_the_hand_loop(name, backwards):
    """`Unroll` over our cell against a Python loop over the cell's own step; in tests/conformance with masks too."""
    cell = getattr(cells, f"{name}Cell")(UNITS, bias_initializer="uniform")
    layer = layers.Unroll(cell, return_sequences=True, return_state=True, go_backwards=backwards)
    x = inputs()
    ours, ours_gradients = run(layer, x)
    start = states(layer)
    with tf.GradientTape() as tape:
        outputs, current = [], start
        for t in reversed(range(TIME)) if backwards else range(TIME):
            output, current = cell(x[:, t], current)
            outputs.append(output)
        hand = [tf.stack(outputs, 1), *current]
        loss = weighted_sum(hand)
    assert_same(ours, hand)
    assert_same(ours_gradients[-3:], tape.gradient(loss, [w.value for w in layer.trainable_weights]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, policy):
    half = getattr(layers, name)(UNITS, return_sequences=True, return_state=True, dtype=policy)
    full = getattr(layers, name)(UNITS, return_sequences=True, return_state=True)
    half.build((BATCH, TIME, FEATURES))
    full.build((BATCH, TIME, FEATURES))
    full.set_weights(half.get_weights())
    outputs = half(inputs())
    assert {o.dtype.name for o in outputs} == {policy.removeprefix("mixed_")}
    assert_same([tf.cast(o, tf.float32) for o in outputs], full(inputs()), rtol=0.05, atol=0.03)
    assert {w.dtype for w in half.weights} == {"float32"}


@pytest.mark.parametrize(
    ("name", "by_xla"), [("GRU", False), *(pytest.param(name, True, marks=FULL) for name in NAMES)]
)
def test_bidirectional_fit_save_and_load(name, by_xla, tmp_path):
    layer = keras.layers.Bidirectional(getattr(layers, name)(UNITS, return_sequences=True))
    model = keras.Sequential([keras.Input((None, FEATURES)), keras.layers.Masking(), layer, keras.layers.Dense(2)])
    model.compile("adam", "mse", jit_compile=by_xla, run_eagerly=not by_xla)
    x = inputs()
    model.fit(x, np.zeros((BATCH, TIME, 2)), epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[1].forward_layer) is getattr(layers, name)
    assert loaded.layers[1].forward_layer.supports_jit
    assert_same([loaded(x)], [model(x)])


def test_list_of_cells_and_keras_cells_run_too():
    stack = [cells.LSTMCell(4), keras.layers.GRUCell(3)]
    ours, theirs = layers.Unroll(stack, return_sequences=True), keras.layers.RNN(stack, return_sequences=True)
    assert_same([ours(inputs())], [theirs(inputs())])


def test_what_keras_refuses_is_refused():
    with pytest.raises(ValueError, match="use_cudnn=True"):
        layers.LSTM(3, use_cudnn=True)(inputs())
    with pytest.raises(ValueError, match="positive integer"):
        layers.GRU(0)
    with pytest.raises(ValueError, match="batch size must be static"):
        layers.LSTM(3, stateful=True).build((None, 5, 3))
