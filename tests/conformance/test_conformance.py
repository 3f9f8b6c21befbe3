"""The contract of a cell, over all of them: every public cell is in the registry, and every entry passes every test."""

from __future__ import annotations

import functools
import inspect
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from conformance.cases import BATCH, MASKS, ROWS, TIME, Case, assert_same, named_weights
from conformance.exporting import export_all
from conformance.registry import ENTRIES, MECHANISMS

from rnnapps import cells
from rnnapps.cells import GatedCell
from rnnapps.layers import Unroll
from rnnapps.ops import time_loop
from rnnapps.serving.scan import check_files, check_operations

ABSTRACT = {"Cell", "GatedCell", "LinearCell", "WrapperCell"}  # bases, which no one builds

every_cell = pytest.mark.parametrize("name", ENTRIES)


def quick_for(names):
    """All cells in the full tier, those of `names` in the quick one."""
    marked = [name if name in names else pytest.param(name, marks=pytest.mark.full) for name in ENTRIES]
    return pytest.mark.parametrize("name", marked)


each_mechanism = quick_for(MECHANISMS.values())
# Programs of the whole loop are dear to make, so that the quick tests of one take turns: a cell with hand-written gates
# (a wrapper hands out those of its cell), one with automatic gates, one that has all steps at once. The convolution is
# traced, in shards and under XLA in tests/layers/test_conv_lstm2d.py, where Keras' own layer is the measure.
SHOWN = {
    "traced": ("LSTMCell", "PeepholeLSTMCell", "MinGRUCell"),  # in shards too, of a number of rows that is not known
    "in shards": ("ZoneoutCell", "MinGRUCell"),
    "under XLA": ("ZoneoutCell", "PeepholeLSTMCell", "MinGRUCell", "MLSTMCell"),
    # With hand-written gates by the XLA case of `test_weight_drop_is_one_mask_for_all_steps_and_rows`.
    "loop under XLA": ("PeepholeLSTMCell", "MinGRUCell"),
    "in a model": ("LSTMCell", "MinGRUCell"),
}
case_of = functools.cache(Case)


@pytest.fixture
def case(name):
    """Shared by the tests of a cell, with what they traced; nobody changes its weights."""
    return case_of(name)


@pytest.fixture(autouse=True)
def one_step_a_turn(monkeypatch):
    """Each step that a turn of the engine's loop holds costs time to trace and compile, and is no cell's business."""
    monkeypatch.setattr(time_loop, "_STEPS_PER_TURN", 1)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Two shards of rows, whatever the machine has."""
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 2)


def is_three_part(case):
    return isinstance(case.cell, GatedCell) and case.cell.is_three_part(training=False)


def test_registry_lists_every_public_cell():
    public = {name for name in cells.__all__ if inspect.isclass(getattr(cells, name))}
    assert set(ENTRIES) == public - ABSTRACT
    for name in ENTRIES:
        assert type(ENTRIES[name].make()).__name__ == name


# === The cell alone ===


@every_cell
def test_config_and_weights_survive_a_round_trip(name, case):
    written = json.dumps(keras.saving.serialize_keras_object(case.cell))
    assert json.loads(written)["registered_name"] == f"rnnapps>{name}"
    for copy in (
        type(case.cell).from_config(case.cell.get_config()),
        keras.saving.deserialize_keras_object(json.loads(written)),
    ):
        assert type(copy) is type(case.cell)
        assert copy.get_config() == case.cell.get_config()
        if not copy.built:  # a serialised cell knows the shape it was built for
            copy.build((BATCH, *case.features))
        assert shapes(copy) == shapes(case.cell)
        assert case.output_shapes(copy) == case.output_shapes()
        # Then a copy with the weights is the same cell.
        copy.set_weights(case.cell.get_weights())
        x, states, _ = case.tensors()
        assert_same(copy(x[:, 0], states), case.cell(x[:, 0], states), rtol=0, atol=0)


def shapes(cell):
    return {name: tuple(weight.shape) for name, weight in named_weights(cell).items()}


@every_cell
def test_every_constructor_argument_is_an_attribute_and_in_the_config(case):
    config = case.cell.get_config()
    for cls in type(case.cell).__mro__[: type(case.cell).__mro__.index(keras.layers.Layer)]:
        for argument in list(inspect.signature(cls.__init__).parameters.values())[1:]:
            if argument.kind in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL) or cls is GatedCell:
                continue
            assert hasattr(case.cell, argument.name), argument
            assert argument.name in config, argument


@every_cell
def test_weights_have_stable_names_that_the_docstring_lists(case):
    later = case.entry.make()
    Unroll(later).build((None, None, *case.features))
    assert shapes(case.make()) == shapes(later) == shapes(case.cell)
    documented = "\n".join(cls.__doc__ or "" for cls in type(case.cell).__mro__)
    for weight, shape in shapes(case.cell).items():
        assert "variable" not in weight
        assert "/" in weight or f"`{weight} (" in documented or f"`{weight}`" in documented, weight
        assert math.prod(shape) > 0
    x, states, _ = case.tensors()
    later(x[:, 0], states)
    assert shapes(later) == shapes(case.cell)  # a call makes no weights


@every_cell
def test_step_is_its_equations(name):
    case = case_of(name, "float64")
    x, states = case.inputs()[:, 0], case.states()
    weights = {key: weight.numpy() for key, weight in named_weights(case.cell).items()}
    assert all(np.all(value != 0) for value in weights.values())
    output, after = case.cell(x, states)
    wanted, wanted_after = case.entry.oracle(x, states, weights)
    assert output.dtype == "float64"
    assert [tuple(part.shape) for part in (output, *after)] == case.output_shapes()
    assert_same([output, after], [wanted, list(wanted_after)], rtol=1e-9, atol=1e-11)


# === The cell over time ===


@quick_for({*MECHANISMS.values(), "ProjectedLSTMCell"})  # whose output is not as wide as its state
def test_shapes_are_known_before_the_data(case):
    x, start, _ = case.tensors()
    sequence, *states = case.unrolled(x, initial_state=start)
    for sequences in (True, False):
        for with_states in (True, False):
            layer = case.unroll(return_sequences=sequences, return_state=with_states)
            found = tf.nest.flatten(layer(x, initial_state=start))
            assert_same(found, [sequence if sequences else sequence[:, -1], *(states if with_states else [])])
            for time in (None, TIME):
                symbolic = tf.nest.flatten(layer(keras.Input((time, *case.features))))
                wanted = [(None, *s.shape[1:]) for s in found]
                if sequences:
                    wanted[0] = (None, time, *sequence.shape[2:])
                assert [tuple(s.shape) for s in symbolic] == wanted
                assert [s.dtype for s in symbolic] == [s.dtype.name for s in found]


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        pytest.param(name, mask, marks=[] if mask == "inner" or name in SHOWN["traced"] else pytest.mark.full)
        for name in ENTRIES
        for mask in MASKS
    ],
)
def test_engine_is_the_hand_loop(case, mask, monkeypatch):
    monkeypatch.setattr(time_loop, "_STEPS_PER_TURN", 3)  # eager operations are not compiled: two turns and a step
    tensors = case.tensors(mask=MASKS[mask])
    assert_same(case.gradients(case.engine, *tensors), case.loop_by_hand(*tensors))


@quick_for(SHOWN["traced"])
@pytest.mark.parametrize("mask", MASKS)
def test_traced_engine_is_the_hand_loop(case, mask):
    tensors = case.tensors(mask=MASKS[mask])
    assert_same(case.traced_engine(*tensors), case.loop_by_hand(*tensors))


@quick_for(SHOWN["traced"])
@pytest.mark.parametrize("rows", [1, 3, ROWS])
def test_any_number_of_rows(case, rows):
    tensors = case.tensors(rows, mask=np.resize(MASKS["inner"], (rows, TIME)))
    assert_same(case.traced_engine(*tensors), case.loop_by_hand(*tensors))
    assert case.traced_engine.experimental_get_tracing_count() == 1


@quick_for(SHOWN["in shards"])
def test_known_sizes_without_a_mask(case):
    tensors = case.tensors(ROWS)
    found = case.traced_engine_without_mask(*tensors)
    assert_same(found, case.loop_by_hand(*tensors))
    if is_three_part(case):
        assert "rows in 2 loops" in case.unrolled.execution_reason
    weights = case.cell.trainable_weights
    for gradient, weight in zip(found["gradients"][-len(weights) :], weights, strict=True):
        assert np.any(gradient != 0), weight.path


@quick_for(SHOWN["under XLA"])
def test_compiled_by_xla_is_the_same(case):
    tensors = case.tensors(mask=MASKS["inner"])
    compiled = case.function(case.engine, BATCH, TIME, jit_compile=True)
    assert_same(compiled(*tensors), case.loop_by_hand(*tensors))


@quick_for(SHOWN["loop under XLA"])
def test_loop_compiled_by_xla_is_the_same(case):
    layer = case.unroll(execution="xla")
    x, start, mask = tensors = case.tensors(mask=MASKS["left"])
    if is_three_part(case):
        run = case.gradients(lambda x, start, mask: list(layer(x, initial_state=start, mask=mask)), *tensors)
        assert_same(run, case.loop_by_hand(*tensors))
        assert layer.execution_reason.startswith("xla: ")
    else:
        with pytest.raises(ValueError, match="execution='xla' of .* is not possible"):
            layer(x)


# Every cell's gradients are held by `test_engine_is_the_hand_loop` to those of the hand loop, which are TensorFlow's.
@quick_for({*MECHANISMS.values(), "RGLRUCell"})  # whose root has a floor
def test_gradient_is_the_slope_in_float64(name):
    """Along random directions of the inputs, of each initial state and of each weight."""
    case = case_of(name, "float64")
    if not case.entry.is_smooth:
        pytest.skip("its gradient is no derivative")
    tensors = case.tensors(2, 4, [[1, 0, 1, 1], [0, 1, 1, 0]])
    for i, gradient in enumerate(case.gradients(case.engine, *tensors)["gradients"]):
        direction = np.random.default_rng(i).normal(size=gradient.shape)
        assert np.sum(gradient * direction) == pytest.approx(case.slope(i, direction, *tensors), rel=1e-5, abs=1e-7), i


@each_mechanism
def test_one_step_is_the_cell(case):
    x, start, mask = case.tensors(time=1)
    for run in (case.engine, case.engine_without_mask):
        assert_same(case.gradients(run, x, start, mask), case.gradients(case.hand_loop, x, start, mask))


@each_mechanism
def test_options_of_the_layer(case):
    x, start, mask = case.tensors(mask=MASKS["inner"])
    sequence, *states = case.engine(x, start, mask)
    backwards, zeroed = case.unroll(go_backwards=True), case.unroll(zero_output_for_mask=True)
    assert_same(backwards(x[:, ::-1], initial_state=start, mask=mask[:, ::-1]), [sequence, *states])
    zeroes = np.expand_dims(mask, tuple(range(2, sequence.ndim)))
    assert_same(zeroed(x, initial_state=start, mask=mask), [sequence * zeroes, *states])


@each_mechanism
def test_stateful_windows_are_one_long_pass(case):
    x = case.tensors(time=6)[0]
    layer = case.unroll(stateful=True, return_state=False)
    layer.build((BATCH, 2, *case.features))
    windows = [layer(x[:, first : first + 2]) for first in (0, 2, 4)]
    whole, *states = case.unrolled(x)
    assert_same([tf.concat(windows, 1), layer.states], [whole, states])
    layer.reset_state()
    assert_same(layer(x[:, :2]), windows[0])
    assert np.abs(windows[1] - layer(x[:, 2:4])).max() < 1e-5 < np.abs(windows[0] - windows[1]).max()


@quick_for(SHOWN["traced"])
def test_one_trace_for_each_bucket_of_lengths(case):
    traces = []

    @tf.function(autograph=False)
    def forward(x):
        traces.append(x.shape[1])
        return case.unrolled(x)

    for time in (4, 6, 4, 6, 6, 4):
        x = case.tensors(time=time)[0]
        found = forward(x)
    assert traces == [4, 6]
    assert_same(found, case.unrolled(x))


@each_mechanism
def test_mixed_precision_keeps_weights_in_float32(name):
    half, full = case_of(name, "mixed_bfloat16"), case_of(name)
    x, start, mask = full.tensors(mask=MASKS["inner"])
    found, wanted = half.engine(x, start, mask), full.engine(x, start, mask)
    assert {f.dtype.name for f in found} == {"bfloat16"}
    assert {weight.dtype for weight in half.cell.weights} == {"float32"}
    assert_same([tf.cast(f, tf.float32) for f in found], wanted, rtol=0.05, atol=0.05)


# === In a model ===


@quick_for(SHOWN["in a model"])
def test_a_model_trains_compiled_and_comes_back_from_its_file(case, tmp_path):
    layer = Unroll(case.make(), return_sequences=True)
    model = keras.Sequential([keras.Input((None, *case.features)), layer])
    model.compile("sgd", "mse", jit_compile=True)
    before = [weight.numpy() for weight in layer.cell.trainable_weights]
    x = case.inputs(time=2).astype("float32")
    history = model.fit(x, np.ones((BATCH, 2, *case.output_shapes()[0][1:])), epochs=1, verbose=0)
    assert model.jit_compile and np.isfinite(history.history["loss"]).all()
    for old, weight in zip(before, layer.cell.trainable_weights, strict=True):
        assert np.any(weight.numpy() != old), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].cell.get_config() == layer.cell.get_config()
    assert_same(loaded(x), model(x), rtol=0, atol=0)


@pytest.fixture(scope="session")
def exported(request, elsewhere, tmp_path_factory):
    names = ENTRIES if request.config.getoption("--full") else MECHANISMS.values()
    return export_all(names, case_of, elsewhere, tmp_path_factory.mktemp("exported"))


@each_mechanism
def test_export_runs_where_rnnapps_cannot_be_imported(exported, name, case):
    path, answers = exported
    check_operations(check_files(path))
    if isinstance(answers[name], Exception):
        raise answers[name]
    assert_same(answers[name], case.engine(*case.tensors(mask=MASKS["left"])))
