"""Weights from and to torch, against its documented equations in NumPy and, where it is installed, against torch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from combinations import combinations
from reference import sigmoid

from rnnapps import cells, exchange, layers

BATCH, TIME, FEATURES, UNITS, NARROW = 2, 6, 3, 4, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OURS = {"RNN": "SimpleRNN", "GRU": "GRU", "LSTM": "LSTM"}


def torch_step(kind, x, states, w_ih, w_hh, b_ih, b_hh, w_hr=None):
    """One step as the documentation of torch.nn.RNN, GRU and LSTM writes it: x W^T, gates as blocks of rows."""
    h = states[0]
    if kind == "RNN":
        return [np.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)]
    from_x, from_h = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    if kind == "GRU":
        (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(from_x, 3, axis=1), np.split(from_h, 3, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        return [(1 - z) * n + z * h]
    i, f, g, o = np.split(from_x + from_h, 4, axis=1)
    c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return [h if w_hr is None else h @ w_hr.T, c]


def torch_module(kind, state_dict, x, num_layers=1, bidirectional=False):
    """The outputs `(batch, time, features)` of a module of torch with `batch_first=True`."""
    for level in range(num_layers):
        halves = []
        for suffix in [f"_l{level}", f"_l{level}_reverse"][: 1 + bidirectional]:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
            weights = [state_dict.get(name + suffix, 0.0) for name in names[:4]]
            weights += [state_dict[names[4] + suffix]] if names[4] + suffix in state_dict else []
            states = [np.zeros((BATCH, weights[1].shape[1])), np.zeros((BATCH, UNITS))]
            outputs = np.zeros((BATCH, TIME, weights[1].shape[1]))
            for t in reversed(range(TIME)) if suffix.endswith("reverse") else range(TIME):
                states = torch_step(kind, x[:, t], states, *weights)
                outputs[:, t] = states[0]
            halves.append(outputs)
        x = np.concatenate(halves, axis=-1)
    return x


def random_state_dict(kind, num_layers=1, bidirectional=False, bias=True, narrow=None, seed=0):
    rng = np.random.default_rng(seed)
    rows, seen, width = GATES[kind] * UNITS, narrow or UNITS, FEATURES
    shapes = {}
    for level in range(num_layers):
        for suffix in [f"_l{level}", f"_l{level}_reverse"][: 1 + bidirectional]:
            shapes |= {"weight_ih" + suffix: (rows, width), "weight_hh" + suffix: (rows, seen)}
            shapes |= {"bias_ih" + suffix: (rows,), "bias_hh" + suffix: (rows,)} if bias else {}
            shapes |= {"weight_hr" + suffix: (narrow, UNITS)} if narrow else {}
        width = seen * (1 + bidirectional)
    return {name: rng.normal(0, 0.7, shape).astype("float32") for name, shape in shapes.items()}


def make(kind, form="layer", **kwargs):
    """A layer that is not built, in one of the forms that `from_torch` takes."""
    kwargs = {"return_sequences": True, **kwargs}
    if form == "keras":
        return getattr(keras.layers, OURS[kind])(UNITS, **kwargs)
    if form == "cell":
        return layers.Unroll(getattr(cells, f"{OURS[kind]}Cell")(UNITS), **kwargs)
    layer = getattr(layers, OURS[kind])(UNITS, **kwargs)
    return keras.layers.Bidirectional(layer) if form == "bidirectional" else layer


def inputs(seed=3):
    return np.random.default_rng(seed).normal(size=(BATCH, TIME, FEATURES)).astype("float32")


def run(stack, x):
    for layer in stack if isinstance(stack, list) else [stack]:
        x = layer(x)
    return np.asarray(x)


@pytest.mark.parametrize(
    ("kind", "form", "num_layers"),
    combinations(
        lambda kind, form, num_layers: num_layers == 2 and (kind == "LSTM" or form == "bidirectional"),
        GATES,
        ["layer", "cell", "keras", "bidirectional"],
        [1, 2],
    ),
)
def test_outputs_are_those_of_torchs_equations(kind, form, num_layers):
    options = {"num_layers": num_layers, "bidirectional": form == "bidirectional"}
    state_dict = random_state_dict(kind, **options)
    stack = [make(kind, form) for _ in range(num_layers)]
    exchange.from_torch(stack if num_layers > 1 else stack[0], state_dict)
    np.testing.assert_allclose(run(stack, inputs()), torch_module(kind, state_dict, inputs(), **options), atol=2e-6)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_projected_lstm(num_layers):
    state_dict = random_state_dict("LSTM", num_layers, narrow=NARROW)
    stack = [
        layers.Unroll(cells.ProjectedLSTMCell(UNITS, NARROW), return_sequences=True, name=f"p{level}")
        for level in range(num_layers)
    ]
    exchange.from_torch(stack, state_dict)
    np.testing.assert_allclose(run(stack, inputs()), torch_module("LSTM", state_dict, inputs(), num_layers), atol=2e-6)
    again = exchange.to_torch(stack)
    np.testing.assert_allclose(run(stack, inputs()), torch_module("LSTM", again, inputs(), num_layers), atol=2e-6)


def test_cells_stacked_in_one_layer():
    state_dict = random_state_dict("GRU", 3)
    stack = [layers.Unroll([cells.GRUCell(UNITS), cells.GRUCell(UNITS)], return_sequences=True), make("GRU")]
    exchange.from_torch(stack, state_dict)
    np.testing.assert_allclose(run(stack, inputs()), torch_module("GRU", state_dict, inputs(), 3), atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "bidirectional", "bias"),
    combinations(
        lambda kind, bidirectional, bias: kind == "LSTM" or bidirectional == bias, GATES, [False, True], [False, True]
    ),
)
def test_to_torch_gives_the_same_function(kind, bidirectional, bias):
    stack = [make(kind, use_bias=bias, bias_initializer="normal") for _ in range(2)]
    stack = [keras.layers.Bidirectional(layer) for layer in stack] if bidirectional else stack
    expected = run(stack, inputs())
    state_dict = exchange.to_torch(stack)
    assert list(state_dict) == list(random_state_dict(kind, 2, bidirectional, bias))
    for array in state_dict.values():
        assert array.dtype == "float32" and array.flags.c_contiguous
    np.testing.assert_allclose(torch_module(kind, state_dict, inputs(), 2, bidirectional), expected, atol=2e-6)


@pytest.mark.parametrize("kind", GATES)
def test_there_and_back(kind):
    layer = make(kind, bias_initializer="normal")
    layer.build((None, None, FEATURES))
    state_dict, other = exchange.to_torch(layer), make(kind)
    exchange.from_torch(other, state_dict)
    for ours, theirs in zip(other.get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_two_biases_of_torch_are_summed_and_come_back_as_one():
    state_dict = random_state_dict("LSTM")
    layer = make("LSTM")
    exchange.from_torch(layer, state_dict)
    back = exchange.to_torch(layer)
    np.testing.assert_allclose(back["bias_ih_l0"], state_dict["bias_ih_l0"] + state_dict["bias_hh_l0"], rtol=1e-6)
    np.testing.assert_array_equal(back["bias_hh_l0"], 0)
    gru = make("GRU")
    exchange.from_torch(gru, random_state_dict("GRU"))
    for name, array in random_state_dict("GRU").items():
        np.testing.assert_array_equal(exchange.to_torch(gru)[name], array)


def changed(state_dict, **changes):
    new = {**state_dict, **changes}
    return {name: array for name, array in new.items() if array is not None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"weight_hh_l0": None},
            r"^weight_hh_l0 is not in .*weight_ih_l0, bias_ih_l0.* wanted shape \(16, 4\) for 'a'$",
        ),
        ({"weight_hh_l0": np.ones((16, 5))}, r"^weight_hh_l0 has shape \(16, 5\): wanted \(16, 4\) for 'a'$"),
        ({"weight_ih_l0": np.ones((12, 3))}, r"^weight_ih_l0 has shape \(12, 3\): wanted \(16, 3\) for 'a'$"),
        ({"bias_hh_l0": np.ones((16, 1))}, r"^bias_hh_l0 has shape \(16, 1\): wanted \(16,\) for 'a'$"),
        ({"weight_ih_l1": np.ones((16, 4))}, r"^weight_ih_l1 of shape \(16, 4\) has no place: wanted weight_ih_l0, "),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change, words):
    layer = make("LSTM", name="a")
    layer.build((None, None, FEATURES))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=words):
        exchange.from_torch(layer, changed(random_state_dict("LSTM"), **change))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_bad_second_layer_leaves_the_first_alone():
    stack = [make("GRU", name="a"), make("GRU", name="b")]
    run(stack, inputs())
    before = stack[0].get_weights()
    with pytest.raises(ValueError, match="bias_ih_l1 has shape"):
        exchange.from_torch(stack, changed(random_state_dict("GRU", 2), bias_ih_l1=np.ones(3)))
    np.testing.assert_array_equal(stack[0].get_weights()[0], before[0])


@pytest.mark.parametrize(
    ("make_layer", "words"),
    [
        (lambda: make("LSTM", name="a"), "'a' has no weights yet"),
        (lambda: make("GRU", reset_after=False, name="a"), "'a' has reset_after=False: wanted True"),
        (
            lambda: make("LSTM", activation="relu", name="a"),
            "'a' has activation=relu: wanted tanh, as in torch.nn.LSTM",
        ),
        (lambda: make("RNN", activation=None, name="a"), "'a' has activation=linear: wanted tanh or relu"),
        (
            lambda: make("GRU", recurrent_activation="relu", name="a"),
            "'a' has recurrent_activation=relu: wanted sigmoid",
        ),
        (
            lambda: layers.Unroll(cells.CoupledLSTMCell(4), name="a"),
            "'a' has a CoupledLSTMCell: wanted one of GRUCell, ",
        ),
        (lambda: [make("GRU"), make("LSTM", name="a")], "'a' is a torch.nn.LSTM: wanted torch.nn.GRU"),
        (
            lambda: keras.layers.Bidirectional(layers.Unroll([cells.GRUCell(2), cells.GRUCell(2)]), name="a"),
            "'a' is Bidirectional around 2 stacked cells",
        ),
    ],
)
def test_what_torch_does_not_have_is_refused(make_layer, words):
    with pytest.raises(ValueError, match=words):
        exchange.to_torch(make_layer())


def test_biases_have_no_place_in_a_layer_without():
    layer = make("LSTM", use_bias=False)
    with pytest.raises(
        ValueError, match=r"bias_ih_l0 of shape \(16,\) has no place: wanted weight_ih_l0, weight_hh_l0"
    ):
        exchange.from_torch(layer, random_state_dict("LSTM"))
    assert not layer.built


@pytest.mark.parametrize(
    ("kind", "bidirectional", "bias"),
    combinations(
        lambda kind, bidirectional, bias: bidirectional == bias, [*GATES, "projected"], [False, True], [False, True]
    ),
)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_torch_itself_agrees_both_ways(kind, bidirectional, bias):
    torch = pytest.importorskip("torch")
    options = {"bias": bias, "bidirectional": bidirectional, "num_layers": 2, "batch_first": True}
    torch.manual_seed(0)
    if kind == "projected":
        module = torch.nn.LSTM(FEATURES, UNITS, proj_size=NARROW, **options)
        stack = [cells.ProjectedLSTMCell(UNITS, NARROW, use_bias=bias) for _ in range(2)]
        stack = [layers.Unroll(cell, return_sequences=True) for cell in stack]
    else:
        module = getattr(torch.nn, kind)(FEATURES, UNITS, **options)
        stack = [make(kind, use_bias=bias) for _ in range(2)]
    stack = [keras.layers.Bidirectional(layer) for layer in stack] if bidirectional else stack

    def assert_same_outputs():
        with torch.no_grad():
            expected = module(torch.from_numpy(inputs()))[0].numpy()
        np.testing.assert_allclose(run(stack, inputs()), expected, atol=2e-6)

    exchange.from_torch(stack, module.state_dict())
    assert_same_outputs()
    for layer in stack:
        layer.set_weights([w + 0.3 * np.cos(np.arange(w.size)).reshape(w.shape) for w in layer.get_weights()])
    module.load_state_dict({name: torch.from_numpy(array) for name, array in exchange.to_torch(stack).items()})
    assert_same_outputs()


# ---- Keras ----


def assert_same_weights(ours, theirs):
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights] != []
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    ("kind", "wrap"),
    combinations(
        lambda kind, wrap: kind == "LSTM" or wrap == "plain",
        GATES,
        ["plain", "bidirectional", "backward_layer", "time_distributed", "rnn", "stack"],
    ),
)
def test_layers_of_keras_and_back(kind, wrap):
    theirs = keras_layer(kind, wrap)
    x = inputs()[:, None] if wrap == "time_distributed" else inputs()
    expected = theirs(x)
    ours = exchange.from_keras(theirs)
    inner = {
        "plain": lambda layer: [layer],
        "bidirectional": lambda layer: [layer.forward_layer, layer.backward_layer],
        "backward_layer": lambda layer: [layer.forward_layer, layer.backward_layer],
        "time_distributed": lambda layer: [layer.layer],
        "rnn": lambda layer: [layer, layer.cell],
        "stack": lambda layer: [layer, *layer.cell.cells],
    }[wrap]
    assert all(type(layer).__module__.startswith("rnnapps.") for layer in inner(ours))
    assert ours.name == theirs.name
    assert [w.path.split("/")[1:] for w in ours.weights] == [w.path.split("/")[1:] for w in theirs.weights]
    assert_same_weights(ours, theirs)
    np.testing.assert_allclose(ours(x), expected, atol=2e-6)
    back = exchange.to_keras(ours)
    assert [type(layer) for layer in inner(back)] == [type(layer) for layer in inner(theirs)]
    assert_same_weights(back, theirs)
    np.testing.assert_allclose(back(x), expected, atol=2e-6)


def keras_layer(kind, wrap):
    def plain(**kwargs):
        return make(kind, "keras", bias_initializer="normal", dropout=0.2, **kwargs)

    def cell():
        return getattr(keras.layers, f"{OURS[kind]}Cell")(UNITS, bias_initializer="normal")

    if wrap == "bidirectional":
        return keras.layers.Bidirectional(plain(), merge_mode="sum")
    if wrap == "backward_layer":
        return keras.layers.Bidirectional(plain(), backward_layer=plain(go_backwards=True))
    if wrap == "time_distributed":
        return keras.layers.TimeDistributed(plain())
    if wrap == "rnn":
        return keras.layers.RNN(cell(), return_sequences=True)
    return keras.layers.RNN([cell(), cell()]) if wrap == "stack" else plain()


def test_what_keras_does_not_have_is_refused_or_dropped():
    ours = layers.LSTM(UNITS, execution="scan", name="a")
    ours.build((None, None, FEATURES))
    assert type(exchange.to_keras(ours)) is keras.layers.LSTM
    with pytest.raises(ValueError, match="'a' holds a CoupledLSTMCell: wanted only what Keras has too"):
        exchange.to_keras(layers.Unroll(cells.CoupledLSTMCell(4), name="a"))
    with pytest.raises(ValueError, match="'a' is a LSTM: wanted rnnapps's SimpleRNN, rnnapps's GRU"):
        exchange.to_keras(keras.layers.LSTM(4, name="a"))
    with pytest.raises(ValueError, match="'a' is a Dense: wanted keras's SimpleRNN, keras's GRU"):
        exchange.from_keras(keras.layers.Dense(4, name="a"))


def test_a_layer_that_is_not_built_converts_too():
    ours = exchange.from_keras(keras.layers.GRU(UNITS, reset_after=False, name="a", dtype="mixed_bfloat16"))
    assert (ours.built, ours.name, ours.reset_after, ours.compute_dtype) == (False, "a", False, "bfloat16")


class Custom(keras.layers.LSTM):
    """A subclass that nobody registered; it has to stay what it is."""


def functional():
    keras.utils.set_random_seed(0)
    x = keras.Input((TIME, FEATURES), name="x")
    shared = keras.layers.GRU(UNITS, return_sequences=True, name="shared")
    double = keras.layers.Lambda(lambda t: 2 * t)
    inner = keras.Sequential(
        [keras.Input((TIME, UNITS)), double, keras.layers.LSTM(UNITS, return_sequences=True)], name="inner"
    )
    y = inner(keras.layers.LayerNormalization()(shared(x)))
    y = keras.layers.Bidirectional(keras.layers.SimpleRNN(3, return_sequences=True, name="both"))(y + shared(x))
    y = keras.layers.RNN(keras.layers.LSTMCell(2), return_sequences=True)(y)
    y = keras.layers.TimeDistributed(keras.layers.Dense(3))(y)
    y, h, c = Custom(3, return_state=True)(y)
    return keras.Model(x, {"y": y, "h": keras.layers.Dense(2)(h), "c": c}, name="whole")


def sequential():
    return keras.Sequential(
        [
            keras.Input((TIME, FEATURES), batch_size=BATCH),
            keras.layers.Masking(0.5),
            keras.layers.Bidirectional(keras.layers.LSTM(3, stateful=True, return_sequences=True)),
            keras.layers.GRU(2),
        ]
    )


def recurrent(model):
    """All layers over time, and their cells, at any depth."""
    found = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    return [part for layer in found if type(layer) is not Custom for part in (layer, layer.cell)]


@pytest.mark.parametrize("make_model", [functional, sequential])
def test_whole_models(make_model):
    model = make_model()
    before = model.get_config()
    ours = exchange.convert(model)
    assert {type(part).__module__.partition(".")[0] for part in recurrent(ours)} == {"rnnapps"}
    names = [type(part).__name__ for part in recurrent(model)]
    assert names == [type(part).__name__.replace("Unroll", "RNN") for part in recurrent(ours)] and len(set(names)) >= 4
    assert [a.name for a in ours.layers] == [a.name for a in model.layers] and ours.name == model.name
    assert_same_weights(ours, model)
    for _ in range(2):  # the second call goes on from the states of the first, where they are kept
        expected, got = model(inputs()), ours(inputs())
        assert keras.tree.map_structure(lambda t: t.shape, got) == keras.tree.map_structure(lambda t: t.shape, expected)
        keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), got, expected)
    assert model.get_config() == before and not {id(w) for w in model.weights} & {id(w) for w in ours.weights}


def test_a_layer_that_is_shared_stays_shared():
    ours = exchange.convert(functional())
    assert len(ours.get_layer("shared")._inbound_nodes) == 2


def test_a_compiled_model_stays_compiled_and_its_copy_is_not():
    def own_loss(targets, outputs):
        return keras.ops.mean((targets - outputs) ** 2, axis=-1)

    model = keras.Sequential([keras.Input((TIME, FEATURES)), keras.layers.SimpleRNN(2)])
    model.compile("adam", own_loss)
    ours = exchange.convert(model)
    assert model.compiled and not ours.compiled
    assert model.loss is own_loss


def test_models_that_know_no_input_yet():
    model = keras.Sequential([keras.layers.LSTM(3), keras.layers.Dense(2)])
    assert not exchange.convert(model).built
    expected = model(inputs())
    np.testing.assert_allclose(exchange.convert(model)(inputs()), expected, atol=2e-6)


def test_a_model_of_another_kind_is_refused():
    class Own(keras.Model):
        pass

    with pytest.raises(ValueError, match="Sequential"):
        exchange.convert(Own())
