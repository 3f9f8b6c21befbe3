"""What a network that writes sentences is trained by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from rnnapps.ops import execution
from rnnapps.ops.softmax_cost import softmax_cost

Inputs = dict[str, tf.Tensor]
_RAMP = 5_000  # updates in which scheduled sampling comes in


def loss(
    network: keras.Model,
    inputs: Inputs,
    targets: tf.Tensor,
    weights: tf.Tensor,
    training: bool = False,
    label_smoothing: float = 0.0,
    even_attention: float = 0.0,
) -> tf.Tensor:
    """The mean cost of a target's token in nats.

        cost_t = (1 - e) (-log p(y_t)) + e mean_k (-log p(k))        e: the label smoothing

    and, for each sentence, `even_attention` times sum_j (1 - sum_t w_tj)^2, which asks a decoder to look at each place
    j of its memory about once (the doubly stochastic regularisation of Xu et al.).

    Args:
        network: As `rnnapps.models.translator` builds it: its logits are those of its output `features`, by its layer
            `logits` or, tied, by its `target_embedding`.
        inputs: By name, each `(batch, ...)`, `target` among them: what the decoder reads.
        targets: `(batch, time)` int32: what comes next.
        weights: `(batch, time)` float32: 0 where there is no token.
        training: Whether dropout drops.
        label_smoothing: e, in [0, 1).
        even_attention: Weight of that cost; the network's output `alignment` is w.

    References: Szegedy et al., 2015, https://arxiv.org/abs/1512.00567 (label smoothing); Xu et al., 2015,
    https://arxiv.org/abs/1502.03044
    """

    matrix, bias = _output_weights(network)

    def cost(some: Inputs, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        found = network(some, training=training)
        features, uneven = tf.cast(found["features"], tf.float32), 0.0
        if even_attention:
            looked = tf.reduce_sum(found["alignment"] * weights[..., tf.newaxis], axis=1)
            uneven = even_attention * tf.reduce_sum(tf.square(1 - looked))
        rows = [tf.reshape(features, (-1, features.shape[-1])), tf.reshape(targets, (-1,)), tf.reshape(weights, (-1,))]
        if not execution.is_compiled_by_xla():  # which knows no shapes that depend on values
            there = tf.where(rows[2] > 0)[:, 0]
            rows = [tf.gather(row, there) for row in rows]
        features, targets, weights = rows
        return softmax_cost(features, matrix, bias, targets, weights, label_smoothing) + uneven

    # Rows for each core: the product with the output matrix is most of the work, and no layer would cut it.
    shards, _ = execution.row_shards(targets.shape[0])
    with execution.one_shard():
        total = tf.add_n([cost(*rows) for rows in execution.cut(shards, inputs, targets, weights)])
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights))


def tokens_in(inputs: Inputs, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """What `loss` is the mean over."""
    return tf.reduce_sum(weights)


def _output_weights(network: keras.Model) -> tuple[tf.Tensor, tf.Tensor | None]:
    """The matrix `(vocabulary, units)` and the bias that make logits of features."""
    layers = {layer.name: layer for layer in network.layers}
    if "captioner" in layers:  # behind an encoder
        return _output_weights(layers["captioner"])
    if "logits" in layers:
        return tf.transpose(layers["logits"].kernel), tf.convert_to_tensor(layers["logits"].bias)
    return tf.convert_to_tensor(layers["target_embedding"].embeddings), None


def training_loss(
    label_smoothing: float,
    scheduled_sampling: float,
    updates: Callable[[], Any],
    seed: int,
    even_attention: float = 0.0,
) -> Callable[..., tf.Tensor]:
    """The loss as `WindowTrainer` takes it.

    With scheduled sampling the decoder reads, at each step with some probability, what it would have written at the
    step before, in the place of the right token; that probability grows in the first 5,000 updates. All steps are
    guessed at once, from the right tokens.

    Args:
        label_smoothing, even_attention: As in `loss`.
        scheduled_sampling: The probability at its highest; 0 leaves it out.
        updates: Gives their number so far.
        seed: Of the steps that are chosen.

    References: Bengio et al., 2015, https://arxiv.org/abs/1506.03099; Mihaylova and Martins, 2019,
    https://arxiv.org/abs/1906.07651 (all steps at once)
    """

    def run(network: keras.Model, inputs: Inputs, targets: tf.Tensor, weights: tf.Tensor, training: bool) -> tf.Tensor:
        if scheduled_sampling:
            count = tf.cast(keras.ops.convert_to_tensor(updates()), tf.int32)
            share = scheduled_sampling * tf.minimum(1.0, tf.cast(count, tf.float32) / _RAMP)
            guessed = tf.argmax(network(inputs, training=False)["logits"], axis=-1, output_type=tf.int32)
            guessed = tf.pad(guessed[:, :-1], [[0, 0], [1, 0]])
            drawn = tf.random.stateless_uniform(tf.shape(guessed), tf.stack([seed, count]))
            inputs = {**inputs, "target": tf.where(drawn < share, guessed, inputs["target"])}
        return loss(network, inputs, targets, weights, training, label_smoothing, even_attention)

    return run


def mean_nats(network: keras.Model, jit_compile: bool = False) -> Callable[[Iterable[Any]], float]:
    """From batches to the mean cost of a token under a network, in nats, without label smoothing."""
    cost = tf.function(
        lambda *batch: loss(network, *batch), autograph=False, reduce_retracing=True, jit_compile=jit_compile
    )

    def mean(batches: Iterable[Any]) -> float:
        total = count = 0.0
        for inputs, targets, weights in batches:
            tokens = float(tf.reduce_sum(weights))
            total += tokens * float(cost(inputs, targets, weights))
            count += tokens
        return total / max(count, 1.0)

    return mean
