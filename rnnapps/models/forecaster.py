"""Networks that forecast: windows of several series in, numbers for each step of the horizon out."""

from collections.abc import Sequence

import keras
from keras import ops

from rnnapps.layers.windows import WindowScaler
from rnnapps.models.series_parts import (
    CELLS,
    LARGEST_EMBEDDING,
    Net,
    Shape,
    encoder_features,
    known_features,
    window_inputs,
)

KINDS = ("segment", "direct", "attention", "autoregressive")


def forecaster(
    kind: str,
    shape: Shape,
    parameters: int = 1,
    cell: str = "gru",
    units: int = 256,
    layers: int = 1,
    segment: int = 24,
    dropout: float = 0.0,
    normalize: str = "last",
    locations: Sequence[int] = (),
    seed: int = 0,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the functional model of a forecast, from windows in the user's units.

    Args:
        kind: "segment": each target alone, with the same weights: one recurrent step a segment, and the segments of the
            horizon all at once (SegRNN, Lin et al., 2023, https://arxiv.org/abs/2308.11200); reads no covariates of the
            past. "direct": all columns together through recurrent layers, whose last output gives the whole horizon.
            "attention": an encoder of the history, and a decoder that reads what is known of the horizon and looks back
            at the encoder's outputs (Luong et al., 2015, https://arxiv.org/abs/1508.04025). "autoregressive": one
            recurrent network over history and horizon, whose steps read the value before them (DeepAR, Salinas et al.,
            2020, https://doi.org/10.1016/j.ijforecast.2019.07.001); reads no covariates of the past.
        shape: Of the windows.
        parameters: Numbers for each target and step: what a head (`rnnapps.ops.heads`) wants.
        cell: "lstm", "gru" or "simple_rnn".
        units: Of each recurrent layer.
        layers: Recurrent layers; "segment" has one.
        segment: Steps of a segment; it divides history and horizon.
        dropout: Probability of dropping a value before the last layer, and between recurrent layers.
        normalize: As in `WindowScaler`.
        locations: Those of the numbers, by place, that say where a value lies. To each of them a linear map from the
            scaled window to the horizon is added, the layer "linear", which starts at zero, as then does what the
            network adds. Not for "autoregressive".
        seed: Of weights and dropout.
        dtype: Precision policy of the network; scaling and output are float32.

    Returns:
        A model with inputs `{"history": (batch, history, targets), "past": (batch, history, past columns), "future":
        (batch, history + horizon, future columns), "times": int64 (batch, history + horizon), "static": (batch, static
        columns), "series": int32 (batch,)}`, without those that `shape` has not, NaN where missing; "autoregressive"
        also reads `"ahead" (batch, horizon, targets)`, the values of the horizon, each for the steps after it. Outputs
        are `{"raw": (batch, horizon, targets, parameters), "center", "scale", "unit": (batch, targets)}`.

    Raises:
        ValueError: An argument is not known, or sizes do not go together.
    """
    if kind not in KINDS or cell not in CELLS:
        raise ValueError(f"kind {kind!r} and cell {cell!r}: wanted one of {', '.join(KINDS)} and {', '.join(CELLS)}")
    builders = {"segment": _segment, "direct": _direct, "attention": _attention, "autoregressive": _autoregressive}
    inputs = window_inputs(shape)
    if kind == "autoregressive":
        inputs["ahead"] = keras.Input((shape.horizon, shape.targets), name="ahead")
    scaler = WindowScaler(shape.num_series, normalize, dtype="float32", name="targets")
    scaled, observed, center, scale, unit = scaler(inputs["history"], inputs["series"])
    net = Net(
        shape,
        parameters,
        cell,
        units,
        layers,
        segment,
        dropout,
        keras.random.SeedGenerator(seed),
        dtype,
        bool(locations),
    )
    outputs = {"center": center, "scale": scale, "unit": unit}
    raw = builders[kind](net, {**inputs, **outputs}, scaled, observed, known_features(net, inputs))
    outputs["raw"] = raw if not locations else raw + _linear(net, scaled, locations)
    outputs = {name: keras.layers.Identity(dtype="float32", name=name)(tensor) for name, tensor in outputs.items()}
    return keras.Model(inputs, outputs, name="forecaster")


def _linear(net, scaled, locations):
    """`(batch, horizon, targets, parameters)`: the linear map in the places `locations`, 0 in the others."""
    layer = keras.layers.Dense(net.shape.horizon, kernel_initializer="zeros", dtype="float32", name="linear")
    ahead = ops.transpose(layer(ops.transpose(scaled, (0, 2, 1))), (0, 2, 1))
    places = ops.sum(ops.one_hot(ops.convert_to_tensor(locations), net.parameters), axis=0)
    return ahead[..., None] * places


def _segment(net, inputs, scaled, observed, known):
    shape, size = net.shape, net.segment
    if shape.history % size or shape.horizon % size:
        raise ValueError(f"segment {size}: wanted a divisor of history {shape.history} and horizon {shape.horizon}")
    count, ahead = shape.history // size, shape.horizon // size

    def pieces(x):  # (batch, history, targets) to (batch * targets, segments, size)
        return ops.reshape(ops.transpose(x, (0, 2, 1)), (-1, count, size))

    read = net.dense(net.units, activation="relu", name="read")
    layer = net.recurrent(return_state=True, name="recurrent")
    _, *states = layer(read(ops.concatenate([pieces(scaled), 1 - pieces(observed)], axis=-1)))
    # A query for each segment of the horizon and each target, which all ask the same states.
    half = net.units // 2
    place = net.embedding((1, ahead), half, "segments")(scaled)
    target = net.embedding((shape.targets, 1), net.units - half, "targets_embedded")(scaled)
    place, target = ops.repeat(place, shape.targets, axis=1), ops.repeat(target, ahead, axis=2)
    queries = ops.concatenate([place, target], axis=-1)
    if known is not None:
        known = ops.reshape(known[:, shape.history :], (-1, 1, ahead, size * known.shape[-1]))
        queries = queries + net.dense(net.units, use_bias=False, name="known")(known)
    asked = layer(
        ops.reshape(queries, (-1, 1, net.units)), initial_state=[ops.repeat(state, ahead, axis=0) for state in states]
    )[0]
    written = net.last(size * net.parameters)(net.drop(asked))
    written = ops.reshape(written, (-1, shape.targets, shape.horizon, net.parameters))
    return ops.transpose(written, (0, 2, 1, 3))


def _direct(net, inputs, scaled, observed, known):
    shape = net.shape
    x = encoder_features(net, inputs, scaled, observed, known)
    for i in range(net.layers):
        x = net.recurrent(return_sequences=i + 1 < net.layers, name=f"recurrent_{i}")(net.drop(x) if i else x)
    if known is not None:
        x = ops.concatenate([x, keras.layers.Flatten()(known[:, shape.history :])], axis=-1)
    written = net.last(shape.horizon * shape.targets * net.parameters)(net.drop(x))
    return ops.reshape(written, (-1, shape.horizon, shape.targets, net.parameters))


def _attention(net, inputs, scaled, observed, known):
    shape = net.shape
    encoded, states = encoder_features(net, inputs, scaled, observed, known), []
    for i in range(net.layers):
        layer = net.recurrent(return_sequences=True, return_state=True, name=f"encoder_{i}")
        encoded, *last = layer(net.drop(encoded) if i else encoded)
        states.append(last)
    x = net.embedding((shape.horizon,), LARGEST_EMBEDDING, "steps")(scaled)
    if known is not None:
        x = ops.concatenate([x, known[:, shape.history :]], axis=-1)
    for i, last in enumerate(states):
        layer = net.recurrent(return_sequences=True, name=f"decoder_{i}")
        x = layer(net.drop(x) if i else x, initial_state=last)
    seen = keras.layers.Attention(use_scale=True, dtype=net.dtype, name="attention")([x, encoded])
    x = net.dense(net.units, activation="tanh", name="combine")(ops.concatenate([x, seen], axis=-1))
    written = net.last(shape.targets * net.parameters)(net.drop(x))
    return ops.reshape(written, (-1, shape.horizon, shape.targets, net.parameters))


def _autoregressive(net, inputs, scaled, observed, known):
    """The history and the horizon but its last step, each step with what is known of the one after it."""
    shape, center, scale = net.shape, inputs["center"][:, None], inputs["scale"][:, None]
    missing = ops.isnan(inputs["ahead"])
    ahead = (ops.where(missing, center, inputs["ahead"]) - center) / scale
    previous = keras.layers.Identity(dtype="float32", name="previous")(ops.concatenate([scaled, 1 - observed], axis=-1))
    ahead = ops.concatenate([ahead, ops.cast(missing, "float32")], axis=-1)[:, :-1]
    read = {"previous": ops.concatenate([previous, ahead], axis=1)}
    if known is not None:
        known = keras.layers.Identity(dtype="float32", name="known")(known)
        read["known"] = known[:, 1:]
    core = _core(net, None if known is None else known.shape[-1])
    zero = 0 * previous[:, 0, :1]
    states = {name: ops.repeat(zero, x.shape[-1], axis=-1) for name, x in core.input.items() if name not in read}
    return core({**read, **states})["raw"][:, shape.history - 1 :]


def _core(net, num_known):
    """Recurrent layers with their states as inputs and outputs, for any number of steps."""
    targets = net.shape.targets
    inputs = {"previous": keras.Input((None, 2 * targets), name="previous")}
    if num_known is not None:
        inputs["known"] = keras.Input((None, num_known), name="known")
    outputs: dict = {}
    x = ops.concatenate(list(inputs.values()), axis=-1)
    for i in range(net.layers):
        layer = net.recurrent(return_sequences=True, return_state=True, name=f"recurrent_{i}")
        names = [f"recurrent_{i}_{name}" for name in ("h", "c")[: 2 if net.cell == "lstm" else 1]]
        inputs |= {name: keras.Input((net.units,), name=name) for name in names}
        x, *states = layer(net.drop(x) if i else x, initial_state=[inputs[name] for name in names])
        outputs |= dict(zip(names, states, strict=True))
    written = net.last(targets * net.parameters)(net.drop(x))
    raw = keras.layers.Reshape((-1, targets, net.parameters))(written)
    return keras.Model(inputs, {"raw": raw, **outputs}, name="core")
