"""Networks that forecast: windows of several series in, numbers for each step of the horizon out."""

from dataclasses import dataclass

import keras
from keras import ops

from rnnapps import layers as recurrent
from rnnapps.layers.windows import Calendar, StepEmbedding, WindowScaler

CELLS = {"lstm": recurrent.LSTM, "gru": recurrent.GRU, "simple_rnn": recurrent.SimpleRNN}
KINDS = ("segment", "direct", "attention")
_LARGEST_EMBEDDING = 16  # numbers


@dataclass(frozen=True)
class Shape:
    """Sizes of the windows of a panel.

    Attributes:
        history, horizon: Steps before the forecast, and of it.
        targets: Numbers that are forecast.
        past, future: Columns of either kind, as sizes: 0 is a number, n a category with codes up to n.
        static: The same of what does not vary.
        num_series: Series of the panel.
        cycles: Of the calendar that the network knows of, as in `Calendar`; empty where steps have no times.
    """

    history: int
    horizon: int
    targets: int
    past: tuple[int, ...] = ()
    future: tuple[int, ...] = ()
    static: tuple[int, ...] = ()
    num_series: int = 1
    cycles: tuple[str, ...] = ()


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
    seed: int = 0,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the functional model of a forecast, from windows in the user's units.

    Args:
        kind: "segment": each target alone, with the same weights: one recurrent step a segment, and the segments of the
            horizon all at once (SegRNN, Lin et al., 2023, https://arxiv.org/abs/2308.11200); reads no covariates of the
            past. "direct": all columns together through recurrent layers, whose last output gives the whole horizon.
            "attention": an encoder of the history, and a decoder that reads what is known of the horizon and looks back
            at the encoder's outputs (Luong et al., 2015, https://arxiv.org/abs/1508.04025).
        shape: Of the windows.
        parameters: Numbers for each target and step: what a head (`rnnapps.ops.heads`) wants.
        cell: "lstm", "gru" or "simple_rnn".
        units: Of each recurrent layer.
        layers: Recurrent layers; "segment" has one.
        segment: Steps of a segment; it divides history and horizon.
        dropout: Probability of dropping a value before the last layer, and between recurrent layers.
        normalize: As in `WindowScaler`.
        seed: Of weights and dropout.
        dtype: Precision policy of the network; scaling and output are float32.

    Returns:
        A model with inputs `{"history": (batch, history, targets), "past": (batch, history, past columns), "future":
        (batch, history + horizon, future columns), "times": int64 (batch, history + horizon), "static": (batch, static
        columns), "series": int32 (batch,)}`, without those that `shape` has not, NaN where missing; and outputs
        `{"raw": (batch, horizon, targets, parameters), "center", "scale", "unit": (batch, targets)}`.

    Raises:
        ValueError: An argument is not known, or sizes do not go together.
    """
    if kind not in KINDS or cell not in CELLS:
        raise ValueError(f"kind {kind!r} and cell {cell!r}: wanted one of {', '.join(KINDS)} and {', '.join(CELLS)}")
    build = {"segment": _segment, "direct": _direct, "attention": _attention}[kind]
    inputs = _inputs(shape)
    scaler = WindowScaler(shape.num_series, normalize, dtype="float32", name="targets")
    scaled, observed, center, scale, unit = scaler(inputs["history"], inputs["series"])
    net = _Net(shape, parameters, cell, units, layers, segment, dropout, keras.random.SeedGenerator(seed), dtype)
    raw = build(net, inputs, scaled, observed, _known(net, inputs))
    outputs = {"raw": raw, "center": center, "scale": scale, "unit": unit}
    outputs = {name: keras.layers.Identity(dtype="float32", name=name)(tensor) for name, tensor in outputs.items()}
    return keras.Model(inputs, outputs, name="forecaster")


@dataclass(frozen=True)
class _Net:
    """What the parts of a network are made with."""

    shape: Shape
    parameters: int
    cell: str
    units: int
    layers: int
    segment: int
    dropout: float
    seeds: keras.random.SeedGenerator
    dtype: str

    def dense(self, units, **kwargs):
        start = keras.initializers.GlorotUniform(seed=self._seed())
        return keras.layers.Dense(units, kernel_initializer=start, dtype=self.dtype, **kwargs)

    def recurrent(self, **kwargs):
        return CELLS[self.cell](
            self.units,
            kernel_initializer=keras.initializers.GlorotUniform(seed=self._seed()),
            recurrent_initializer=keras.initializers.Orthogonal(seed=self._seed()),
            dtype=self.dtype,
            **kwargs,
        )

    def embedding(self, places, size, name):
        return StepEmbedding(places, size, seed=self._seed(), dtype=self.dtype, name=name)

    def category(self, size, name):
        width, start = min(_LARGEST_EMBEDDING, (size + 3) // 2), keras.initializers.RandomUniform(seed=self._seed())
        return keras.layers.Embedding(size + 1, width, embeddings_initializer=start, dtype=self.dtype, name=name)

    def drop(self, x):
        return keras.layers.Dropout(self.dropout, seed=self._seed(), dtype=self.dtype)(x) if self.dropout else x

    def _seed(self):
        return int(keras.ops.convert_to_numpy(keras.random.randint((), 0, 2**31 - 1, seed=self.seeds)))


def _inputs(shape):
    steps = shape.history + shape.horizon
    inputs = {"history": keras.Input((shape.history, shape.targets), name="history")}
    if shape.past:
        inputs["past"] = keras.Input((shape.history, len(shape.past)), name="past")
    if shape.future:
        inputs["future"] = keras.Input((steps, len(shape.future)), name="future")
    if shape.cycles:
        inputs["times"] = keras.Input((steps,), dtype="int64", name="times")
    if shape.static:
        inputs["static"] = keras.Input((len(shape.static),), name="static")
    inputs["series"] = keras.Input((), dtype="int32", name="series")
    return inputs


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
    written = net.dense(size * net.parameters, name="write")(net.drop(asked))
    written = ops.reshape(written, (-1, shape.targets, shape.horizon, net.parameters))
    return ops.transpose(written, (0, 2, 1, 3))


def _direct(net, inputs, scaled, observed, known):
    shape = net.shape
    x = _encoder_features(net, inputs, scaled, observed, known)
    for i in range(net.layers):
        x = net.recurrent(return_sequences=i + 1 < net.layers, name=f"recurrent_{i}")(net.drop(x) if i else x)
    if known is not None:
        x = ops.concatenate([x, keras.layers.Flatten()(known[:, shape.history :])], axis=-1)
    written = net.dense(shape.horizon * shape.targets * net.parameters, name="write")(net.drop(x))
    return ops.reshape(written, (-1, shape.horizon, shape.targets, net.parameters))


def _attention(net, inputs, scaled, observed, known):
    shape = net.shape
    encoded, states = _encoder_features(net, inputs, scaled, observed, known), []
    for i in range(net.layers):
        layer = net.recurrent(return_sequences=True, return_state=True, name=f"encoder_{i}")
        encoded, *last = layer(net.drop(encoded) if i else encoded)
        states.append(last)
    x = net.embedding((shape.horizon,), _LARGEST_EMBEDDING, "steps")(scaled)
    if known is not None:
        x = ops.concatenate([x, known[:, shape.history :]], axis=-1)
    for i, last in enumerate(states):
        layer = net.recurrent(return_sequences=True, name=f"decoder_{i}")
        x = layer(net.drop(x) if i else x, initial_state=last)
    seen = keras.layers.Attention(use_scale=True, dtype=net.dtype, name="attention")([x, encoded])
    x = net.dense(net.units, activation="tanh", name="combine")(ops.concatenate([x, seen], axis=-1))
    written = net.dense(shape.targets * net.parameters, name="write")(net.drop(x))
    return ops.reshape(written, (-1, shape.horizon, shape.targets, net.parameters))


def _encoder_features(net, inputs, scaled, observed, known):
    """All that is known of each step of the history, `(batch, history, features)`."""
    shape, features = net.shape, [scaled, 1 - observed]
    if shape.past:
        features.append(_columns(net, inputs["past"], shape.past, "past", inputs["series"]))
    if known is not None:
        features.append(known[:, : shape.history])
    return ops.concatenate(features, axis=-1)


def _known(net, inputs):
    """What is known of each step of history and horizon, `(batch, history + horizon, features)`, or None."""
    shape, features = net.shape, []
    if shape.future:
        features.append(_columns(net, inputs["future"], shape.future, "future", inputs["series"]))
    if shape.cycles:
        features.append(Calendar(shape.cycles, name="calendar")(inputs["times"]))
    if shape.static:
        static = _columns(net, inputs["static"][:, None], shape.static, "static", inputs["series"])
        features.append(ops.repeat(static, shape.history + shape.horizon, axis=1))
    return ops.concatenate(features, axis=-1) if features else None


def _columns(net, values, sizes, name, series):
    """Columns as numbers that a network reads: scaled, with a flag for what is missing, or embedded."""
    features = []
    numbers = [i for i, size in enumerate(sizes) if not size]
    if numbers:
        scaler = WindowScaler(net.shape.num_series, dtype="float32", name=f"{name}_numbers")
        scaled, observed, *_ = scaler(ops.take(values, ops.convert_to_tensor(numbers), axis=-1), series)
        features += [scaled, 1 - observed]
    for i, size in enumerate(sizes):
        if size:
            codes = values[..., i]
            codes = ops.cast(ops.where(ops.isnan(codes), ops.zeros_like(codes), codes), "int32")
            features.append(net.category(size, f"{name}_{i}")(codes))
    return ops.concatenate(features, axis=-1)
