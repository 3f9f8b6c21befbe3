"""What the conformance tests do with any cell: weights and inputs, the hand loop, and outputs with their gradients."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import tensorflow as tf
from conformance.registry import ENTRIES

from rnnapps.layers import Unroll

BATCH, TIME = 4, 7
ROWS = 20  # enough for two shards
MASKS = {
    "none": [[1] * 7] * 4,
    "left": [[0, 0, 1, 1, 1, 1, 1], [1] * 7, [0] * 6 + [1], [0] * 4 + [1] * 3],
    "inner": [[1, 0, 0, 1, 1, 0, 1], [1, 0] * 3 + [1], [0, 1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0, 1]],
    "right": [[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6, [1, 1, 0, 0, 0, 0, 0]],
    "empty": [[0] * 7, [1] * 7, [0] * 7, [0, 0, 0, 1, 0, 0, 0]],
}


def weighted_sum(tensors):
    """A scalar in which every element of every tensor has a weight of its own, whatever the shapes are."""
    weighted = [
        tf.reduce_sum(t * tf.reshape(tf.sin(tf.range(tf.size(t), dtype=tf.float64) + i), tf.shape(t)))
        for i, t in enumerate(tf.cast(t, tf.float64) for t in tensors)
    ]
    return tf.add_n(weighted)


def assert_same(ours, theirs, rtol=2e-4, atol=2e-5):
    ours, theirs = tf.nest.flatten(ours), tf.nest.flatten(theirs)
    assert len(ours) == len(theirs)
    for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=f"number {i} of {len(ours)}")


class Case:
    """A cell of the registry with random weights, none of them zero.

    Args:
        name: Of the entry.
        dtype: Of the cell: a dtype or a policy.
    """

    def __init__(self, name, dtype="float32"):
        self.name, self.entry, self.dtype = name, ENTRIES[name], dtype
        features = self.entry.features
        self.features = (features,) if isinstance(features, int) else tuple(features)
        self.cell = self.make()

    def make(self, **kwargs):
        """A built cell with the weights of this case."""
        cell = self.entry.make(dtype=self.dtype, **kwargs)
        cell.build((BATCH, *self.features))
        cell.built = True
        rng = np.random.default_rng(1)
        for name, weight in named_weights(cell).items():
            weight.assign(self.entry.draw(name, rng, tuple(weight.shape)))
        return cell

    def unroll(self, cell=None, **kwargs):
        """The cell over time; outputs are a sequence and the states unless asked otherwise."""
        kwargs = {"return_sequences": True, "return_state": True, **kwargs}
        return Unroll(self.cell if cell is None else cell, dtype=self.dtype, **kwargs)

    def output_shapes(self, cell=None):
        """Of the output of a step and of the states after it, as the layer tells them."""
        layer = self.unroll(cell, return_sequences=False)
        return list(layer.compute_output_shape((BATCH, TIME, *self.features)))

    def inputs(self, rows=BATCH, time=TIME, seed=2):
        return self.entry.draw("inputs", np.random.default_rng(seed), (rows, time, *self.features))

    def states(self, rows=BATCH, seed=3):
        rng = np.random.default_rng(seed)
        start = tf.nest.flatten(self.cell.get_initial_state(batch_size=rows))
        return [self.entry.draw(f"states/{i}", rng, tuple(state.shape)) for i, state in enumerate(start)]

    def tensors(self, rows=BATCH, time=TIME, mask=None):
        """Inputs, initial states and mask as `gradients` and the functions below take them."""
        mask = np.ones((rows, time), bool) if mask is None else np.array(mask, bool)
        dtype = self.cell.compute_dtype
        return tf.cast(self.inputs(rows, time), dtype), [tf.cast(s, dtype) for s in self.states(rows)], mask

    def signature(self, rows=None, time=None):
        """Of functions of `tensors`, where rows and time may be unknown."""
        states = [tf.TensorSpec((rows, *s.shape[1:]), self.dtype) for s in self.states()]
        return (
            tf.TensorSpec((rows, time, *self.features), self.dtype),
            states,
            tf.TensorSpec((rows, time), tf.bool),
        )

    def gradients(self, run, x, start, mask):
        """Outputs of `run(x, start, mask)`, and the gradients of a weighted sum of them all.

        With respect to the inputs, the initial states and the weights; zero where there is none.
        """
        sources = [x, *start]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            outputs = run(x, start, mask)
            loss = weighted_sum(outputs)
        weights = [weight.value for weight in self.cell.trainable_weights]
        found = tape.gradient(loss, [*sources, *weights], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return {"outputs": outputs, "gradients": found}

    def slope(self, i, direction, x, start, mask, step=1e-6):
        """Of the weighted sum of the engine's outputs along a direction of source number i of `gradients`."""
        sources = [x, *start]
        ends = []
        for sign in (1, -1):
            moved = list(sources)
            weight = None if i < len(sources) else self.cell.trainable_weights[i - len(sources)]
            if weight is None:
                moved[i] = moved[i] + sign * step * direction
            else:
                before = weight.numpy()
                weight.assign(before + sign * step * direction)
            ends.append(float(weighted_sum(self.engine(moved[0], moved[1:], mask))))
            if weight is not None:
                weight.assign(before)
        return (ends[0] - ends[1]) / (2 * step)

    def function(self, run, rows=None, time=None, **kwargs):
        """`gradients` of `run`, traced."""
        return tf.function(
            lambda x, start, mask: self.gradients(run, x, start, mask),
            input_signature=self.signature(rows, time), autograph=False, **kwargs,
        )  # fmt: skip

    def engine(self, x, start, mask):
        return list(self.unrolled(x, initial_state=start, mask=mask))

    def engine_without_mask(self, x, start, mask):
        return list(self.unrolled(x, initial_state=start))

    def loop_by_hand(self, x, start, mask):
        """Outputs and gradients of the hand loop. Not traced: the program of so many steps takes longer to make."""
        return self.gradients(self.hand_loop, x, start, mask)

    def hand_loop(self, x, start, mask):
        """A step at a time through the cell's own `call`, the sequence and the states as Keras masks them."""
        states, outputs, last = start, [], None
        for t in range(x.shape[1]):
            output, new = self.cell(x[:, t], states)
            keep = mask[:, t]
            last = select(keep, output, tf.zeros_like(output) if last is None else last)
            states = [select(keep, n, s) for n, s in zip(tf.nest.flatten(new), states, strict=True)]
            outputs.append(last)
        return [tf.stack(outputs, 1), *states]

    # Traced once, used by several tests; where the tests ask for two cores, in two shards.

    @cached_property
    def unrolled(self):
        return self.unroll()

    @cached_property
    def traced_engine(self):
        """Of any number of rows and steps."""
        return self.function(self.engine)

    @cached_property
    def traced_engine_without_mask(self):
        """Of sizes that are known."""
        return self.function(self.engine_without_mask, ROWS, TIME)


def select(keep, new, old):
    return tf.where(tf.reshape(keep, (-1, *[1] * (len(new.shape) - 1))), new, old)


def named_weights(cell):
    """Weights by their own name; by their path below the cell where two have the same name."""
    names = [weight.name for weight in cell.weights]
    if len(set(names)) < len(names):
        names = [weight.path.rpartition(f"{cell.name}/")[2] for weight in cell.weights]
    assert len(set(names)) == len(names), f"{cell.name} has two weights of one name: {names}"
    return dict(zip(names, cell.weights, strict=True))
