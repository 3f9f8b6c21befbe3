"""Training on rows that stand each on its own, as a `keras.Model` that `fit` runs."""

from collections.abc import Callable

import keras
import tensorflow as tf

from rnnapps.ops import execution
from rnnapps.training.clipping import Clip, clip_gradients
from rnnapps.training.distribution import total


class WindowTrainer(keras.Model):
    """Trains a network on windows of series, on pairs of sentences, or on what else stands each on its own.

    Data: tuples, such as `(inputs, targets)` of `rnnapps.data.series.windows`.

    Args:
        network: What learns.
        loss: Of `(network, *data, training)`, as `rnnapps.forecasts.loss` with its head.
        clip: As in `CarriedStateTrainer`.
        clip_at: What is too large.
        count: From data to what the loss is the mean over. Under a `tf.distribute` strategy the loss is the mean over
            that of all replicas.

    `fit` logs `loss`, `gradient_norm` (before clipping) and `clipped` (1 where clipping changed a gradient, else 0).
    """

    def __init__(
        self,
        network: keras.Model,
        loss: Callable[..., tf.Tensor],
        clip: Clip = "none",
        clip_at: float = 1.0,
        count: Callable[..., tf.Tensor] = lambda *data: tf.constant(1.0),
    ):
        super().__init__(name="trainer")
        self.network, self.loss_of, self.clip, self.clip_at, self.count = network, loss, clip, clip_at, count
        self.built = True

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)

    def train_step(self, data):
        if tf.distribute.has_strategy():
            return self._train_step_of_replica(data)
        with tf.GradientTape() as tape:
            loss = self.loss_of(self.network, *data, True)
        return self._update(tape.gradient(loss, self.network.trainable_variables), loss)

    def _train_step_of_replica(self, data):
        def of_rows(data):
            with tf.GradientTape() as tape:
                cost = self.loss_of(self.network, *data, True) * self.count(*data)
            gradients = tape.gradient(cost, self.network.trainable_variables)
            return [tf.convert_to_tensor(g) for g in gradients], cost

        # XLA compiles what one replica does: programs that talk to others are not for it.
        gradients, cost = (execution.compiled(of_rows) if self.jit_compile else of_rows)(data)
        *gradients, cost, count = total([*gradients, cost, self.count(*data)])
        return self._update([tf.math.divide_no_nan(g, count) for g in gradients], tf.math.divide_no_nan(cost, count))

    def _update(self, gradients, loss):
        gradients, norm, clipped = clip_gradients(gradients, self.clip, self.clip_at)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        return {"loss": loss, "gradient_norm": norm, "clipped": clipped}
