"""Training and beam search of a translator beside other ways: what `bench.py translation` times."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from contenders import Contender, Result, interleave

from rnnapps.errors import RunError

_AGREE = 1e-3  # losses of the same weights may differ by rounding, not by more
_RATE = 1e-4
OURS, KERAS, PYTHON = "rnnapps", "keras.layers", "step by step from Python"


def translation(
    options: argparse.Namespace, table: Callable[[Sequence[Result], str, str], tuple[str, float | None]]
) -> dict[str, Any]:
    """Times training steps, ours and Keras' without input feeding, and beam searches; prints tables.

    Args:
        options: Of the command line.
        table: From results to a table and a ratio.
    """
    from rnnapps import runtime

    if options.threads:
        runtime.configure(options.threads)
    pairs = _pairs(options)
    figures: dict[str, Any] = {}
    work = float(pairs[2].sum())
    contenders = [_training(options, pairs, OURS, True), *_without_feeding(options, pairs)]
    results = interleave([Contender(name, run, run, work) for name, run in contenders], options.rounds)
    # The first has one part more than the others, which are the same network.
    text, _ = table(results, "tokens/s", results[1].name)
    _, ratio = table(results[1:], "tokens/s", results[1].name)
    print(f"training, {options.batch} pairs of {options.steps} tokens, vocabulary {options.vocabulary}\n{text}")
    figures["training"] = {"rates": {one.name: one.rate for one in results}, "ratio_without_feeding": ratio}
    searches = [Contender(name, run, run, options.sentences) for name, run in _searches(options)]
    found = interleave(searches, options.rounds)
    text, ratio = table(found, "sentences/s", OURS)
    print(f"\nbeam {options.beam}, {options.sentences} sentences of {options.steps} tokens\n{text}")
    figures["search"] = {"rates": {one.name: one.rate for one in found}, "ratio": ratio}
    return figures


def _pairs(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    source, target = (
        rng.integers(3, options.vocabulary, (options.batch, options.steps)).astype("int32") for _ in range(2)
    )
    read = np.pad(target[:, :-1], [(0, 0), (1, 0)])
    return {"source": source, "target": read}, target, np.ones(target.shape, "float32")


def _network(options: argparse.Namespace, feeding: bool) -> Any:
    from rnnapps.models.translator import translator

    return translator(
        options.vocabulary,
        units=options.units,
        embedding=options.units,
        input_feeding=feeding,
        tied=False,
        bridge="last",
    )


def _plain_loss(network: Any, inputs: Any, targets: Any, weights: Any, training: bool) -> Any:
    """As a network of Keras' layers is trained: the cost of its logits."""
    import tensorflow as tf

    logits = network(inputs, training=training)["logits"]
    costs = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return tf.reduce_sum(costs * weights) / tf.reduce_sum(weights)


def _step(network: Any, pairs: tuple[Any, Any, Any], loss: Callable[..., Any], updates: Any) -> Callable[[], Any]:
    """One update, with the gradient's norm cut at 1."""
    import tensorflow as tf

    updates.build(network.trainable_variables)

    @tf.function(autograph=False)
    def run(inputs: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            cost = loss(network, inputs, targets, weights, True)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(cost, network.trainable_variables), 1.0)
        updates.apply(gradients, network.trainable_variables)
        return cost

    tensors = tf.nest.map_structure(tf.constant, pairs)
    return lambda: float(run(*tensors))


def _training(options: argparse.Namespace, pairs: Any, name: str, feeding: bool) -> tuple[str, Callable[[], Any]]:
    from rnnapps.training.optimizers import optimizer
    from rnnapps.training.sentence_loss import loss

    step = _step(_network(options, feeding), pairs, loss, optimizer("adam", _RATE))
    return f"{name}, input feeding" if feeding else name, step


def _without_feeding(options: argparse.Namespace, pairs: Any) -> list[tuple[str, Callable[[], Any]]]:
    import keras

    from rnnapps.training.optimizers import optimizer
    from rnnapps.training.sentence_loss import loss

    ours, theirs = _network(options, False), _keras_network(options)
    _copy(ours, theirs)
    logits, others = (np.array(network(pairs[0])["logits"]) for network in (ours, theirs))
    difference = float(np.abs(logits - others).max())
    print(f"logits of the same weights differ by {difference:.1e}, of {np.abs(logits).max():.2f} at most")
    if not difference <= _AGREE:
        raise RunError(f"logits of the same weights differ by {difference:.1e}: wanted {_AGREE} at most")
    steps = (
        _step(ours, pairs, loss, optimizer("adam", _RATE)),
        _step(theirs, pairs, _plain_loss, keras.optimizers.Adam(_RATE)),
    )
    return list(zip((OURS, KERAS), steps, strict=True))


def _keras_network(options: argparse.Namespace) -> Any:
    """The same network of Keras' layers alone: attention is looked up for all steps at once, after the decoder."""
    import keras

    units, layers = options.units, keras.layers
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    embed = layers.Embedding(options.vocabulary, units, name="target_embedding")
    mask = keras.ops.not_equal(source, 0)
    both = layers.Bidirectional(
        layers.GRU(units, return_sequences=True, return_state=True, name="forward"), name="encoder"
    )
    memory, *last = both(embed(source), mask=mask)
    start = layers.Dense(units, "tanh", name="bridge")(keras.ops.concatenate(last, -1))
    h = layers.GRU(units, return_sequences=True, name="decoder")(embed(target), initial_state=start)
    query = layers.Dense(units, use_bias=False, name="query")(h)
    key = layers.Dense(units, use_bias=False, name="key")(memory)
    context = layers.AdditiveAttention(name="attention")([query, memory, key], mask=[None, mask])
    read = layers.Dense(units, "tanh", name="read")(keras.ops.concatenate([h, context], -1))
    logits = layers.Dense(options.vocabulary, name="logits")(read)
    return keras.Model({"source": source, "target": target}, {"logits": logits})


def _copy(ours: Any, theirs: Any) -> None:
    """Gives Keras' network the weights of ours."""

    def weights(name: str) -> list[Any]:
        return [weight.numpy() for weight in ours.get_layer(name).weights]

    decoder = ours.get_layer("decoder")
    theirs.get_layer("target_embedding").set_weights(weights("target_embedding"))
    theirs.get_layer("encoder").set_weights(weights("encoder"))
    theirs.get_layer("bridge").set_weights(weights("bridge"))
    theirs.get_layer("decoder").set_weights([weight.numpy() for weight in decoder.cells[0].weights])
    theirs.get_layer("query").set_weights([decoder.query_kernel.numpy()])
    theirs.get_layer("key").set_weights([decoder.memory_kernel.numpy()])
    theirs.get_layer("attention").set_weights([decoder.attention_vector.numpy()[:, 0]])
    theirs.get_layer("read").set_weights([decoder.output_kernel.numpy(), decoder.bias.numpy()])
    theirs.get_layer("logits").set_weights(weights("logits"))


def _searches(options: argparse.Namespace) -> list[tuple[str, Callable[[], Any]]]:
    """The same search, once in one compiled function, once with Python between the steps."""
    import tensorflow as tf

    from rnnapps.decoding import Search, beam_search
    from rnnapps.ops import execution
    from rnnapps.serving.decoder_parts import NetworkParts

    parts = NetworkParts(_network(options, True))
    rng = np.random.default_rng(1)
    source = tf.constant(rng.integers(3, options.vocabulary, (options.sentences, options.steps)), tf.int32)
    # Every sentence to its end: a network that has learnt nothing seldom says that it is done.
    how = Search(beam=options.beam, max_length=2 * options.steps)

    def search(source: Any, compiled_step: bool = False) -> Any:
        read = parts.encode(source)
        step = parts.step(read.memory, options.beam)
        return beam_search(tf.function(step) if compiled_step else step, read.states, how).scores

    @tf.function(autograph=False)
    def whole() -> Any:
        shards, _ = execution.row_shards(options.sentences)
        return tf.concat([search(part) for part in tf.split(source, shards)], 0)

    return [(OURS, lambda: whole().numpy()), (PYTHON, lambda: search(source, compiled_step=True).numpy())]
