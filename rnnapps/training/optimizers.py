"""Optimisers by name."""

import keras


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
        return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, **averaging)
    return {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[name](learning_rate, **averaging)
