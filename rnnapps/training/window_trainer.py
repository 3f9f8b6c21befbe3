"""Training on rows that stand each on its own, as a `keras.Model` that `fit` runs."""

from collections.abc import Callable

import keras
import tensorflow as tf

from rnnapps.training.clipping import Clip, clip_gradients


class WindowTrainer(keras.Model):
    """Trains a network on windows of series, on pairs of sentences, or on what else stands each on its own.

    Data: tuples, such as `(inputs, targets)` of `rnnapps.data.series.windows`.

    Args:
        network: What learns.
        loss: Of `(network, *data, training)`, as `rnnapps.forecasts.loss` with its head.
        clip: As in `CarriedStateTrainer`.
        clip_at: What is too large.

    `fit` logs `loss`, `gradient_norm` (before clipping) and `clipped` (1 where clipping changed a gradient, else 0).
    """

    def __init__(self, network: keras.Model, loss: Callable[..., tf.Tensor], clip: Clip = "none", clip_at: float = 1.0):
        super().__init__(name="trainer")
        self.network, self.loss_of, self.clip, self.clip_at = network, loss, clip, clip_at
        self.built = True

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.loss_of(self.network, *data, True)
        trained = self.network.trainable_variables
        gradients, norm, clipped = clip_gradients(tape.gradient(loss, trained), self.clip, self.clip_at)
        self.optimizer.apply(gradients, trained)
        return {"loss": loss, "gradient_norm": norm, "clipped": clipped}
