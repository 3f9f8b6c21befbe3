"""The language model against NumPy: its equations, its states, its weights, and what a file keeps of it."""

import keras
import numpy as np
import pytest
from reference import gru_step, lstm_step, simple_rnn_step

from rnnapps.models.text_generator import text_generator

SIZE, UNITS, ROWS, STEPS = 9, 6, 3, 7
STATES = {"lstm": ("h", "c"), "gru": ("h",), "simple_rnn": ("h",)}


def build(seed=1, **options):
    """A model whose weights are all far from zero, biases included, so that each of them shows."""
    model = text_generator(SIZE, units=UNITS, seed=seed, **options)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


def random_inputs(model, seed=0, steps=STEPS):
    rng = np.random.default_rng(seed)
    states = {name: rng.normal(0, 0.5, (ROWS, UNITS)) for name in model.input if name != "tokens"}
    states = {name: value.astype("float32") for name, value in states.items()}
    return {"tokens": rng.integers(0, SIZE, (ROWS, steps)).astype("int32"), **states}


def run(model, inputs, training=False):
    return {name: np.array(value) for name, value in model(inputs, training=training).items()}


def expected(model, inputs, cell, layers, embedding, tied):
    """Logits and states, one token and one layer at a time, in float64."""

    def values(variable):
        return variable.numpy().astype("float64")

    table = values(model.get_layer("embedding").embeddings) if embedding else np.eye(SIZE)
    states = {name: value.astype("float64") for name, value in inputs.items() if name != "tokens"}
    logits = []
    for tokens in inputs["tokens"].T:
        x = table[tokens]
        for i in range(layers):
            its_cell = model.get_layer(f"layer_{i}").cell
            weights = [values(w) for w in (its_cell.kernel, its_cell.recurrent_kernel, its_cell.bias)]
            if cell == "lstm":
                x, states[f"layer_{i}_c"] = lstm_step(x, states[f"layer_{i}_h"], states[f"layer_{i}_c"], *weights)
            else:
                x = {"gru": gru_step, "simple_rnn": simple_rnn_step}[cell](x, states[f"layer_{i}_h"], *weights)
            states[f"layer_{i}_h"] = x
        if tied:
            logits.append(x @ table.T)
        else:
            output = model.get_layer("logits")
            logits.append(x @ values(output.kernel) + values(output.bias))
    return {"logits": np.stack(logits, axis=1), **states}


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize(
    ("layers", "embedding", "tied"),
    [(1, 0, False), (2, 4, False), (3, UNITS, True), pytest.param(4, 0, False, marks=pytest.mark.full)],
)
def test_logits_and_states_are_those_of_the_equations(cell, layers, embedding, tied):
    model = build(cell=cell, layers=layers, embedding=embedding, tied=tied)
    inputs = random_inputs(model)
    outputs, wanted = run(model, inputs), expected(model, inputs, cell, layers, embedding, tied)
    assert set(inputs) == {"tokens", *(f"layer_{i}_{s}" for i in range(layers) for s in STATES[cell])}
    assert set(outputs) == {"logits", *inputs} - {"tokens"}
    for name, value in wanted.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_windows_with_carried_states_are_one_long_pass(cell):
    model = build(cell=cell, layers=2)
    inputs = random_inputs(model, steps=11)
    whole = run(model, inputs)
    carried, logits = {name: value for name, value in inputs.items() if name != "tokens"}, []
    for window in np.split(inputs["tokens"], [1, 5, 6], axis=1):  # one token too: the path of generation
        outputs = run(model, {"tokens": window, **carried})
        logits.append(outputs.pop("logits"))
        carried = outputs
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole.pop("logits"), rtol=1e-5, atol=1e-5)
    for name, value in whole.items():
        np.testing.assert_allclose(carried[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_seed_fixes_all_weights_and_no_two_are_drawn_alike():
    options = {"layers": 3, "embedding": UNITS, "cell": "gru"}
    keras.utils.set_random_seed(1)
    first = text_generator(SIZE, units=UNITS, seed=5, **options).get_weights()
    keras.utils.set_random_seed(2)  # nothing outside the model has a say
    again = text_generator(SIZE, units=UNITS, seed=5, **options).get_weights()
    other = text_generator(SIZE, units=UNITS, seed=6, **options).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    drawn = [(a, b) for a, b in zip(first, other, strict=True) if a.any()]
    assert len(drawn) == 1 + 2 * 3 + 1
    assert not any(np.array_equal(a, b) for a, b in drawn)
    alike = [w.shape for w in first if w.any()]
    assert len(alike) > len(set(alike)), "some weights have the same shape"
    flat = [tuple(w.ravel()) for w, _ in drawn]
    assert len(set(flat)) == len(flat)


def test_sizes_of_weights():
    model = text_generator(SIZE, "lstm", units=UNITS, layers=2, embedding=4)
    lstm = [4 * UNITS * (inputs + UNITS + 1) for inputs in (4, UNITS)]
    assert model.count_params() == SIZE * 4 + sum(lstm) + UNITS * SIZE + SIZE
    one_hot = text_generator(SIZE, "lstm", units=UNITS)
    trained = sum(int(np.prod(v.shape)) for v in one_hot.trainable_variables)
    assert trained == 4 * UNITS * (SIZE + UNITS + 1) + UNITS * SIZE + SIZE  # the identity is not learnt
    tied = text_generator(SIZE, "gru", units=UNITS, embedding=UNITS, tied=True)
    assert tied.count_params() == SIZE * UNITS + 3 * UNITS * (UNITS + UNITS + 2)  # one matrix, used twice


def test_tied_weights_learn_from_both_uses():
    model = build(embedding=UNITS, tied=True)
    inputs = random_inputs(model)
    inputs["tokens"][:] = 2  # read only token 2: whatever else changes in the matrix comes from its use as output
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs)["logits"][:, :, 4])
    embeddings = model.get_layer("embedding").embeddings
    gradient = np.array(tf.convert_to_tensor(tape.gradient(loss, embeddings.value)))
    assert np.abs(gradient[2]).max() > 1e-3 and np.abs(gradient[4]).max() > 1e-3
    assert not gradient[[0, 1, 3, 5, 6, 7, 8]].any()


@pytest.mark.parametrize(
    "options",
    [{"cell": "lstm", "dropout": 0.3}, {"cell": "gru", "embedding": UNITS, "tied": True}, {"cell": "simple_rnn"}],
    ids=lambda options: options["cell"],
)
def test_a_keras_file_keeps_the_model(tmp_path, options):
    model = build(layers=2, **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    inputs = random_inputs(model)
    outputs, again = run(model, inputs), run(loaded, inputs)
    assert list(outputs) == list(again) or set(outputs) == set(again)
    for name, value in outputs.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    assert [type(layer).__module__ for layer in loaded.layers] == [type(layer).__module__ for layer in model.layers]


@pytest.mark.parametrize(
    ("cell", "tied"),
    [
        ("lstm", False),
        ("gru", True),
        *(pytest.param(*case, marks=pytest.mark.full) for case in (("lstm", True), ("gru", False))),
    ],
)
def test_mixed_precision_keeps_weights_and_logits_in_float32(cell, tied):
    options = {"cell": cell, "layers": 2, "embedding": UNITS, "tied": tied}
    exact, mixed = build(**options), build(dtype="mixed_bfloat16", **options)
    inputs = random_inputs(exact)
    wanted, got = exact(inputs), mixed(inputs)
    assert got["logits"].dtype == "float32"
    assert {v.dtype for v in mixed.trainable_variables} == {"float32"}
    difference = np.abs(np.array(got["logits"]) - np.array(wanted["logits"])).max()
    assert 0 < difference < 0.1  # computed in 8 bits of mantissa, and still the same model


def test_dropout_acts_between_layers_and_only_in_training():
    model = build(layers=2, embedding=4, dropout=0.5)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.5] * 3
    inputs = random_inputs(model)
    calm, dropped = run(model, inputs), run(model, inputs, training=True)
    np.testing.assert_array_equal(calm["logits"], run(model, inputs)["logits"])
    assert not np.allclose(calm["logits"], dropped["logits"], atol=1e-3)
    assert not np.allclose(dropped["logits"], run(model, inputs, training=True)["logits"], atol=1e-3)
    one_hot = build(layers=1, dropout=0.5)  # a one-hot token is not dropped: it would be the unseen one
    np.testing.assert_array_equal(run(one_hot, inputs_of(one_hot))["layer_0_h"],
                                  run(one_hot, inputs_of(one_hot), training=True)["layer_0_h"])  # fmt: skip


def inputs_of(model):
    return random_inputs(model, seed=3)


def test_weight_scale_is_the_spread_of_every_matrix():
    model = text_generator(60, "gru", units=50, embedding=40, weight_scale=0.03)
    for variable in model.trainable_variables:
        spread = float(variable.numpy().std())
        assert spread == 0 if variable.name == "bias" else spread == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstn"}, "cell is 'lstn': wanted one of lstm, gru, simple_rnn"),
        ({"tied": True, "embedding": 3}, "tied with embedding 3 and units 6: wanted equal sizes"),
        ({"droput": 0.1}, "text_generator got .'droput'.: wanted dtype, seed or weight_scale"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        text_generator(SIZE, units=UNITS, **options)
