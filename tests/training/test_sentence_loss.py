"""The loss of sentences against NumPy: padding, label smoothing, rows in shards, scheduled sampling."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from combinations import combinations

from rnnapps.models.translator import translator
from rnnapps.training.sentence_loss import loss, mean_nats, training_loss

SIZE = 7


class Network:
    """Logits that depend on what the decoder reads, and a record of that."""

    def __init__(self, tied=False):
        rng = np.random.default_rng(0)
        self.table, bias = rng.normal(0, 1, (SIZE, SIZE)).astype("float32"), rng.normal(0, 1, SIZE).astype("float32")
        made_by = {"kernel": tf.constant(self.table), "bias": tf.constant(bias)}
        if tied:
            made_by, bias = {"embeddings": tf.constant(self.table.T)}, 0
        self.layers = [SimpleNamespace(name="target_embedding" if tied else "logits", **made_by)]
        self.table += bias
        self.read = []

    def get_layer(self, name):
        (found,) = [layer for layer in self.layers if layer.name == name]
        return found

    def __call__(self, inputs, training=False):
        self.read.append(inputs["target"])
        return {"features": tf.one_hot(inputs["target"], SIZE), "logits": tf.gather(self.table, inputs["target"])}


def given(rows=3, time=5, seed=1):
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, SIZE, (rows, time)).astype("int32")
    weights = (np.arange(time) < rng.integers(1, time + 1, (rows, 1))).astype("float32")
    reads = np.pad(targets[:, :-1], [(0, 0), (1, 0)])
    return {"target": tf.constant(reads)}, tf.constant(targets * weights.astype("int32")), tf.constant(weights)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def is_quick(*values):
    """Each on its own path; of those that XLA compiles one."""
    return not values[-1] or values == (0.3, 37, False, True)


@pytest.mark.parametrize(
    ("smoothing", "rows", "tied", "by_xla"),
    combinations(is_quick, [0.0, 0.3], [3, 37], [False, True], [False, True]),
)
def test_is_the_mean_over_what_is_there(smoothing, rows, tied, by_xla):
    network, (inputs, targets, weights) = Network(tied), given(rows)
    log_p = log_softmax(network.table[inputs["target"].numpy()])
    right = -np.take_along_axis(log_p, targets.numpy()[..., None], -1)[..., 0]
    costs = (1 - smoothing) * right - smoothing * log_p.mean(-1)
    wanted = (costs * weights.numpy()).sum() / weights.numpy().sum()

    @tf.function(autograph=False, jit_compile=by_xla)  # a graph cuts the rows in shards
    def run():
        return loss(network, inputs, targets, weights, True, smoothing)

    assert float(run()) == pytest.approx(wanted, rel=1e-5)
    assert float(loss(network, inputs, targets, 0 * weights)) == 0


@pytest.mark.parametrize("rows", [3, 37])
def test_even_attention_asks_to_look_everywhere_once(rows):
    network, (inputs, targets, weights) = Network(), given(rows)
    looks = np.random.default_rng(2).dirichlet(np.ones(4), (rows, 5)).astype("float32")

    def looking(some, training):
        chosen = tf.gather(looks, some["row"])
        return {**network(some, training), "alignment": chosen}

    looking.layers = network.layers
    inputs = {**inputs, "row": tf.range(rows)}
    looked = (looks * weights.numpy()[..., None]).sum(1)
    wanted = 0.3 * ((1 - looked) ** 2).sum() / weights.numpy().sum()
    run = tf.function(lambda even: loss(looking, inputs, targets, weights, True, 0.0, even), autograph=False)
    assert float(run(0.3)) - float(run(0.0)) == pytest.approx(wanted, rel=1e-4)


def test_mean_over_batches_counts_every_token_alike():
    network, batches = Network(), [given(3, 5, 1), given(2, 9, 2)]
    one = [float(loss(network, *batch)) for batch in batches]
    tokens = [float(tf.reduce_sum(batch[2])) for batch in batches]
    assert mean_nats(network)(batches) == pytest.approx(np.dot(one, tokens) / sum(tokens), rel=1e-5)


def test_scheduled_sampling_reads_guesses_in_the_place_of_tokens():
    network, batch = Network(), given(40, 9)
    guesses = np.pad(network.table[batch[0]["target"].numpy()].argmax(-1)[:, :-1], [(0, 0), (1, 0)])

    def read(updates, share=0.5, seed=0):
        network.read.clear()
        training_loss(0.0, share, lambda: keras.Variable(updates, dtype="int64"), seed)(network, *batch, True)
        return network.read[-1].numpy()

    given_tokens = batch[0]["target"].numpy()
    np.testing.assert_array_equal(read(0), given_tokens)  # it grows from nothing
    mixed = read(5_000)
    assert np.all((mixed == given_tokens) | (mixed == guesses))
    differ = given_tokens != guesses
    assert 0.4 < np.mean(mixed[differ] == guesses[differ]) < 0.6
    half_way = read(2_500)
    assert 0.15 < np.mean(half_way[differ] == guesses[differ]) < 0.35
    np.testing.assert_array_equal(read(9_000, share=1.0), guesses)
    assert not np.array_equal(read(5_000, seed=1), mixed)


def one_layer():
    """Without encoder and attention."""
    tokens = keras.Input((None,), dtype="int32", name="target")
    x = keras.layers.Embedding(SIZE + 1, 4)(tokens)
    features = keras.layers.SimpleRNN(4, return_sequences=True)(x)
    logits = keras.layers.Dense(SIZE + 1, name="logits")(features)
    return keras.Model({"target": tokens}, {"features": features, "logits": logits})


@pytest.mark.usefixtures("one_step_a_turn")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(one_layer, id="one layer"),
        pytest.param(
            lambda: translator(SIZE + 1, units=4, embedding=4, cell="lstm"), marks=pytest.mark.full, id="translator"
        ),
    ],
)
def test_fewer_rows_than_cores_train_as_well(make):
    """The last batch of an epoch: a core's share of it can be nothing."""
    network = make()
    unknown = tf.TensorSpec((None, None), tf.int32)
    signature = [dict.fromkeys(network.input, unknown), unknown, tf.TensorSpec((None, None), tf.float32)]

    @tf.function(input_signature=signature, autograph=False)
    def run(inputs, targets, weights):
        with tf.GradientTape() as tape:
            cost = loss(network, inputs, targets, weights, True)
        return cost, tape.gradient(cost, network.trainable_variables)

    for rows in (1, 2, 5):
        inputs, targets, weights = given(rows)
        if "source" in network.input:
            inputs = {**inputs, "source": targets + 1}
        found, gradients = run(inputs, targets, weights)
        with tf.GradientTape() as tape:
            wanted = loss(network, inputs, targets, weights, True)
        expected = tape.gradient(wanted, network.trainable_variables)
        assert float(found) == pytest.approx(float(wanted), rel=1e-5)
        for one, other in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-5)
