"""`ConvLSTM2D` against its Keras namesake; what holds for every cell stands in tests/conformance."""

from __future__ import annotations

import itertools
import json

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conformance.cases import MASKS, assert_same, named_weights, weighted_sum

from rnnapps import exchange
from rnnapps.cells import ConvLSTM2DCell
from rnnapps.layers import ConvLSTM2D, Unroll

FULL = pytest.mark.full
pytestmark = pytest.mark.usefixtures("one_step_a_turn")
FILTERS, WINDOW = 2, (3, 2)
SHAPE = BATCH, TIME, *IMAGE = (4, 7, 6, 5, 3)
# Of the convolution of x.
CONVOLUTIONS = [
    {"padding": "valid"},
    {"padding": "same"},
    {"padding": "same", "strides": (2, 3)},
    {"padding": "valid", "strides": 2},
    {"padding": "valid", "dilation_rate": 2},
    {"padding": "same", "dilation_rate": (1, 2)},
]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Two shards of rows, whatever the machine has."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 2)


def pair(window=WINDOW, shape=SHAPE, **kwargs):
    """Our layer and Keras' with the same weights, none of them zero."""
    both = [cls(FILTERS, window, **kwargs) for cls in (ConvLSTM2D, keras.layers.ConvLSTM2D)]
    rng = np.random.default_rng(1)
    for layer in both:
        layer.build(shape)
    weights = [rng.normal(0, 0.4, w.shape) for w in both[1].get_weights()]
    for layer in both:
        layer.set_weights(weights)
    ours, theirs = ([w.path.split("/", 1)[1] for w in layer.weights] for layer in both)
    assert ours == theirs
    return both


def inputs(shape=SHAPE):
    return np.random.default_rng(2).normal(size=shape).astype("float32")


def run(layer, x, **kwargs):
    """Outputs, and the gradients of a weighted sum of all of them by inputs, initial states and weights."""
    x = tf.convert_to_tensor(x)
    rng = np.random.default_rng(3)
    start = [tf.constant(rng.normal(size=s.shape), s.dtype) for s in layer.get_initial_state(x.shape[0])]
    with tf.GradientTape() as tape:
        tape.watch([x, *start])
        outputs = tf.nest.flatten(layer(x, initial_state=start, **kwargs))
        loss = weighted_sum(outputs)
    return outputs, tape.gradient(loss, [x, *start, *[w.value for w in layer.trainable_weights]])


# === Outputs, states, gradients ===


WAYS = [{}, {"go_backwards": True}, {"zero_output_for_mask": True}]


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        *zip(("none", "inner", "empty"), WAYS, strict=True),
        *(pytest.param("inner", options, marks=FULL) for options in (WAYS[0], WAYS[2])),
        *(pytest.param("none", options, marks=FULL) for options in WAYS[1:]),
        *(pytest.param("empty", options, marks=FULL) for options in WAYS[:2]),
        *(pytest.param(*case, marks=FULL) for case in itertools.product(("left", "right"), WAYS)),
    ],
    ids=str,
)
def test_outputs_states_and_gradients_are_those_of_keras(mask, options):
    ours, theirs = pair(return_sequences=True, return_state=True, **options)
    mask = None if mask == "none" else np.array(MASKS[mask], bool)
    assert_same(run(ours, inputs(), mask=mask), run(theirs, inputs(), mask=mask))
    assert ours.execution_reason.startswith("scan")


OTHERS = [*CONVOLUTIONS[:2], CONVOLUTIONS[5]]


@pytest.mark.parametrize(
    "options", [*CONVOLUTIONS[2:5], *(pytest.param(options, marks=FULL) for options in OTHERS)], ids=str
)
def test_convolutions_of_the_inputs(options):
    ours, theirs = pair(return_sequences=True, return_state=True, **options)
    found = run(ours, inputs())
    assert_same(found, run(theirs, inputs()))
    for layer in (ours, theirs):
        shapes = layer.compute_output_shape(SHAPE)
        assert [tuple(shape) for shape in shapes] == [tuple(part.shape) for part in found[0]]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolutions_against_the_equations(options):
    cell = ConvLSTM2DCell(FILTERS, WINDOW, dtype="float64", **options)
    cell.build((None, *IMAGE))
    rng = np.random.default_rng(1)
    cell.set_weights([rng.normal(0, 0.4, weight.shape) for weight in cell.weights])
    x, start = inputs()[:, :2].astype("float64"), [rng.normal(size=s.shape) for s in cell.get_initial_state(BATCH)]
    weights = {name: weight.numpy() for name, weight in named_weights(cell).items()}
    first, states = reference.conv_lstm2d_step(x[:, 0], start, weights, **options)
    second, states = reference.conv_lstm2d_step(x[:, 1], states, weights, **options)
    layer = Unroll(cell, return_sequences=True, return_state=True, dtype="float64", execution="scan")
    assert_same(layer(x, initial_state=start), [np.stack([first, second], 1), *states], 1e-9, 1e-11)


@pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(flags, marks=FULL) for flags in ({}, {"return_sequences": True}, {"return_state": True})),
        {"use_bias": False, "return_sequences": True},
        pytest.param({"activation": "relu"}, marks=FULL),
        {"activation": None, "recurrent_activation": "hard_sigmoid", "return_state": True},
        pytest.param({"window": 1}, marks=FULL),
        {"window": 4, "padding": "same"},
        {"unroll": True, "return_sequences": True},
    ],
    ids=str,
)
def test_constructor_options(options):
    ours, theirs = pair(**options)
    assert_same(run(ours, inputs()), run(theirs, inputs()))


@pytest.mark.parametrize(
    ("time", "jit"),
    [
        pytest.param(time, jit, marks=() if (time, jit) == (None, False) else FULL)
        for time, jit in itertools.product([1, 2, 7, None], [False, True])
    ],
)
def test_any_length_compiled_and_not(time, jit):
    """`time=None`: the traced length is unknown, so the loop cannot be planned for it."""
    ours, theirs = pair(return_sequences=True, return_state=True)
    signature = [tf.TensorSpec((BATCH, time, *IMAGE))]
    traced = tf.function(lambda x: run(ours, x), input_signature=signature, jit_compile=jit, autograph=False)
    for length in (time,) if time else (2, 5, 11):
        x = inputs((BATCH, length, *IMAGE))
        assert_same(traced(x), run(theirs, x))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    half, _ = pair(return_sequences=True, return_state=True, dtype=policy)
    full, _ = pair(return_sequences=True, return_state=True)
    outputs, gradients = run(half, tf.cast(inputs(), half.compute_dtype))
    assert {o.dtype.name for o in outputs} == {policy.removeprefix("mixed_")}
    assert {w.dtype for w in half.weights} == {"float32"} == {g.dtype.name for g in gradients[3:]}
    wanted, wanted_gradients = run(full, inputs())
    assert_same([tf.cast(o, tf.float32) for o in outputs], wanted, rtol=0.05, atol=0.05)
    for gradient, exact in zip(gradients, wanted_gradients, strict=True):
        assert np.abs(tf.cast(gradient, tf.float32) - exact).max() < 0.05 * np.abs(exact).max()


def test_channels_first_runs_on_the_loop_of_keras():
    """On processors TensorFlow has its convolution in oneDNN alone; where that is off, what arrives is its refusal."""
    shape = (BATCH, TIME, 3, 6, 5)

    def answer(layer):
        try:
            return run(layer, inputs(shape))
        except tf.errors.UnimplementedError as error:
            return next(line for line in error.message.splitlines() if "NHWC" in line)

    ours, theirs = pair(shape=shape, data_format="channels_first", return_sequences=True, return_state=True)
    found, wanted = answer(ours), answer(theirs)
    if isinstance(wanted, str):
        assert found == wanted
    else:
        assert_same(found, wanted)
    assert ours.execution_reason.startswith("loop")
    with pytest.raises(ValueError, match="execution='scan' of .* is not possible"):
        ConvLSTM2D(FILTERS, WINDOW, data_format="channels_first", execution="scan")(inputs(shape))


@pytest.mark.parametrize("execution", ["xla", "loop"])
def test_other_executions(execution):
    ours, theirs = pair(return_sequences=True, return_state=True)
    other = ConvLSTM2D.from_config({**ours.get_config(), "execution": execution})
    other.build(SHAPE)
    other.set_weights(ours.get_weights())
    assert_same(run(other, inputs()), run(theirs, inputs()))
    assert other.execution_reason.startswith(execution)


def test_stateful_windows():
    both = pair(stateful=True, return_sequences=True)
    x = inputs()
    for first in (0, 3):
        assert_same(*(layer(x[:, first : first + 3]) for layer in both))
    assert_same(*(layer.states for layer in both))
    for layer in both:
        layer.reset_state()
    assert_same(*(layer(x) for layer in both))


# === Dropout ===

RATES = [{"dropout": 0.4}, {"recurrent_dropout": 0.3}, {"dropout": 0.2, "recurrent_dropout": 0.2}]


@pytest.mark.parametrize("rates", [*(pytest.param(rates, marks=FULL) for rates in RATES[:2]), RATES[2]], ids=str)
def test_dropout_draws_what_keras_draws(rates):
    """On the engine, a mask for each gate."""
    ours, theirs = pair(return_sequences=True, return_state=True, seed=7, **rates)
    x = inputs()[:, :2]
    for training in (True, True, False):
        assert_same(run(ours, x, training=training), run(theirs, x, training=training))
        assert ours.execution_reason.startswith("scan")
    first, second = (ours(x, training=True)[0] for _ in range(2))
    assert np.abs(first - second).max() > 1e-3 < np.abs(first - ours(x, training=False)[0]).max()


def test_dropout_in_two_shards_draws_what_keras_draws():
    ours, theirs = pair(shape=(20, *SHAPE[1:]), return_sequences=True, seed=7, **RATES[2])
    x = inputs((20, *SHAPE[1:]))[:, :3]
    assert_same(tf.function(lambda x: run(ours, x, training=True), autograph=False)(x), run(theirs, x, training=True))
    assert "rows in 2 loops" in ours.execution_reason


# === Files, configs, models ===


def test_configs_go_both_ways():
    ours, theirs = pair(**RATES[2], padding="same", strides=2, kernel_regularizer="l2", seed=3, name="layer")
    assert ours.get_config() == theirs.get_config()
    assert ConvLSTM2D.from_config(theirs.get_config()).get_config() == theirs.get_config()
    assert keras.layers.ConvLSTM2D.from_config(ours.get_config()).get_config() == ours.get_config()
    assert isinstance(ours, keras.layers.ConvLSTM2D) and type(ours.cell) is ConvLSTM2DCell
    written = json.dumps(keras.saving.serialize_keras_object(ours))
    assert type(keras.saving.deserialize_keras_object(json.loads(written))) is ConvLSTM2D


def test_weights_load_both_ways(tmp_path):
    for i, (source, target) in enumerate(
        [(ConvLSTM2D, keras.layers.ConvLSTM2D), (keras.layers.ConvLSTM2D, ConvLSTM2D)]
    ):
        models = [keras.Sequential([keras.Input(SHAPE[1:]), cls(FILTERS, WINDOW)]) for cls in (source, target)]
        assert np.abs(models[0](inputs()) - models[1](inputs())).max() > 1e-3
        models[0].save_weights(tmp_path / f"{i}.weights.h5")
        models[1].load_weights(tmp_path / f"{i}.weights.h5")
        assert_same(models[1](inputs()), models[0](inputs()))


def test_exchange_with_keras():
    ours, theirs = pair(return_sequences=True, padding="same")
    assert type(exchange.from_keras(theirs)) is ConvLSTM2D
    assert type(exchange.to_keras(ours)) is keras.layers.ConvLSTM2D
    assert_same(exchange.from_keras(theirs)(inputs()), exchange.to_keras(ours)(inputs()))
    model = keras.Sequential([keras.Input(SHAPE[1:]), theirs, keras.layers.Conv3D(1, 2)])
    converted = exchange.convert(model)
    assert type(converted.layers[0]) is ConvLSTM2D
    assert_same(converted(inputs()), model(inputs()))


@pytest.mark.parametrize("by_xla", [False, pytest.param(True, marks=FULL)])
def test_fit_is_the_fit_of_keras(by_xla):
    x, wanted, found = inputs()[:, :2], inputs((BATCH, 2, 4, 4, FILTERS)), []
    for layer in pair(return_sequences=True):
        model = keras.Sequential([keras.Input((None, *IMAGE)), layer])
        model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=by_xla, run_eagerly=not by_xla)
        history = model.fit(x, wanted, batch_size=2, epochs=2, shuffle=False, verbose=0)
        found.append([history.history["loss"], *layer.get_weights()])
    assert_same(*found)
    assert found[0][0][-1] < found[0][0][0]


def test_bidirectional_save_and_load(tmp_path):
    layers = [keras.layers.Bidirectional(layer) for layer in pair(return_sequences=True, padding="same")]
    models = [keras.Sequential([keras.Input(SHAPE[1:]), layer]) for layer in layers]
    models[0].set_weights(models[1].get_weights())
    assert_same(*(model(inputs()) for model in models))
    models[0].save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0].forward_layer) is ConvLSTM2D
    assert_same(loaded(inputs()), models[0](inputs()))


def test_shapes_of_a_model_are_those_of_keras():
    for options in ({}, {"return_sequences": True}, {"return_state": True, "return_sequences": True}):
        for time in (None, TIME):
            found, wanted = (tf.nest.flatten(layer(keras.Input((time, *IMAGE)))) for layer in pair(**options))
            assert [part.shape for part in found] == [part.shape for part in wanted]


# === What is refused ===


def test_bad_arguments():
    with pytest.raises(ValueError, match="rank of ConvLSTM2DCell must be 2, not 1"):
        ConvLSTM2DCell(2, 3, rank=1)
    with pytest.raises(ValueError, match="`strides > 1` is not compatible"):
        ConvLSTM2D(2, 3, strides=2, dilation_rate=2)
    with pytest.raises(ValueError, match="static input shapes for the spatial dimension"):
        ConvLSTM2D(2, 3).build((None, None, None, 5, 3))
