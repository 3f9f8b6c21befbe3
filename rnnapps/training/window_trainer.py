"""Training of a forecaster on windows, as a `keras.Model` that `fit` runs."""

import keras
import tensorflow as tf

from rnnapps.ops.heads import Head
from rnnapps.training.clipping import Clip, clip_gradients


class WindowTrainer(keras.Model):
    """Trains a network on windows of series, each on its own.

    The loss is the mean of the head's loss over all values that are there; what is missing counts for nothing.

    Data: `(inputs, targets (batch, horizon, targets))` as `rnnapps.data.series.windows` gives them.

    Args:
        network: As `rnnapps.models.forecaster` builds it.
        head: What its numbers mean.
        clip: As in `CarriedStateTrainer`.
        clip_at: What is too large.

    `fit` logs `loss`, `gradient_norm` (before clipping) and `clipped` (1 where clipping changed a gradient, else 0).
    """

    def __init__(self, network: keras.Model, head: Head, clip: Clip = "none", clip_at: float = 1.0):
        super().__init__(name="trainer")
        self.network, self.head, self.clip, self.clip_at = network, head, clip, clip_at
        self.built = True

    def call(self, inputs, training=False):
        return run(self.network, inputs, training)

    def train_step(self, data):
        inputs, targets = data
        with tf.GradientTape() as tape:
            loss = window_loss(self.head, run(self.network, inputs, training=True), targets)
        trained = self.network.trainable_variables
        gradients, norm, clipped = clip_gradients(tape.gradient(loss, trained), self.clip, self.clip_at)
        self.optimizer.apply(gradients, trained)
        return {"loss": loss, "gradient_norm": norm, "clipped": clipped}


def run(network: keras.Model, inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
    """The outputs of a network for windows, of which it reads what it has inputs for."""
    return network({name: inputs[name] for name in network.input}, training=training)


def window_loss(head: Head, outputs: dict[str, tf.Tensor], targets: tf.Tensor) -> tf.Tensor:
    """The mean loss of the targets that are there; 0 where there are none."""
    raw = outputs["raw"]
    center, scale, unit = (outputs[name][:, tf.newaxis] for name in ("center", "scale", "unit"))
    missing = tf.math.is_nan(targets)
    # Not only times 0: the gradient of a loss that is not a number would be none either.
    costs = head.loss(raw, center, scale, unit, tf.where(missing, center, targets))
    weights = tf.cast(~missing, costs.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(costs * weights), tf.reduce_sum(weights))
