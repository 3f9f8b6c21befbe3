"""What the networks of series are made of: their inputs, the columns as features, layers with seeds."""

from dataclasses import dataclass

import keras
from keras import ops

from rnnapps import layers as recurrent
from rnnapps.layers.windows import Calendar, StepEmbedding, WindowScaler

CELLS = {"lstm": recurrent.LSTM, "gru": recurrent.GRU, "simple_rnn": recurrent.SimpleRNN}
LARGEST_EMBEDDING = 16  # numbers


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


@dataclass(frozen=True)
class Net:
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
    from_zero: bool = False

    def last(self, units):
        """The layer that writes the numbers."""
        if self.from_zero:
            return keras.layers.Dense(units, kernel_initializer="zeros", dtype=self.dtype, name="write")
        return self.dense(units, name="write")

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
        width, start = min(LARGEST_EMBEDDING, (size + 3) // 2), keras.initializers.RandomUniform(seed=self._seed())
        return keras.layers.Embedding(size + 1, width, embeddings_initializer=start, dtype=self.dtype, name=name)

    def drop(self, x):
        return keras.layers.Dropout(self.dropout, seed=self._seed(), dtype=self.dtype)(x) if self.dropout else x

    def _seed(self):
        return int(keras.ops.convert_to_numpy(keras.random.randint((), 0, 2**31 - 1, seed=self.seeds)))


def window_inputs(shape):
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


def encoder_features(net, inputs, scaled, observed, known):
    """All that is known of each step of the history, `(batch, history, features)`."""
    shape, features = net.shape, [scaled, 1 - observed]
    if shape.past:
        features.append(columns(net, inputs["past"], shape.past, "past", inputs["series"]))
    if known is not None:
        features.append(known[:, : shape.history])
    return ops.concatenate(features, axis=-1)


def known_features(net, inputs):
    """What is known of each step of history and horizon, `(batch, history + horizon, features)`, or None."""
    shape, features = net.shape, []
    if shape.future:
        features.append(columns(net, inputs["future"], shape.future, "future", inputs["series"]))
    if shape.cycles:
        features.append(Calendar(shape.cycles, name="calendar")(inputs["times"]))
    if shape.static:
        static = columns(net, inputs["static"][:, None], shape.static, "static", inputs["series"])
        features.append(ops.repeat(static, shape.history + shape.horizon, axis=1))
    return ops.concatenate(features, axis=-1) if features else None


def columns(net, values, sizes, name, series):
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
