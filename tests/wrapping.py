"""What the tests of cells around cells share: cells with weights, inputs, and runs while training."""

from __future__ import annotations

import numpy as np
import reference
import tensorflow as tf
from conformance.cases import weighted_sum

from rnnapps import cells
from rnnapps.layers import Unroll

BATCH, TIME, UNITS = 4, 7, 5  # of inputs too, for the residual cell
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def filled(cell, scale=0.6):
    """The cell, built, with random weights, none of them zero."""
    if not cell.built:
        cell.build((None, UNITS))
    rng = np.random.default_rng(1)
    for weight in cell.weights:
        weight.assign(rng.normal(0, scale, weight.shape))
    return cell


def inputs(rows=BATCH, time=TIME, seed=2, dtype="float64"):
    return np.random.default_rng(seed).normal(size=(rows, time, UNITS)).astype(dtype)


def start_of(cell, rows=BATCH, seed=3):
    rng = np.random.default_rng(seed)
    shapes = [state.shape for state in tf.nest.flatten(cell.get_initial_state(batch_size=rows))]
    return [tf.constant(rng.normal(size=shape), cell.compute_dtype) for shape in shapes]


def unroll(cell, **kwargs):
    return Unroll(cell, **{"return_sequences": True, "return_state": True, "dtype": cell.dtype_policy, **kwargs})


def run(cell, training, x=None, mask=None, traced=True, **kwargs):
    """Sequence and states, and the gradients of a weighted sum of them by inputs, initial states and weights.

    Traced for any number of rows and steps, unless asked otherwise.
    """
    layer = unroll(cell, **kwargs)
    x = tf.constant(inputs() if x is None else x, cell.compute_dtype)
    start = start_of(cell, len(x))
    unknown = [tf.TensorSpec((None, None, UNITS), x.dtype), [tf.TensorSpec((None, s.shape[1]), s.dtype) for s in start]]

    def gradients(x, start):
        with tf.GradientTape() as tape:
            tape.watch([x, *start])
            outputs = layer(x, initial_state=start, mask=mask, training=training)
            loss = weighted_sum(outputs)
        return outputs, tape.gradient(loss, [x, *start, *[weight.value for weight in cell.trainable_weights]])

    if traced:
        gradients = tf.function(gradients, autograph=False, input_signature=unknown)
    return gradients(x, start)


def lstm(**kwargs):
    return cells.LSTMCell(UNITS, **{"dtype": "float64", **kwargs})


def lstm_step(x, states, weights):
    h, c = reference.lstm_step(x, *states, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h, c]


def assert_share(count, total, rate):
    """That `count` of `total` draws are as many as `rate` says, within 4 standard deviations."""
    assert abs(count - rate * total) < 4 * np.sqrt(total * rate * (1 - rate)), (count / total, rate)
