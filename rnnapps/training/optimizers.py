"""Optimisers by name."""

import keras
import tensorflow as tf


def optimizer(
    name: str, learning_rate: float, weight_decay: float = 0.0, average: float = 0.0, accumulate: int = 1
) -> keras.optimizers.Optimizer:
    """Makes an optimiser.

    Args:
        name: "adam", "adamw", "rmsprop" or "adagrad". Adagrad's sums of squares start at zero, with 1e-8 inside the
            root, as in min-char-rnn: g / sqrt(sum g^2 + 1e-8).
        learning_rate: Its first value.
        weight_decay: For "adamw".
        average: Weight of the past in a moving average of the weights, which `finalize_variable_values` gives; 0: none.
        accumulate: Updates whose gradients are averaged before the weights change.
    """
    averaging = {"use_ema": True, "ema_momentum": average} if average else {}
    if accumulate > 1:
        averaging["gradient_accumulation_steps"] = accumulate
    if name == "adagrad":
        return keras.optimizers.Adagrad(learning_rate, initial_accumulator_value=0.0, epsilon=1e-8, **averaging)
    if name == "adamw":
        return FusedAdamW(learning_rate, weight_decay=weight_decay, **averaging)
    return {"adam": FusedAdam, "rmsprop": keras.optimizers.RMSprop}[name](learning_rate, **averaging)


def put_weights(model: keras.Model, network: keras.Model, updates: keras.optimizers.Optimizer) -> None:
    """Sets the weights of a model to those of a network that learns; to their averages, where the optimiser keeps any.

    Args:
        model: Of the same weights as `network`; of one device, wherever that learns.
        network: As it is.
        updates: Its optimiser, built.
    """
    model.set_weights(network.get_weights())
    if updates.use_ema:
        for variable, average in zip(model.trainable_variables, updates._model_variables_moving_average, strict=True):
            variable.assign(keras.ops.convert_to_numpy(average))


class FusedUpdate(keras.optimizers.Optimizer):
    """The update of Keras' Adam in one operation, where Keras has a pass over the weights for each of a dozen."""

    def update_step(self, gradient, variable, learning_rate):
        """As in `keras.optimizers.Optimizer`."""
        # Keras squares the rows of an embedding's gradient before it adds up equal ones: learning rates are set for it.
        if isinstance(gradient, tf.IndexedSlices) or self.amsgrad or tf.distribute.has_strategy():
            return super().update_step(gradient, variable, learning_rate)
        index, value = self._get_variable_index(variable), _value(variable)
        state = [_value(one[index]).handle for one in (self._momentums, self._velocities)]
        numbers = (self.iterations, learning_rate)
        steps, rate = (tf.cast(keras.ops.convert_to_tensor(number), value.dtype) for number in numbers)
        betas = [tf.constant(beta, value.dtype) for beta in (self.beta_1, self.beta_2)]
        powers = [tf.pow(beta, steps + 1) for beta in betas]
        tf.raw_ops.ResourceApplyAdam(
            var=value.handle, m=state[0], v=state[1], beta1_power=powers[0], beta2_power=powers[1], lr=rate,
            beta1=betas[0], beta2=betas[1], epsilon=tf.constant(self.epsilon, value.dtype),
            grad=tf.cast(gradient, value.dtype),
        )  # fmt: skip


def _value(variable):
    """The variable of TensorFlow, of which Keras passes now its own and now that."""
    return variable.value if isinstance(variable, keras.Variable) else variable


@keras.saving.register_keras_serializable("rnnapps")
class FusedAdam(FusedUpdate, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, faster on a processor (Kingma and Ba, 2014, https://arxiv.org/abs/1412.6980)."""


@keras.saving.register_keras_serializable("rnnapps")
class FusedAdamW(FusedUpdate, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, likewise (Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101)."""
