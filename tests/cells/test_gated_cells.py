"""What is particular to single cells in three-part form; what holds for all of them stands in tests/conformance."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import reference
import tensorflow as tf
from conformance.cases import MASKS, assert_same, named_weights, weighted_sum

from rnnapps import cells
from rnnapps.layers import Unroll

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
eager_and_traced = pytest.mark.usefixtures("eager_and_traced")

BATCH, TIME, FEATURES, UNITS = 4, 7, 3, 6
FORGETTING = {"CoupledLSTM": 0, "LayerNormLSTM": 1, "PeepholeLSTM": 1, "ProjectedLSTM": 1, "SLSTM": 1, "UGRNN": 0}


def make(name, **kwargs):
    kwargs = {"units": UNITS, **({"projection_units": 4} if name == "ProjectedLSTM" else {}), **kwargs}
    return getattr(cells, f"{name}Cell")(**kwargs)


def filled(cell, scale=0.6):
    """The cell, built, with random weights, none of them zero."""
    cell.build((None, FEATURES))
    rng = np.random.default_rng(1)
    for weight in cell.weights:
        weight.assign(rng.normal(0, scale, weight.shape))
    return cell


def inputs(time=TIME, seed=2):
    return np.random.default_rng(seed).normal(size=(BATCH, time, FEATURES))


def unroll(cell, **kwargs):
    return Unroll(cell, return_sequences=True, return_state=True, dtype=cell.dtype_policy, **kwargs)


def run(cell, x, start, mask, **kwargs):
    """Sequence and states, and the gradients of a weighted sum of them by inputs, initial states and weights."""
    layer = unroll(cell, **kwargs)

    @tf.function(autograph=False)
    def traced(x, start):
        with tf.GradientTape() as tape:
            tape.watch([x, *start])
            outputs = layer(x, initial_state=start, mask=mask)
            loss = weighted_sum(outputs)
        return outputs, tape.gradient(loss, [x, *start, *[weight.value for weight in cell.weights]])

    dtype = cell.compute_dtype
    return traced(tf.cast(x, dtype), [tf.cast(state, dtype) for state in start])


# === Options that the registry does not take ===

OPTIONS = {
    "PeepholeLSTM": {"use_bias": False},
    "ProjectedLSTM": {"use_bias": False},
    "LayerNormLSTM": {"use_bias": False, "epsilon": 0.1},
    "LayerNormGRU": {"use_bias": False, "epsilon": 0.1},
    "IndRNN": {"use_bias": False, "activation": "tanh"},
    "SLSTM": {"forget": "exp", "heads": 3},
}


def with_biases(cell):
    """Weights by name, zeros for the biases that are not there."""
    weights = {name: weight.numpy() for name, weight in named_weights(cell).items()}
    width = cell.gate_count * UNITS
    absent = {"bias": np.zeros(width), "cell_bias": np.zeros(UNITS), "candidate_bias": np.zeros(UNITS)}
    if getattr(cell, "heads", 1) > 1:
        size, narrow = UNITS // cell.heads, weights["recurrent_kernel"]
        weights["recurrent_kernel"] = np.zeros((UNITS, width))
        for head in range(cell.heads):
            rows = slice(head * size, (head + 1) * size)
            for gate in range(4):
                first = gate * UNITS + head * size
                block = narrow[rows, gate * size : (gate + 1) * size]
                weights["recurrent_kernel"][rows, first : first + size] = block
    return {**absent, **weights}


@eager_and_traced
@pytest.mark.parametrize(
    # A projection knows nothing of a bias.
    "name",
    [pytest.param(name, marks=pytest.mark.full) if name == "ProjectedLSTM" else name for name in OPTIONS],
)
def test_options_against_the_equations_and_the_loop(name):
    cell = filled(make(name, dtype="float64", **OPTIONS[name]))
    oracle = {
        "IndRNN": functools.partial(reference.ind_rnn_step, activation=np.tanh),
        "LayerNormGRU": functools.partial(reference.layer_norm_gru_step, epsilon=0.1),
        "LayerNormLSTM": functools.partial(reference.layer_norm_lstm_step, epsilon=0.1),
        "PeepholeLSTM": reference.peephole_lstm_step,
        "ProjectedLSTM": reference.projected_lstm_step,
        "SLSTM": functools.partial(reference.slstm_step, forget="exp"),
    }[name]
    x, mask, rng = inputs(), np.array(MASKS["inner"], bool), np.random.default_rng(3)
    start = [rng.uniform(-1, 1, (BATCH, size)) for size in cell.state_size]
    if name == "SLSTM":
        start[2] += 2  # n is at least 1
    outputs, gradients = run(cell, x, start, mask, execution="scan")
    states, weights = start, with_biases(cell)
    for t in range(TIME):
        new = oracle(x[:, t], states, weights)[1]
        states = [np.where(mask[:, t, None], n, s) for n, s in zip(new, states, strict=True)]
        seen = mask[:, : t + 1].any(axis=1, keepdims=True)
        np.testing.assert_allclose(outputs[0][:, t], np.where(seen, states[0], 0), rtol=1e-9, atol=1e-11)
    assert_same(outputs[1:], states, rtol=1e-9, atol=1e-11)
    assert_same((outputs, gradients), run(cell, x, start, mask, execution="loop"), rtol=1e-9, atol=1e-11)
    copy = type(cell).from_config(cell.get_config())
    copy.build((None, FEATURES))
    copy.set_weights(cell.get_weights())
    assert_same(copy(x[:, 0], start), cell(x[:, 0], start), rtol=0, atol=0)


@pytest.mark.parametrize("name", FORGETTING)
def test_forget_bias_starts_at_one(name):
    for unit, wanted in ((True, 1.0), (False, 0.25)):
        cell = make(name, unit_forget_bias=unit, bias_initializer={"class_name": "Constant", "config": {"value": 0.25}})
        cell.build((None, FEATURES))
        copy = type(cell).from_config(cell.get_config())
        copy.build((None, FEATURES))
        for bias in (cell.bias, copy.bias):
            gates = bias.numpy().reshape(-1, UNITS)
            assert np.all(gates[FORGETTING[name]] == wanted)
            assert np.all(np.delete(gates, FORGETTING[name], axis=0) == 0.25)
    make(name, use_bias=False).build((None, FEATURES))


def test_exponential_forget_gate_starts_at_one_without_a_bias():
    cell = make("SLSTM", forget="exp")
    cell.build((None, FEATURES))
    assert np.all(cell.bias == 0)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "ProjectedLSTM",
            {"projection_units": 0},
            "projection_units of ProjectedLSTMCell must be an int above 0, not 0",
        ),
        ("LayerNormLSTM", {"epsilon": 0}, "epsilon of LayerNormLSTMCell must be above 0, not 0"),
        ("LayerNormGRU", {"epsilon": -1.0}, "epsilon of LayerNormGRUCell must be above 0, not -1.0"),
        ("IndRNN", {"recurrent_dropout": 0.1}, "recurrent_dropout of IndRNNCell must be 0, not 0.1"),
        ("SLSTM", {"heads": 4}, "heads of SLSTMCell must be an int that divides 6 units, not 4"),
        ("SLSTM", {"forget": "tanh"}, "forget of SLSTMCell must be 'sigmoid' or 'exp', not 'tanh'"),
    ],
)
def test_bad_arguments(name, options, words):
    with pytest.raises(ValueError, match=words):
        make(name, **options)


# === Single cells ===


def test_projected_lstm_is_that_of_torch():
    torch = pytest.importorskip("torch")
    cell = filled(make("ProjectedLSTM", dtype="float64"))
    module = torch.nn.LSTM(FEATURES, UNITS, proj_size=4, batch_first=True, dtype=torch.float64)
    weights = {name: torch.tensor(weight.numpy().T) for name, weight in named_weights(cell).items()}
    with torch.no_grad():
        module.weight_ih_l0[:], module.weight_hh_l0[:] = weights["kernel"], weights["recurrent_kernel"]
        module.weight_hr_l0[:] = weights["projection_kernel"]
        module.bias_ih_l0[:], module.bias_hh_l0[:] = 0.25 * weights["bias"], 0.75 * weights["bias"]
        wanted, (h, c) = module(torch.tensor(inputs()))
    assert_same(unroll(cell)(inputs()), [wanted.numpy(), h[0].numpy(), c[0].numpy()], 1e-9, 1e-11)


@pytest.mark.parametrize(
    ("name", "groups"), [("LayerNormLSTM", [slice(24)]), ("LayerNormGRU", [slice(12), slice(12, 18)])]
)
def test_layer_norm_statistics(name, groups):
    """The groups that share a mean and a variance, and what follows: the scale of a matrix does not count."""
    cell = filled(make(name, dtype="float64", epsilon=1e-12))
    normal = (cell.project(inputs()) - cell.bias.value) / cell.input_gain.value
    for group in groups:
        np.testing.assert_allclose(np.mean(normal[..., group], axis=-1), 0, atol=1e-9)
        np.testing.assert_allclose(np.var(normal[..., group], axis=-1), 1, rtol=1e-9)
    start = [tf.constant(np.random.default_rng(3).normal(size=(BATCH, UNITS))) for _ in cell.state_size]
    before = unroll(cell)(inputs(), initial_state=start)
    for kernel, scale in ((cell.kernel, 3), (cell.recurrent_kernel, 0.2)):
        kernel.assign(scale * kernel.value)
    assert_same(unroll(cell)(inputs(), initial_state=start), before, 1e-8, 1e-9)


def test_ind_rnn_gradient_is_a_power_of_each_units_own_weight():
    cell = make("IndRNN", units=3, kernel_initializer="ones", dtype="float64")
    cell.build((None, FEATURES))
    cell.recurrent_weight.assign([0.5, 1.0, 1.1])
    start = tf.constant([[0.3, 0.2, 0.1]], "float64")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(start)
        last = unroll(cell)(np.abs(inputs()[:1]), initial_state=[start])[1]
    np.testing.assert_allclose(
        tape.jacobian(last, start, experimental_use_pfor=False)[0, :, 0], np.diag(np.array([0.5, 1.0, 1.1]) ** TIME)
    )


def test_ind_rnn_weights_start_between_zero_and_one():
    cell = make("IndRNN", units=200)
    cell.build((None, FEATURES))
    start = cell.recurrent_weight.numpy()
    assert 0 <= start.min() < 0.1 and 0.9 < start.max() <= 1


def test_irnn_starts_by_copying_its_state():
    cell = make("IRNN", recurrent_scale=0.5)
    last = unroll(cell)(np.zeros((1, 3, FEATURES)), initial_state=[tf.constant([[8.0, -8.0, 4.0, 0.0, 1.0, 2.0]])])[1]
    np.testing.assert_allclose(last, [[1.0, 0.0, 0.5, 0.0, 0.125, 0.25]])
    assert 0 < np.std(cell.kernel) < 0.003


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_slstm_is_the_form_without_stabiliser(forget):
    cell = filled(make("SLSTM", forget=forget, dtype="float64"))
    sequence, _, *scaled, m = unroll(cell)(inputs())
    h, c, n = (np.zeros((BATCH, UNITS)) for _ in range(3))
    for t, x in enumerate(np.moveaxis(inputs(), 1, 0)):
        i, f, z, o = np.split(
            x @ cell.kernel.numpy() + h @ cell.recurrent_kernel.numpy() + cell.bias.numpy(), 4, axis=1
        )
        keep = reference.sigmoid(f) if forget == "sigmoid" else np.exp(f)
        c, n = keep * c + np.exp(i) * np.tanh(z), keep * n + np.exp(i)
        h = reference.sigmoid(o) * c / n
        np.testing.assert_allclose(sequence[:, t], h, rtol=1e-9)
    assert_same([part * np.exp(m) for part in scaled], [c, n], 1e-9)


@eager_and_traced
@pytest.mark.parametrize(
    ("forget", "execution"),
    [("exp", "scan"), ("sigmoid", "loop"),
     *(pytest.param(*case, marks=pytest.mark.full) for case in (("sigmoid", "scan"), ("exp", "loop")))],
)  # fmt: skip
def test_slstm_does_not_overflow(forget, execution):
    """Gates of up to thousands, the input gate shut at the first step too, where nothing is there to be kept."""
    cell = filled(make("SLSTM", forget=forget))
    x, mask = 1e3 * inputs(), np.array(MASKS["left"], bool)
    for start in ([np.zeros((BATCH, UNITS))] * 4, [np.ones((BATCH, UNITS))] * 4):
        outputs, gradients = run(cell, x, start, mask, execution=execution)
        assert all(np.isfinite(tensor).all() for tensor in [*outputs, *gradients])
        assert np.abs(outputs[0]).max() <= 1 and np.min(outputs[3]) >= 1
    first = unroll(cell)(x[:, :1].astype("float32"))[0][:, 0]
    i, _, z, o = np.split(x[:, 0] @ cell.kernel.numpy() + cell.bias.numpy(), 4, axis=1)
    assert i.min() < -500
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(first, reference.sigmoid(o) * np.tanh(z), rtol=1e-3, atol=1e-6)


def test_slstm_heads_do_not_see_each_other():
    cell = filled(make("SLSTM", heads=3))
    h = tf.random.stateless_normal((1, UNITS), (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(h)
        output, _ = cell(np.ones((1, FEATURES)), [h, *[tf.ones((1, UNITS))] * 3])
    sees = np.abs(tape.jacobian(output, h)[0, :, 0]) > 1e-7
    np.testing.assert_array_equal(sees, np.kron(np.eye(3), np.ones((2, 2))))
