"""Truncated back-propagation through time with a carried state, as a `keras.Model` that `fit` runs."""

from typing import Literal

import keras
import tensorflow as tf

from rnnapps.ops import execution
from rnnapps.training.clipping import Clip, clip_gradients
from rnnapps.training.distribution import total


class CarriedStateTrainer(keras.Model):
    """Trains a network on windows of B parallel streams; the states at the end of a window start the next one.

    The loss of a window is the cross-entropy of its targets; gradients stop at the window's start (Williams and Peng,
    1990, https://doi.org/10.1162/neco.1990.2.4.490). A row whose `reset` flag is set starts its window from zeros.

    Data: `({"tokens": int32 (B, T), "reset": bool (B,)}, targets int32 (B, T), weights float32 (B, T))`.

    Args:
        network: Functional model with states as inputs and outputs of the same names, and `logits` (see
            `rnnapps.models.text_generator`).
        batch_size: B, fixed: each row is a stream of its own. Of several replicas: the rows of one.
        clip: How gradients are cut: "value" (each element), "norm" (each weight's gradient), "global_norm" (all
            together) or "none".
        clip_at: What is too large.
        reduction: "mean" is over the window's tokens; "sum" is over time, and the mean over rows.

    Under a `tf.distribute` strategy a window is that of all replicas together.

    `fit` logs `loss` (nats per token), `gradient_norm` (before clipping) and `clipped` (1 where clipping changed a
    gradient of this update, else 0).
    """

    def __init__(
        self,
        network: keras.Model,
        batch_size: int,
        clip: Clip = "none",
        clip_at: float = 1.0,
        reduction: Literal["mean", "sum"] = "mean",
    ):
        super().__init__(name="trainer")
        self.network = network
        self.clip, self.clip_at, self.reduction = clip, clip_at, reduction
        self.carried = {
            name: self.add_weight(shape=(batch_size, tensor.shape[-1]), initializer="zeros", trainable=False, name=name)
            for name, tensor in network.input.items()
            if name != "tokens"
        }
        self.built = True

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)

    def reset_states(self) -> None:
        """Sets every row to a cold start."""
        for state in self.carried.values():
            state.assign(tf.zeros_like(state))

    def train_step(self, data):
        if tf.distribute.has_strategy():
            return self._train_step_of_replica(data)
        rows, targets, weights = self._rows(data)
        with tf.GradientTape() as tape:
            outputs = self.network(rows, training=True)
            nats = self._nats(outputs, targets, weights)
            tokens = tf.reduce_sum(weights)
            loss = nats / tf.maximum(self._divisor(tokens, weights), 1.0)
        trained = self.network.trainable_variables
        gradients = tape.gradient(loss, trained)
        return self._update(gradients, outputs, nats / tf.maximum(tokens, 1.0))

    def _train_step_of_replica(self, data):
        def of_rows(data, carried):
            rows, targets, weights = self._rows(data, carried)
            with tf.GradientTape() as tape:
                outputs = self.network(rows, training=True)
                nats = self._nats(outputs, targets, weights)
            gradients = tape.gradient(nats, self.network.trainable_variables)
            return [tf.convert_to_tensor(g) for g in gradients], nats, {name: outputs[name] for name in carried}

        # XLA compiles what one replica does: programs that talk to others are not for it.
        run = execution.compiled(of_rows) if self.jit_compile else of_rows
        gradients, nats, outputs = run(data, {name: tf.identity(state) for name, state in self.carried.items()})
        tokens = tf.reduce_sum(data[2])
        *gradients, nats, tokens, divisor = total([*gradients, nats, tokens, self._divisor(tokens, data[2])])
        gradients = [gradient / tf.maximum(divisor, 1.0) for gradient in gradients]
        return self._update(gradients, outputs, nats / tf.maximum(tokens, 1.0))

    def _rows(self, data, carried=None):
        inputs, targets, weights = data
        keep = tf.cast(~inputs["reset"], tf.float32)[:, None]
        states = {name: state * keep for name, state in (carried or self.carried).items()}
        return {"tokens": inputs["tokens"], **states}, targets, weights

    def _nats(self, outputs, targets, weights):
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs["logits"])
        return tf.reduce_sum(each * weights)

    def _divisor(self, tokens, weights):
        return tokens if self.reduction == "mean" else tf.cast(tf.shape(weights)[0], tf.float32)

    def _update(self, gradients, outputs, nats_per_token):
        gradients, norm, clipped = clip_gradients(gradients, self.clip, self.clip_at)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        for name, state in self.carried.items():
            state.assign(tf.cast(outputs[name], state.dtype))
        return {"loss": nats_per_token, "gradient_norm": norm, "clipped": clipped}
