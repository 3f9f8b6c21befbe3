"""The loop over time of a gated cell, and its back-propagation through time.

A gated cell is an input projection, a recurrent projection and a pointwise function between them:

    P_t = x_t W + b                      all steps in one product, before the loop (the caller's)
    R_t = h_{t-1} U + u                  the only matrix product, or convolution, inside the loop
    s_t = gates(P_t, R_t, s_{t-1})       pointwise; s = (h, ...) are the states

`scan` runs that loop with a hand-written gradient. The reverse loop asks `gates` for its vector-Jacobian product,
carries dh_{t-1} = dR_t U^T, and keeps dR_t. The weight gradients leave the loop: dU = sum_t h_{t-1}^T dR_t is one
product over all steps, where TensorFlow's own gradient of a loop would add a weight-sized array to an accumulator at
every step.
"""

from collections.abc import Sequence

import tensorflow as tf

from rnnapps.ops.execution import is_being_saved, is_compiled_by_xla, is_recorded
from rnnapps.ops.gates import Gates
from rnnapps.ops.projection import sum_of_rows
from rnnapps.ops.recurrent_product import kernel_gradient, product, transposed
from rnnapps.ops.time_loop import length, over, time_array


def scan(
    gates: Gates,
    projected: tf.Tensor,
    states: Sequence[tf.Tensor],
    recurrent_kernel: tf.Tensor | None = None,
    recurrent_bias: tf.Tensor | None = None,
    mask: tf.Tensor | None = None,
    weights: Sequence[tf.Tensor] = (),
    recurrent_mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The sequence of `h` and the final states of s_t = gates(P_t, h_{t-1} U + u, s_{t-1}).

    Args:
        gates: The pointwise part, with its gradient.
        projected: `P`, `(time, batch, width)`, or with more axes after the batch.
        states: `s_0`, each `(batch, units)`, or with more axes after the batch, `h` first.
        recurrent_kernel: `U`, `(units, width)`. Its dtype is that of the matrix products; `P` and the states
            may be wider, which keeps the long sums over time in float32 when the products are in bfloat16.
            `(rows, columns, channels, width)`: a window that is moved over h, `(batch, height, width, channels)`.
            None: there is no recurrent projection.
        recurrent_bias: `u`, `(width,)`, in the dtype of `states`, or None.
        mask: Bool `(time, batch, 1)`, of the rank of `projected`; a False step keeps the states. None: no step is
            masked.
        weights: What else the gates use. Their gradients are summed step by step, so they should be small.
        recurrent_mask: `(batch, units)`: h_{t-1} is multiplied by it before the recurrent projection, the same at
            every step (Gal and Ghahramani, 2016, https://arxiv.org/abs/1512.05287). `(batch, n * units)`: n masks,
            each for its share of the columns of `U`, which is a gate's where there are n gates.

    Returns:
        `h` after each step, `(time, batch, units)`, and the list of states after the last step.
    """
    kernels = tuple(t for t in (recurrent_kernel, recurrent_bias) if t is not None)

    # A trace without a tape may get a gradient later, from a tape around its function: then it runs again, and keeps.
    keeps = is_recorded() and not is_being_saved()

    @tf.custom_gradient
    def run(projected, kernels, start, weights):
        loop = _Loop(gates, projected, kernels, weights, mask, recurrent_mask)
        final = loop.forward(start, keeps)
        all_h = loop.history[0].stack()  # h_0 to h_T
        # XLA hands tensors from one program to the next, no arrays of tensors; inside a program stacking is free.
        packed = loop.pack() if keeps and is_compiled_by_xla() else None

        def gradient(d_h, *d_final):
            reverse = loop
            if packed is not None:
                loop.unpack(packed)
            # A gradient in a SavedModel can take tensors from the forward function, no arrays: it runs it again.
            elif not keeps or is_being_saved():
                reverse = _Loop(gates, projected, kernels, weights, mask, recurrent_mask)
                reverse.forward(start, True)
            return reverse.backward(all_h[:-1], d_h, d_final)

        return [all_h[1:], *final], gradient

    sequence, *final = run(projected, kernels, tuple(states), tuple(weights))
    return sequence, final


def step(
    gates: Gates,
    projected: tf.Tensor,
    states: Sequence[tf.Tensor],
    recurrent_kernel: tf.Tensor | None = None,
    recurrent_bias: tf.Tensor | None = None,
    weights: Sequence[tf.Tensor] = (),
    recurrent_mask: tf.Tensor | None = None,
) -> list[tf.Tensor]:
    """The states after one step: no loop, no saved arrays. `projected` is `(batch, width)`; the rest as in `scan`."""
    kernels = tuple(t for t in (recurrent_kernel, recurrent_bias) if t is not None)
    return gates.forward(projected, _recurrent(states[0], _columns(kernels, recurrent_mask), kernels), states, weights)[
        0
    ]


class _Loop:
    """One run over a sequence and back.

    Attributes:
        history: Filled by `forward`, one array per state: s_0 to s_T. Where nothing is kept, h alone.
        kept: The same, one array per tensor that the gates keep of a step.
    """

    def __init__(self, gates, projected, kernels, weights, mask, recurrent_mask):
        self.gates, self.kernels, self.weights = gates, kernels, weights
        self.columns = _columns(kernels, recurrent_mask)
        self.projected, self.masks = projected, [] if mask is None else [mask]
        self.time = length(projected)
        self.history: tuple = ()
        self.kept: tuple = ()

    def forward(self, start, keeps):
        """Runs the loop; returns the final states."""

        def body(t, rows, states, history, kept):
            new, values = self._step(rows[0], states)
            for keep in rows[1:]:
                new = [tf.where(keep, n, s) for n, s in zip(new, states, strict=True)]
            history = tuple(array.write(t + 1, state) for array, state in zip(history, new, strict=False))
            if keeps:
                kept = tuple(array.write(t, value) for array, value in zip(kept, values, strict=True))
            return tuple(new), history, kept

        written = start if keeps else start[:1]
        history = tuple(time_array(state, self.time + 1).write(0, state) for state in written)
        _, like = self._step(self.projected[0], start)  # for shapes alone: a graph drops it
        kept = tuple(time_array(value, self.time) for value in like) if keeps else ()
        states, history, kept = over([self.projected, *self.masks], body, start, history, kept)
        # `identity` tells TensorFlow that an array is used, though without a gradient nothing reads it.
        self.history, self.kept = (tuple(array.identity() for array in arrays) for arrays in (history, kept))
        return states

    def pack(self):
        """The arrays that `backward` reads, as tensors."""
        return tf.nest.map_structure(lambda array: array.stack(), (self.history, self.kept))

    def unpack(self, packed):
        """Takes back what `pack` returned."""
        self.history, self.kept = tf.nest.map_structure(_unstack, packed)

    def _step(self, row, states):
        return self.gates.forward(row, _recurrent(states[0], self.columns, self.kernels), states, self.weights)

    def backward(self, h_before, d_h, d_final):
        """Back-propagation through time; returns the gradients of P, U, u, s_0 and the weights."""
        back = [(mask, transposed(kernel)) for mask, kernel in self.columns]
        two = bool(self.kernels) and not self.gates.shares_gradient  # dP and dR differ
        # P is the largest of all: where the gates do not read it, it is gone after the way there.
        known = [*self.masks, *([self.projected] if self.gates.reads_projected else [])]

        def body(t, rows, d_states, d_rows, d_recurrents, d_weights):
            upstream, *rows = rows
            d_states = [d_states[0] + upstream, *d_states[1:]]
            d_row, d_recurrent, d_states, more = self._step_gradient(t, rows, d_states, back)
            d_rows = d_rows.write(t, d_row)
            d_recurrents = d_recurrents.write(t, d_recurrent) if two else d_recurrents
            return d_states, d_rows, d_recurrents, tuple(d + m for d, m in zip(d_weights, more, strict=True))

        like = [sequence[0] for sequence in known]
        d_row, d_recurrent, _, _ = self._step_gradient(0, like, d_final, back)  # for shapes alone
        carry = (
            d_final,
            time_array(d_row, self.time),
            time_array(d_recurrent, self.time) if two else (),
            tuple(tf.zeros_like(weight) for weight in self.weights),
        )
        d_start, d_rows, d_recurrents, d_weights = over([d_h, *known], body, *carry, backwards=True)
        d_projected = d_rows.stack()
        d_recurrent = d_recurrents.stack() if two else d_projected
        return [d_projected, *self._kernel_gradients(h_before, d_recurrent), *d_start, *d_weights]

    def _step_gradient(self, t, rows, d_after, back):
        """The gradients of P_t, R_t, s_{t-1} and the weights."""
        row = rows[-1] if self.gates.reads_projected else None
        before = [array.read(t) for array in self.history]
        after = [array.read(t + 1) for array in self.history]
        kept = [array.read(t) for array in self.kept]
        d_new, d_skipped = list(d_after), None
        for keep in rows[: len(self.masks)]:
            d_new = [tf.where(keep, d, tf.zeros_like(d)) for d in d_after]
            d_skipped = [tf.where(keep, tf.zeros_like(d), d) for d in d_after]
        d_row, d_recurrent, d_before, d_weights = self.gates.backward(row, kept, before, after, self.weights, d_new)
        for (h_mask, to_state), d_part in zip(back, _parts(d_recurrent, len(back)), strict=True):
            d_h = _masked(to_state(d_part), h_mask)
            d_before = [d_h if d_before[0] is None else d_before[0] + d_h, *d_before[1:]]
        if d_skipped is not None:
            d_before = [d + s for d, s in zip(d_before, d_skipped, strict=True)]
        return d_row, d_recurrent, tuple(d_before), d_weights

    def _kernel_gradients(self, h_before, d_recurrent):
        if not self.kernels:
            return []
        kernel, *biases = self.kernels
        d_parts = _parts(d_recurrent, len(self.columns))
        d_kernels = [
            kernel_gradient(_masked(h_before, mask), d_part, part)
            for (mask, part), d_part in zip(self.columns, d_parts, strict=True)
        ]
        return [_joined(d_kernels), *(sum_of_rows(tf.reshape(d_recurrent, (-1, kernel.shape[-1]))) for _ in biases)]


def _unstack(sequence):
    return time_array(sequence[0], length(sequence)).unstack(sequence)


def _columns(kernels, mask=None):
    """The columns of U in groups with a mask of h each, None for no mask."""
    if not kernels:
        return []
    if mask is None:
        return [(None, kernels[0])]
    count = mask.shape[-1] // kernels[0].shape[-2]
    return list(zip(_parts(mask, count), _parts(kernels[0], count), strict=True))


def _recurrent(h, columns, kernels):
    """R = h U + u."""
    if not columns:
        return None
    projected = _joined([product(_masked(h, mask), kernel) for mask, kernel in columns])
    return projected + kernels[1] if len(kernels) > 1 else projected


def _masked(h, mask):
    return h if mask is None else h * mask


def _parts(tensor, count):
    return [tensor] * count if count < 2 else tf.split(tensor, count, axis=-1)


def _joined(tensors):
    return tensors[0] if len(tensors) == 1 else tf.concat(tensors, axis=-1)
