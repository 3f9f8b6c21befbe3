"""What a forecaster's outputs say: the loss that trains it, and the forecasts, calibrated, that it answers with."""

import keras
import numpy as np
import tensorflow as tf

from rnnapps.ops.heads import LEVELS, DistributionHead, Head
from rnnapps.ops.random import uniform

Inputs = dict[str, tf.Tensor]


def loss(network: keras.Model, head: Head, inputs: Inputs, targets: tf.Tensor, training: bool = False) -> tf.Tensor:
    """The mean loss of the targets that are there; 0 where there are none.

    Args:
        network: As `rnnapps.models.forecaster` builds it.
        head: What its numbers mean.
        inputs: Of a batch of windows, as `rnnapps.data.series.windows` gives them.
        targets: `(batch, horizon, targets)`, NaN where missing.
        training: Whether dropout drops.
    """
    if is_autoregressive(network):
        inputs = {**inputs, "ahead": targets}
    outputs = run(network, inputs, training)
    center, scale, unit = (outputs[name][:, tf.newaxis] for name in ("center", "scale", "unit"))
    missing = tf.math.is_nan(targets)
    # Not only times 0: the gradient of a loss that is not a number would be none either.
    costs = head.loss(outputs["raw"], center, scale, unit, tf.where(missing, center, targets))
    weights = tf.cast(~missing, costs.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(costs * weights), tf.reduce_sum(weights))


def answers(
    network: keras.Model, head: Head, inputs: Inputs, offsets: np.ndarray | None = None, num_paths: int = 200
) -> Inputs:
    """Forecasts in the series' own units.

    Args:
        network, head, inputs: As in `loss`.
        offsets: `(horizon, targets, levels)`, as `rnnapps.training.calibration` measures them: added to the
            quantiles, in units of the window's scale; the mean moves as the median does, but for a mean that is
            learnt alone. None: the head's forecast as it is.
        num_paths: Of a network that draws paths: how many.

    Returns:
        `mean (batch, horizon, targets)`, `scale (batch, targets)`, and, if the head or `offsets` know of any
        uncertainty, `quantiles (batch, horizon, targets, levels)` at `LEVELS`, never crossing.
    """
    if is_autoregressive(network):
        seed = tf.zeros(tf.shape(inputs["series"]), tf.int32)
        assert isinstance(head, DistributionHead)
        drawn = paths(network, head, inputs, seed, num_paths)
        mean, scale = drawn["mean"], drawn["scale"]
        quantiles: tf.Tensor | None = _quantiles_of(drawn["paths"])
    else:
        outputs = run(network, inputs)
        scale = outputs["scale"]
        unscaling = outputs["raw"], outputs["center"][:, tf.newaxis], scale[:, tf.newaxis]
        mean, quantiles = head.mean(*unscaling), head.quantiles(*unscaling, LEVELS)
    if offsets is not None:
        moved = mean[..., tf.newaxis] if quantiles is None else quantiles
        steps = scale[:, tf.newaxis, :, tf.newaxis] * tf.constant(offsets, mean.dtype)
        quantiles = tf.sort(moved + steps, axis=-1)
        if head.moves_mean:
            mean += steps[..., LEVELS.index(0.5)]
        if head.is_count:
            mean, quantiles = tf.maximum(mean, 0), tf.maximum(tf.round(quantiles), 0)
    found = {"mean": mean, "scale": scale}
    return found if quantiles is None else {**found, "quantiles": quantiles}


def paths(network: keras.Model, head: DistributionHead, inputs: Inputs, seed: tf.Tensor, count: int) -> Inputs:
    """Draws futures step by step, each value from its distribution given the values drawn before it.

    Salinas et al., 2020, https://doi.org/10.1016/j.ijforecast.2019.07.001

    Args:
        network: One of the kind "autoregressive".
        head: A distribution.
        inputs: As in `loss`.
        seed: int32 `(batch,)`. One seed gives one set of paths, whatever else is in the batch.
        count: Paths of a row.

    Returns:
        `paths (batch, count, horizon, targets)`, `mean (batch, horizon, targets)`, the mean over the paths of each
        distribution's own, and `scale (batch, targets)`.
    """
    read, core = _reader(network), network.get_layer("core")
    horizon, targets, parameters = network.output["raw"].shape[1:]
    found = run(read, inputs)
    history = found["previous"].shape[1]
    states = {name: tf.zeros((tf.shape(seed)[0], *x.shape[1:]), x.dtype) for name, x in _states(core).items()}
    known = found.get("known")  # (batch, history + horizon, features)
    start = {"previous": found["previous"], **states}
    outputs = core(start if known is None else {**start, "known": known[:, 1 : history + 1]})
    # From here on each row is there `count` times.
    raw = tf.repeat(outputs["raw"][:, -1], count, axis=0)
    states = {name: tf.repeat(outputs[name], count, axis=0) for name in states}
    center, scale = (tf.repeat(found[name], count, axis=0) for name in ("center", "scale"))

    def step(h, raw, states, drawn, means):
        distribution = head.distribution(tf.cast(raw, tf.float32), center, scale)
        numbers = uniform(seed, tf.fill(tf.shape(seed), h), 2 * count * targets)
        numbers = tf.reshape(numbers, (-1, targets, 2))  # (batch * count, targets, 2)
        values = distribution.sample(numbers[..., 0], numbers[..., 1])
        drawn, means = drawn.write(h, values), means.write(h, distribution.mean)
        scaled = (values - center) / scale
        following = {"previous": tf.concat([scaled, tf.zeros_like(scaled)], -1)[:, tf.newaxis], **states}
        if known is not None:
            # After the last step of the horizon nothing is known, nor asked.
            at = tf.minimum(history + h + 1, history + horizon - 1)
            following["known"] = tf.repeat(known[:, at], count, axis=0)[:, tf.newaxis]
        outputs = core(following)
        return h + 1, outputs["raw"][:, 0], {name: outputs[name] for name in states}, drawn, means

    arrays = [tf.TensorArray(tf.float32, horizon, element_shape=(None, targets)) for _ in range(2)]
    raw = tf.ensure_shape(raw, (None, targets, parameters))
    *_, drawn, means = tf.while_loop(lambda h, *_: h < horizon, step, [0, raw, states, *arrays])
    drawn, means = (tf.reshape(x.stack(), (horizon, -1, count, targets)) for x in (drawn, means))
    return {
        "paths": tf.transpose(drawn, (1, 2, 0, 3)),
        "mean": tf.transpose(tf.reduce_mean(means, 2), (1, 0, 2)),
        "scale": found["scale"],
    }


def run(network: keras.Model, inputs: Inputs, training: bool = False) -> Inputs:
    """The outputs of a network for windows, of which it reads what it has inputs for."""
    return network({name: inputs[name] for name in network.input}, training=training)


def is_autoregressive(network: keras.Model) -> bool:
    """Whether a forecast has to be drawn step by step, since each value depends on the one before."""
    return "ahead" in network.input


def _reader(network: keras.Model) -> keras.Model:
    """What the network reads before its first recurrent layer, without the values of the horizon."""
    inputs = {name: tensor for name, tensor in network.input.items() if name != "ahead"}
    outputs = {name: network.output[name] for name in ("center", "scale")}
    names = {layer.name for layer in network.layers}
    outputs |= {name: network.get_layer(name).output for name in ("previous", "known") if name in names}
    return keras.Model(inputs, outputs)


def _states(core: keras.Model) -> dict[str, tf.Tensor]:
    return {name: tensor for name, tensor in core.input.items() if name not in ("previous", "known")}


def _quantiles_of(drawn: tf.Tensor) -> tf.Tensor:
    """`(batch, horizon, targets, levels)` of paths `(batch, count, horizon, targets)`."""
    ordered, count = tf.sort(drawn, axis=1), drawn.shape[1]
    found = []
    for level in LEVELS:
        at = level * (count - 1)
        low, share = int(at), at - int(at)
        found.append((1 - share) * ordered[:, low] + share * ordered[:, min(low + 1, count - 1)])
    return tf.stack(found, -1)
