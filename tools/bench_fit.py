"""`fit` of a model as a user of Keras writes it, with one import line changed: what `bench.py fit` times."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import bench_layers
import numpy as np
from bench_layers import KERAS, OURS, Row, Way

_BATCHES = 4


def fit(options: argparse.Namespace) -> dict[str, Any]:
    """Times `fit` of a model as a user of Keras writes it, with our layers and with Keras'."""
    what, rows = f"{options.cell}, fit of {_BATCHES} batches", options.rows or bench_layers.ROWS
    return bench_layers.measure(options, what, rows, partial(_ways_of_fit, options), (KERAS,))


def _ways_of_fit(options: argparse.Namespace, row: Row) -> list[Way]:
    import keras
    import tensorflow as tf

    import rnnapps.layers

    rng = np.random.default_rng(4)
    x, y = (rng.normal(size=size).astype("float32") for size in ((row.batch, row.steps, row.features), (row.batch, 1)))
    # Not arrays: `fit` would cut them into batches anew each time it is called, which takes as long as the training.
    batches = tf.data.Dataset.from_tensors((x, y)).repeat()
    still = tf.data.Options()
    still.autotune.enabled = False  # its thread sleeps for seconds, and the end of a `fit` waits until it wakes
    batches = batches.with_options(still)
    weights, ways = bench_layers.random_layers(row, options.cell), []
    for maker, module, dtype in ((OURS, rnnapps.layers, options.precision), (KERAS, keras.layers, "float32")):
        make = partial(getattr(module, bench_layers.KERAS_NAMES[options.cell]), row.units, dtype=dtype)
        for xla in (False, True):
            stack = [make(return_sequences=i + 1 < row.layers) for i in range(row.layers)]
            output = keras.layers.Dense(1, kernel_initializer="ones", dtype="float32")
            model = keras.Sequential([keras.Input((row.steps, row.features)), *stack, output])
            for layer, initial in zip(stack, weights, strict=True):
                layer.set_weights(initial)
            model.compile("adam", "mse", jit_compile=xla)
            run = partial(model.fit, batches, steps_per_epoch=_BATCHES, shuffle=False, verbose=0)
            name = maker + ", XLA" * xla
            ways.append(Way(name, run, lambda found: [np.array(found.history["loss"])]))
    return ways
