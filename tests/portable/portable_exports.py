"""Small exports, what the tests ask them, and what the tests of several files compare."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.models.text_generator import text_generator
from rnnapps.ops.heads import head
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.series_endpoints import SeriesEndpoints
from rnnapps.serving.text_endpoints import TextEndpoints
from rnnapps.serving.tokenization import TextCodec

SYMBOLS = 'abcdefgh .\n"\\0é中'
SERIES = ["shop a", "shop b"]


def drawn(model, seed=0, size=0.7):
    """The model with weights that have an opinion, biases included."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, size, variable.shape))
    return model


def export_text(folder, vocabulary, **options):
    """An export of a text model that has learnt nothing."""
    model = drawn(text_generator(vocabulary.size, **{"units": 33, "layers": 2, **options}))
    endpoints = TextEndpoints(model, TextCodec(vocabulary))
    manifest = {"task": "text_generation", "vocabulary": vocabulary.to_dict(), "figures": {"test_nats": 1.5}}
    return write_saved_model(endpoints, folder, "tiny", manifest, endpoints.warmup())


def export_series(folder, kind="segment", name="quantiles", **options):
    """An export of a forecaster of two series, with covariates, categories and a calendar."""
    shape = Shape(6, 4, 2, future=(0, 2), num_series=len(SERIES), cycles=("day",))
    one = head(name)
    network = forecaster(kind, shape, one.parameters, units=5, segment=2, **options)
    network.get_layer("targets").set_tables([[5.0, 50.0], [6.0, 60.0]], [[1.0, 10.0], [2.0, 20.0]])
    endpoints = SeriesEndpoints(network, one, SERIES)
    return write_saved_model(endpoints, folder, kind, {"task": "forecasting"}, endpoints.warmup())


def history(rows, seed=0):
    """A request to the forecasters of `export_series`, with gaps; the series are the last input."""
    rng = np.random.default_rng(seed)
    known = np.stack([rng.normal(size=(rows, 10)), rng.integers(0, 3, (rows, 10))], -1)
    values = rng.normal([5, 50], [1, 10], (rows, 6, 2)).astype("float32")
    values[0, 2, 0] = values[rows - 1, 5, 1] = np.nan
    return {
        "history": values,
        "future": known.astype("float32"),
        "times": (3600 * np.tile(np.arange(10), (rows, 1))).astype("int64"),
    }


def written(export, prompt, count, temperature=0.8, seed=3):
    """The text that the endpoint `serving_default` of an export writes."""
    request = {"prompt": [prompt], "num_chars": [count], "temperature": [temperature], "seed": [seed]}
    ask = tf.saved_model.load(str(export)).signatures["serving_default"]
    return ask(**{name: tf.constant(value) for name, value in request.items()})["text"].numpy()[0]
