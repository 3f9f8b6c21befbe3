"""From a window in the user's units to what a network reads."""

import math

import keras
from keras import ops

from rnnapps.cells.cell import register

NORMALIZATIONS = ("series", "window", "last")
_SMALL = 1e-5
CYCLES = {"day": 86_400, "week": 7 * 86_400, "year": 31_556_952}  # seconds; of a mean Gregorian year
_MONDAY = 4 * 86_400  # 1970-01-01 was a Thursday


@register
class WindowScaler(keras.layers.Layer):
    """Scales windows: x' = (x - center) / scale, and 0 where x is missing.

    Args:
        num_series: Rows of the tables.
        normalize: Where center and scale come from. "series": mean and standard deviation of the series' training part,
            from the tables. "window": of the window itself (reversible instance normalisation, Kim et al., 2022,
            https://openreview.net/forum?id=cGDAkQo1C0p, without its learnt gain). "last": the window's last value, and
            the scale of the series.

    Call arguments:
        inputs: `(batch, steps, columns)`, NaN where missing.
        series: int32 `(batch,)`: row of the tables; -1 is a series that they do not hold, for which mean and standard
            deviation of its window stand in.

    Returns:
        Scaled inputs; 1 where a value is there and 0 where it is missing, of the same shape; center and scale that were
        used; and the scale of the series, whichever was used: `(batch, columns)` each.

    Weights, not trained: `center (num_series, columns)`, `scale (num_series, columns)`.
    """

    def __init__(self, num_series, normalize="series", **kwargs):
        super().__init__(**kwargs)
        if normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize of {self.name} must be one of {', '.join(NORMALIZATIONS)}, not {normalize!r}")
        self.num_series, self.normalize = num_series, normalize

    def build(self, inputs_shape, series_shape=None):
        shape = self.num_series, inputs_shape[-1]
        self.center = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="center")
        self.scale = self.add_weight(shape=shape, initializer="ones", trainable=False, name="scale")
        self.built = True

    def set_tables(self, center, scale):
        """Puts in what was measured."""
        self.center.assign(center)
        self.scale.assign(scale)

    def call(self, inputs, series):
        missing = ops.isnan(inputs)
        values = ops.where(missing, ops.zeros_like(inputs), inputs)
        observed = ops.cast(ops.logical_not(missing), inputs.dtype)
        mean, deviation = _moments(values, observed)
        row = ops.maximum(series, 0)
        is_known = ops.expand_dims(series >= 0, -1)
        center = ops.where(is_known, ops.take(self.center, row, axis=0), mean)
        unit = ops.where(is_known, ops.take(self.scale, row, axis=0), deviation)
        scale = unit
        if self.normalize == "window":
            center, scale = mean, deviation
        elif self.normalize == "last":
            center = _last(values, observed, center)
        scaled = observed * (values - center[:, None]) / scale[:, None]
        return scaled, observed, center, scale, unit

    def compute_output_shape(self, inputs_shape, series_shape=None):
        each = (inputs_shape[0], inputs_shape[-1])
        return inputs_shape, inputs_shape, each, each, each

    def get_config(self):
        return {**super().get_config(), "num_series": self.num_series, "normalize": self.normalize}


def _moments(values, observed):
    """Mean and standard deviation over the steps that are there; 0 and 1 where there are none, or one value."""
    count = ops.maximum(ops.sum(observed, axis=1), 1.0)
    mean = ops.sum(values, axis=1) / count
    off = observed * (values - mean[:, None])
    deviation = ops.sqrt(ops.sum(ops.square(off), axis=1) / count)
    constant = deviation <= _SMALL * ops.maximum(ops.abs(mean), _SMALL)
    return mean, ops.where(constant, ops.ones_like(deviation), deviation)


def _last(values, observed, otherwise):
    """The last value that is there."""
    steps = ops.cast(ops.arange(1, values.shape[1] + 1), values.dtype)[None, :, None]
    at = ops.argmax(observed * steps, axis=1)
    last = ops.take_along_axis(values, at[:, None], axis=1)[:, 0]
    return ops.where(ops.any(observed > 0, axis=1), last, otherwise)


@register
class Calendar(keras.layers.Layer):
    """Where in the day, the week or the year a time is: sine and cosine of each angle.

    Args:
        cycles: Names among "day", "week", "year", in this order.

    Call arguments:
        times: int64 `(batch, steps)`, seconds since 1970.

    Returns:
        `(batch, steps, 2 * cycles)`.
    """

    def __init__(self, cycles=tuple(CYCLES), **kwargs):
        super().__init__(**kwargs)
        if unknown := set(cycles) - set(CYCLES):
            raise ValueError(f"cycles of {self.name} must be among {', '.join(CYCLES)}, not {unknown.pop()!r}")
        self.cycles = list(cycles)

    def call(self, times):
        features = []
        for cycle in (CYCLES[name] for name in self.cycles):
            # Whole numbers up to here: seconds since 1970 are too many for float32.
            within = ops.mod(times - _MONDAY, cycle)
            angle = ops.cast(within, self.compute_dtype) * (2 * math.pi / cycle)
            features += [ops.sin(angle), ops.cos(angle)]
        return ops.stack(features, axis=-1)

    def compute_output_shape(self, times_shape):
        return (*times_shape, 2 * len(self.cycles))

    def get_config(self):
        return {**super().get_config(), "cycles": self.cycles}


@register
class StepEmbedding(keras.layers.Layer):
    """A learnt vector for each place of a grid, whatever the inputs: (batch, ...) to (batch, *places, size).

    Args:
        places: Shape of the grid.
        size: Of a vector.
        seed: Int. Of the first values.

    Weights: `embeddings (*places, size)`, normal with deviation 1.
    """

    def __init__(self, places, size, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.places, self.size, self.seed = tuple(places), size, seed

    def build(self, input_shape):
        start = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        self.embeddings = self.add_weight(shape=(*self.places, self.size), initializer=start, name="embeddings")
        self.built = True

    def call(self, inputs):
        table = ops.cast(self.embeddings, self.compute_dtype)[None]
        return ops.repeat(table, ops.shape(inputs)[0], axis=0)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.places, self.size)

    def get_config(self):
        return {**super().get_config(), "places": list(self.places), "size": self.size, "seed": self.seed}
