"""The loop over time of a gated cell, and its back-propagation through time.

A gated cell is an input projection, a recurrent projection and a pointwise function between them:

    P_t = x_t W + b                      all steps in one product, before the loop (the caller's)
    R_t = h_{t-1} U + u                  the only matrix product inside the loop
    s_t = gates(P_t, R_t, s_{t-1})       pointwise; s = (h, ...) are the states

`scan` runs that loop with a hand-written gradient. The reverse loop asks `gates` for its vector-Jacobian product,
carries dh_{t-1} = dR_t U^T, and keeps dR_t. The weight gradients leave the loop: dU = sum_t h_{t-1}^T dR_t is one
product over all steps, where TensorFlow's own gradient of a loop would add a weight-sized array to an accumulator at
every step.
"""

from collections.abc import Sequence

import tensorflow as tf

from rnnapps.ops.execution import is_compiled_by_xla
from rnnapps.ops.gates import Gates

# Fewer turns of the loop cost less bookkeeping, more than five steps a turn cost compile time for nothing (measured).
_STEPS_PER_TURN = 5


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
        projected: `P`, `(time, batch, width)`.
        states: `s_0`, each `(batch, units)`, `h` first.
        recurrent_kernel: `U`, `(units, width)`. Its dtype is that of the matrix products; `P` and the states
            may be wider, which keeps the long sums over time in float32 when the products are in bfloat16.
            None: there is no recurrent projection.
        recurrent_bias: `u`, `(width,)`, in the dtype of `states`, or None.
        mask: Bool `(time, batch, 1)`; a False step keeps the states. None: no step is masked.
        weights: What else the gates use. Their gradients are summed step by step, so they should be small.
        recurrent_mask: `(batch, units)`: h_{t-1} is multiplied by it before the recurrent projection, the same at
            every step (Gal and Ghahramani, 2016, https://arxiv.org/abs/1512.05287).

    Returns:
        `h` after each step, `(time, batch, units)`, and the list of states after the last step.
    """
    kernels = tuple(t for t in (recurrent_kernel, recurrent_bias) if t is not None)

    @tf.custom_gradient
    def run(projected, kernels, start, weights):
        loop = _Loop(gates, projected, kernels, weights, mask, recurrent_mask)
        final = loop.forward(start)
        all_h = loop.history[0].stack()  # h_0 to h_T
        # XLA hands tensors from one program to the next, no arrays of tensors; inside a program stacking is free.
        packed = loop.pack() if is_compiled_by_xla() else None

        def gradient(d_h, *d_final):
            if packed is not None:
                loop.unpack(packed)
            return loop.backward(all_h[:-1], d_h, d_final)

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
) -> list[tf.Tensor]:
    """The states after one step: no loop, no saved arrays. `projected` is `(batch, width)`; the rest as in `scan`."""
    kernels = tuple(t for t in (recurrent_kernel, recurrent_bias) if t is not None)
    return gates.forward(projected, _recurrent(states[0], kernels), states, weights)[0]


class _Loop:
    """One run over a sequence and back.

    Attributes:
        history: Filled by `forward`, one array per state: s_0 to s_T.
        kept: The same, one array per tensor that the gates keep of a step.
    """

    def __init__(self, gates, projected, kernels, weights, mask, recurrent_mask):
        self.gates, self.kernels, self.weights, self.recurrent_mask = gates, kernels, weights, recurrent_mask
        self.time = _length(projected)
        self.projected = _unstack(projected)
        self.masks = () if mask is None else (_unstack(mask),)
        self.history: tuple = ()
        self.kept: tuple = ()

    def forward(self, start):
        """Runs the loop; returns the final states."""

        def body(t, states, history, kept):
            new, values = self._step(t, states)
            if self.masks:
                keep = self.masks[0].read(t)
                new = [tf.where(keep, n, s) for n, s in zip(new, states, strict=True)]
            history = tuple(array.write(t + 1, state) for array, state in zip(history, new, strict=True))
            kept = tuple(array.write(t, value) for array, value in zip(kept, values, strict=True))
            return tuple(new), history, kept

        history = tuple(_array(state, self.time + 1).write(0, state) for state in start)
        _, like = self._step(0, start)  # for shapes alone: a graph drops it
        kept = tuple(_array(value, self.time) for value in like)
        states, history, kept = _repeat(self.time, body, start, history, kept)
        # `identity` tells TensorFlow that an array is used, though without a gradient nothing reads it.
        self.history, self.kept = (tuple(array.identity() for array in arrays) for arrays in (history, kept))
        return states

    def pack(self):
        """All arrays that `backward` reads, as tensors."""
        arrays = self.projected, self.masks, self.history, self.kept
        return tf.nest.map_structure(lambda array: array.stack(), arrays)

    def unpack(self, packed):
        """Takes back what `pack` returned."""
        self.projected, self.masks, self.history, self.kept = tf.nest.map_structure(_unstack, packed)

    def _step(self, t, states):
        h = states[0] if self.recurrent_mask is None else states[0] * self.recurrent_mask
        return self.gates.forward(self.projected.read(t), _recurrent(h, self.kernels), states, self.weights)

    def backward(self, h_before, d_h, d_final):
        """Back-propagation through time; returns the gradients of P, U, u, s_0 and the weights."""
        upstream = _unstack(d_h)
        transposed = tf.transpose(self.kernels[0]) if self.kernels else None
        two = bool(self.kernels) and not self.gates.shares_gradient  # dP and dR differ

        def body(i, d_states, d_rows, d_recurrents, d_weights):
            t = self.time - 1 - i
            d_states = [d_states[0] + upstream.read(t), *d_states[1:]]
            d_row, d_recurrent, d_states, more = self._step_gradient(t, d_states, transposed)
            d_rows = d_rows.write(t, d_row)
            d_recurrents = d_recurrents.write(t, d_recurrent) if two else d_recurrents
            return d_states, d_rows, d_recurrents, tuple(d + m for d, m in zip(d_weights, more, strict=True))

        d_row, d_recurrent, _, _ = self._step_gradient(0, d_final, transposed)  # for shapes alone
        d_rows = _array(d_row, self.time)
        d_recurrents = _array(d_recurrent, self.time) if two else ()
        d_weights = tuple(tf.zeros_like(weight) for weight in self.weights)
        d_start, d_rows, d_recurrents, d_weights = _repeat(self.time, body, d_final, d_rows, d_recurrents, d_weights)
        d_projected = d_rows.stack()
        d_recurrent = d_recurrents.stack() if two else d_projected
        return [d_projected, *self._kernel_gradients(h_before, d_recurrent), *d_start, *d_weights]

    def _step_gradient(self, t, d_after, transposed):
        """The gradients of P_t, R_t, s_{t-1} and the weights."""
        before = [array.read(t) for array in self.history]
        after = [array.read(t + 1) for array in self.history]
        kept = [array.read(t) for array in self.kept]
        d_new, d_skipped = list(d_after), None
        if self.masks:
            keep = self.masks[0].read(t)
            d_new = [tf.where(keep, d, tf.zeros_like(d)) for d in d_after]
            d_skipped = [tf.where(keep, tf.zeros_like(d), d) for d in d_after]
        d_row, d_recurrent, d_before, d_weights = self.gates.backward(
            self.projected.read(t), kept, before, after, self.weights, d_new
        )
        if transposed is not None:
            d_h = _product(d_recurrent, transposed)
            d_h = d_h if self.recurrent_mask is None else d_h * self.recurrent_mask
            d_before = [d_h if d_before[0] is None else d_before[0] + d_h, *d_before[1:]]
        if d_skipped is not None:
            d_before = [d + s for d, s in zip(d_before, d_skipped, strict=True)]
        return d_row, d_recurrent, tuple(d_before), d_weights

    def _kernel_gradients(self, h_before, d_recurrent):
        if not self.kernels:
            return []
        kernel, *biases = self.kernels
        h_before = h_before if self.recurrent_mask is None else h_before * self.recurrent_mask
        d_kernel = _sum_of_products(tf.cast(h_before, kernel.dtype), tf.cast(d_recurrent, kernel.dtype))
        return [d_kernel, *(tf.reduce_sum(d_recurrent, axis=(0, 1)) for _ in biases)]


def _array(like, size):
    return tf.TensorArray(like.dtype, size=size, element_shape=like.shape, clear_after_read=False)


def _unstack(sequence):
    return _array(sequence[0], _length(sequence)).unstack(sequence)


def _length(sequence):
    return sequence.shape[0] if sequence.shape[0] is not None else tf.shape(sequence)[0]


def _repeat(times, body, *carry):
    """`carry = body(i, *carry)` for i from 0 to `times` - 1, several steps to a turn of the loop."""

    def turn(steps):
        def run(i, *carry):
            for _ in range(steps):
                carry = body(i, *carry)
                i += 1
            return i, *carry

        return run

    many = times - times % _STEPS_PER_TURN
    i, *carry = tf.while_loop(lambda i, *_: i < many, turn(_STEPS_PER_TURN), (tf.constant(0), *carry))
    if isinstance(times, int):
        _, *carry = turn(times - many)(i, *carry)
    else:
        _, *carry = tf.while_loop(lambda i, *_: i < times, turn(1), (i, *carry))
    return carry


def _recurrent(h, kernels):
    """R = h U + u."""
    if not kernels:
        return None
    kernel, *bias = kernels
    product = _product(h, kernel)
    return product + bias[0] if bias else product


def _product(x, kernel):
    """A product in the dtype of the kernel, returned in that of `x`."""
    return tf.cast(tf.matmul(tf.cast(x, kernel.dtype), kernel), x.dtype)


def _sum_of_products(left, right):
    """sum_t left_t^T right_t over time and batch: `(T, B, M)`, `(T, B, N)` -> `(M, N)`, one matrix product."""
    left = tf.reshape(left, (-1, left.shape[-1]))
    right = tf.reshape(right, (-1, right.shape[-1]))
    return tf.matmul(left, right, transpose_a=True)
