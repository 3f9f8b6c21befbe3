"""`rnnapps.inspect`: gradients step by step, against Keras' own layers run over a part of the sequence."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import cells, layers
from rnnapps.inspect import gradient_flow

BATCH, TIME, FEATURES, UNITS = 3, 4, 2, 4
MASK = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [1] * 4], bool)
MAKERS = {
    "SimpleRNN": lambda **kw: layers.SimpleRNN(UNITS, **kw),
    "GRU": lambda **kw: layers.GRU(UNITS, **kw),
    "LSTM": lambda **kw: layers.LSTM(UNITS, **kw),
    "coupled": lambda **kw: layers.Unroll(cells.CoupledLSTMCell(UNITS), **kw),
    "minGRU": lambda **kw: layers.Unroll(cells.MinGRUCell(UNITS), **kw),
    "keras cell": lambda **kw: layers.Unroll(keras.layers.GRUCell(UNITS, reset_after=False), **kw),
    "no recurrent kernel": lambda **kw: layers.Unroll(DecayCell(), **kw),
    "stack": lambda **kw: layers.Unroll([cells.GRUCell(UNITS), cells.LSTMCell(3)], **kw),
}


@keras.saving.register_keras_serializable()
class DecayCell(keras.layers.Layer):
    """h_t = 0.5 h_{t-1} + x_t W, and an output that is not the state."""

    state_size = output_size = UNITS

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], UNITS), name="kernel")

    def call(self, inputs, states):
        h = 0.5 * states[0] + keras.ops.matmul(inputs, self.kernel)
        return keras.ops.sin(h), [h]


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(BATCH, TIME, FEATURES)).astype("float32")


def random_weights(layer, seed=1):
    layer.build((BATCH, TIME, FEATURES))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0, 0.5, w.shape).astype("float32") for w in layer.get_weights()])
    return layer


def weighted(targets, outputs):
    """A loss in which every output has a weight of its own."""
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return tf.add_n([tf.reduce_sum(tf.reshape(y, (-1,)) * tf.sin(1.0 + tf.range(float(tf.size(y))))) for y in outputs])


def whole_gradient(model, weight, loss=weighted):
    with tf.GradientTape() as tape:
        value = loss(None, model(inputs()))
    return value, tape.gradient(value, weight.value)


MASKED = {"return_sequences": True, "mask": True}


@pytest.mark.parametrize(
    ("maker", "options", "every"),
    [
        # All weights, or of a cell's three the first: mask and options of the layer have one meaning for all of them.
        ("LSTM", {}, 1),
        *((maker, {}, 3) for maker in ("minGRU", "keras cell")),
        *(pytest.param(maker, {}, 1, marks=pytest.mark.full) for maker in MAKERS if maker != "LSTM"),
        pytest.param("GRU", {"return_sequences": True}, 3, marks=pytest.mark.full),
        ("stack", {"return_sequences": True, "return_state": True, "go_backwards": True}, 3),
        pytest.param("LSTM", MASKED, 3, marks=pytest.mark.full),
        ("LSTM", {**MASKED, "go_backwards": True}, 3),
        ("SimpleRNN", {**MASKED, "zero_output_for_mask": True}, 3),
        pytest.param("stack", MASKED, 3, marks=pytest.mark.full),
        ("no recurrent kernel", {**MASKED, "zero_output_for_mask": True, "go_backwards": True}, 1),
    ],
)
def test_terms_add_up_to_the_gradient(maker, options, every):
    options = dict(options)
    mask = MASK if options.pop("mask", False) else None
    layer = random_weights(MAKERS[maker](**options))
    x = keras.Input((TIME, FEATURES))
    model = keras.Model(x, layer(x, mask=None if mask is None else tf.constant(mask)))
    for weight in layer.cell.weights[::every]:
        name = weight.path.removeprefix(layer.name)
        flow = gradient_flow(model, inputs(), loss=weighted, weight=name)
        loss, gradient = whole_gradient(model, weight)
        assert flow.weight == weight.path and flow.terms.shape == (TIME, *weight.shape)
        np.testing.assert_allclose(flow.loss, loss, rtol=1e-5)
        np.testing.assert_allclose(flow.terms.sum(axis=0), gradient, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(flow.term_norms, [np.linalg.norm(term.ravel()) for term in flow.terms])
        np.testing.assert_allclose(flow.gradient_norm, np.linalg.norm(gradient), rtol=2e-4)


@pytest.mark.parametrize(
    ("name", "sequences"),
    [
        ("SimpleRNN", False),
        ("LSTM", True),
        *(pytest.param("GRU", sequences, marks=pytest.mark.full) for sequences in (False, True)),
        *(pytest.param(*case, marks=pytest.mark.full) for case in (("SimpleRNN", True), ("LSTM", False))),
    ],
)
def test_gradients_of_states_are_those_of_a_layer_that_starts_there(name, sequences):
    """dL/ds_t by Keras' layer: the first t steps are one call of it, the rest another that starts from their states."""
    layer = random_weights(MAKERS[name](return_sequences=sequences))
    theirs = getattr(keras.layers, name)(UNITS, return_sequences=True, return_state=True)
    theirs.build((BATCH, TIME, FEATURES))
    theirs.set_weights(layer.get_weights())
    flow = gradient_flow(layer, inputs(), loss=weighted)
    assert flow.layer == layer.name and flow.d_states.shape == (len(layer.state_size), TIME)
    for t in range(TIME):
        before, *states = theirs(inputs()[:, : t + 1])
        with tf.GradientTape() as tape:
            tape.watch(states)
            h = states[0]
            # h_t is an output itself. It is computed from c_t, with the gate o_t = h_t / tanh(c_t).
            if name == "LSTM":
                h = tf.stop_gradient(states[0] / tf.tanh(states[1])) * tf.tanh(states[1])
                h = states[0] + h - tf.stop_gradient(h)
            after = theirs(inputs()[:, t + 1 :], initial_state=[h, *states[1:]])[0] if t < TIME - 1 else before[:, :0]
            outputs = tf.concat([before[:, :-1], h[:, None], after], axis=1)
            loss = weighted(None, outputs if sequences else outputs[:, -1])
        for i, gradient in enumerate(tape.gradient(loss, states, unconnected_gradients="zero")):
            np.testing.assert_allclose(flow.d_states[i, t], np.linalg.norm(gradient), rtol=1e-4)
    np.testing.assert_array_equal(flow.d_hidden, flow.d_states[0])


@pytest.mark.parametrize(
    "name", ["LSTM", *(pytest.param(name, marks=pytest.mark.full) for name in ("SimpleRNN", "GRU"))]
)
def test_jacobians_are_those_of_a_layer_that_starts_there(name):
    layer = random_weights(MAKERS[name]())
    theirs = getattr(keras.layers, name)(UNITS, return_state=True)
    theirs.build((BATCH, TIME, FEATURES))
    theirs.set_weights(layer.get_weights())
    flow = gradient_flow(layer, inputs(), loss=weighted)
    assert flow.jacobians.shape == (TIME,) and flow.jacobians[0] == 1
    for lag in range(1, TIME):
        _, *states = theirs(inputs()[:, : TIME - lag])
        with tf.GradientTape() as tape:
            tape.watch(states)
            final = theirs(inputs()[:, TIME - lag :], initial_state=states)[0]
        jacobian = tape.batch_jacobian(final, states[0])
        norms = [np.linalg.svd(rows, compute_uv=False).max() for rows in jacobian.numpy()]
        np.testing.assert_allclose(flow.jacobians[lag], np.mean(norms), rtol=1e-4)


def linear_rnn(radius, units=16, steps=40):
    """A linear network whose recurrent matrix is an orthogonal one, scaled: all its eigenvalues have one size."""
    layer = layers.SimpleRNN(units, activation=None)
    layer.build((None, steps, 3))
    orthogonal = np.linalg.qr(np.random.default_rng(0).normal(size=(units, units)))[0]
    layer.cell.recurrent_kernel.assign(radius * orthogonal)
    return layer, np.random.default_rng(1).normal(size=(2, steps, 3)).astype("float32")


@pytest.mark.parametrize("radius", [0.9, 1.1])
def test_a_linear_network_decays_or_grows_by_the_spectral_radius(radius):
    layer, x = linear_rnn(radius)
    flow = gradient_flow(layer, x, loss=weighted)
    expected = radius ** np.arange(40)
    np.testing.assert_allclose(flow.jacobians, expected, rtol=0.05)
    np.testing.assert_allclose(flow.d_hidden[::-1] / flow.d_hidden[-1], expected, rtol=0.05)


def test_the_spectral_norm_is_not_another_norm():
    """Singular values 2, 1 and 1: the Frobenius norm would be the root of 6."""
    layer = layers.SimpleRNN(3, activation=None)
    layer.build((None, 2, 1))
    layer.cell.recurrent_kernel.assign(np.diag([1.0, 2.0, 1.0]))
    flow = gradient_flow(layer, np.ones((1, 2, 1), "float32"), loss=weighted)
    np.testing.assert_allclose(flow.jacobians, [1, 2])


def test_a_masked_step_hands_the_gradient_on():
    layer, x = linear_rnn(0.5, steps=6)
    mask = np.array([[1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]], bool)
    whole = keras.Input((6, 3))
    model = keras.Model(whole, layer(whole, mask=tf.constant(mask)))
    first = gradient_flow(model, x, loss=lambda _, h: tf.reduce_sum(h[0]))
    np.testing.assert_allclose(first.d_hidden / first.d_hidden[-1], [0.125, 0.25, 0.25, 0.25, 0.5, 1], rtol=1e-5)
    second = gradient_flow(model, x, loss=lambda _, h: tf.reduce_sum(h[1]))
    np.testing.assert_allclose(second.d_hidden / second.d_hidden[-1], 0.5 ** np.arange(5, -1, -1), rtol=1e-5)
    np.testing.assert_allclose(first.jacobians, np.mean([[1, 0.5, 0.25, 0.25, 0.25, 0.125], 0.5 ** np.arange(6)], 0))


def compiled_model(**options):
    x = keras.Input((TIME, FEATURES), batch_size=BATCH)
    y = layers.GRU(UNITS, return_sequences=True, name="first", dropout=0.5, kernel_regularizer="l2", **options)(x)
    y = keras.layers.Bidirectional(layers.LSTM(3, name="second"))(keras.layers.Dropout(0.5)(y))
    model = keras.Model(x, keras.layers.Dense(1)(y))
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def test_a_compiled_model_has_its_own_loss():
    model, targets = compiled_model(), np.ones((BATCH, 1), "float32")
    (first, second) = (gradient_flow(model, (inputs(), targets), layer) for layer in ("first", "forward_second"))
    assert (first.layer, second.layer) == ("first", "forward_second")
    np.testing.assert_allclose(first.loss, model.evaluate(inputs(), targets, verbose=0, batch_size=BATCH), rtol=1e-5)
    np.testing.assert_allclose(first.loss, second.loss, rtol=1e-6)
    weighing = gradient_flow(model, (inputs(), targets, np.array([1.0, 0, 0])), model.get_layer("first"))
    assert not np.isclose(first.loss, weighing.loss)
    backward = gradient_flow(model, (inputs(), targets), "backward_second")
    # What the halves hand to their first step: the backward half begins at the end.
    assert backward.d_hidden[-1] != second.d_hidden[-1] and backward.terms.shape == (TIME, 3, 12)


def test_nothing_changes_in_the_model():
    model = compiled_model(stateful=True)
    batch = inputs(), np.ones((BATCH, 1), "float32")
    model(inputs())
    before = [v.numpy() for v in model.variables]
    flows = [gradient_flow(model, batch, "first") for _ in range(2)]
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    np.testing.assert_array_equal(flows[0].terms, flows[1].terms)
    assert "inner_loop" not in vars(model.get_layer("first"))
    model.fit(*batch, batch_size=BATCH, verbose=0)


def test_a_model_that_is_not_built_is_built():
    model = keras.Sequential([layers.LSTM(3)])
    flow = gradient_flow(model, inputs(), loss=weighted)
    assert model.built and flow.terms.shape == (TIME, 3, 12)


def test_half_precision():
    layer = random_weights(layers.GRU(UNITS, dtype="mixed_bfloat16"))
    full = layers.GRU(UNITS)
    full.build((BATCH, TIME, FEATURES))
    full.set_weights(layer.get_weights())

    def loss(targets, outputs):
        return weighted(targets, tf.cast(outputs, tf.float32))

    half, whole = (gradient_flow(layer, inputs(), loss=loss) for layer in (layer, full))
    np.testing.assert_allclose(half.d_hidden, whole.d_hidden, rtol=0.1)
    np.testing.assert_allclose(half.jacobians, whole.jacobians, rtol=0.1)


def test_the_result_is_frozen():
    flow = gradient_flow(random_weights(layers.GRU(2)), inputs(), loss=weighted)
    with pytest.raises(dataclasses.FrozenInstanceError):
        flow.loss = 0.0


def test_what_cannot_be_done_is_one_sentence():
    model = compiled_model()
    batch = inputs(), np.ones((BATCH, 1), "float32")
    names = "first, backward_second, forward_second$"
    with pytest.raises(ValueError, match=f"layer=None is no single recurrent layer .*: wanted one of {names}"):
        gradient_flow(model, batch)
    with pytest.raises(ValueError, match=f"layer='dense' is no single recurrent layer .*: wanted one of {names}"):
        gradient_flow(model, batch, "dense")
    with pytest.raises(ValueError, match="wanted one of none$"):
        gradient_flow(keras.Sequential([keras.layers.LSTM(2)]), inputs(), loss=weighted)
    with pytest.raises(ValueError, match="weight='ernel' is no single weight of 'first': wanted one of first/"):
        gradient_flow(model, batch, "first", weight="ernel")
    with pytest.raises(ValueError, match="has no loss: wanted a model that is compiled, or the argument loss$"):
        gradient_flow(layers.LSTM(2), inputs())
    x = keras.Input((TIME, FEATURES))
    shared = layers.LSTM(FEATURES, return_sequences=True, name="shared")
    with pytest.raises(ValueError, match="'shared' runs 2 times in .*: wanted once"):
        gradient_flow(keras.Model(x, shared(shared(x))), inputs(), loss=weighted)
    assert "inner_loop" not in vars(shared)
