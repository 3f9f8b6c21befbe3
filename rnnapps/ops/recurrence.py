"""The loop over time of a gated cell, and its back-propagation through time.

A gated cell is an input projection, a recurrent projection and a pointwise function between them:

    P_t = x_t W + b                      all steps in one product, before the loop (the caller's)
    R_t = h_{t-1} U + u                  the only matrix product inside the loop
    s_t = gates(P_t, R_t, s_{t-1})       pointwise; s = (h, ...) are the states

`scan` runs that loop with a hand-written gradient. The reverse loop asks automatic differentiation only for the
vector-Jacobian product of `gates`, carries dh_{t-1} = dR_t U^T, and keeps dR_t. The weight gradients leave the loop:
dU = sum_t h_{t-1}^T dR_t is one product over all steps, where TensorFlow's own gradient of a loop would add a
weight-sized array to an accumulator at every step.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

Gates = Callable[[tf.Tensor, tf.Tensor, Sequence[tf.Tensor]], Sequence[tf.Tensor]]

# Steps per turn of the loop, the first that divides the number of steps: fewer turns cost less bookkeeping, more than
# five cost compile time for nothing (measured).
_STEPS_PER_TURN = (5, 4, 3, 2)


def scan(
    gates: Gates,
    projected: tf.Tensor,
    states: Sequence[tf.Tensor],
    recurrent_kernel: tf.Tensor,
    recurrent_bias: tf.Tensor | None = None,
    mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The sequence of `h` and the final states of s_t = gates(P_t, h_{t-1} U + u, s_{t-1}).

    `gates` is differentiated with respect to its three arguments only: weights that it closes over get no gradient.

    Args:
        gates: Pointwise function `(P_t, R_t, states) -> new states`, the output `h` first.
        projected: `P`, `(time, batch, width)`.
        states: `s_0`, each `(batch, units)`, `h` first.
        recurrent_kernel: `U`, `(units, width)`. Its dtype is that of the matrix products; `P` and the states
            may be wider, which keeps the long sums over time in float32 when the products are in bfloat16.
        recurrent_bias: `u`, `(width,)`, in the dtype of `states`, or None.
        mask: Bool `(time, batch, 1)`; a False step keeps the states. None: no step is masked.

    Returns:
        `h` after each step, `(time, batch, units)`, and the list of states after the last step.
    """
    biases = [] if recurrent_bias is None else [recurrent_bias]

    @tf.custom_gradient
    def run(projected, kernel, *rest):
        bias, start = (rest[0], rest[1:]) if biases else (None, rest)
        rows = _unstack(projected)
        masks = None if mask is None else _unstack(mask)
        final, history, recurrents = _forward(gates, projected, rows, masks, start, kernel, bias)
        all_h = history[0].stack()

        def gradient(d_h, *d_final):
            d_projected, d_recurrent, d_start = _backward(
                gates, projected, rows, masks, kernel, history, recurrents, d_h, d_final
            )
            d_kernel = _sum_of_products(tf.cast(all_h[:-1], kernel.dtype), tf.cast(d_recurrent, kernel.dtype))
            d_bias = [tf.reduce_sum(d_recurrent, axis=(0, 1))] if biases else []
            return [d_projected, d_kernel, *d_bias, *d_start]

        return [all_h[1:], *final], gradient

    sequence, *final = run(projected, recurrent_kernel, *biases, *states)
    return sequence, final


def step(
    gates: Gates,
    projected: tf.Tensor,
    states: Sequence[tf.Tensor],
    recurrent_kernel: tf.Tensor,
    recurrent_bias: tf.Tensor | None = None,
) -> list[tf.Tensor]:
    """The states after one step: no loop, no saved arrays. `projected` is `(batch, width)`; the rest as in `scan`."""
    return list(gates(projected, _project(states[0], recurrent_kernel, recurrent_bias), states))


def _project(h, kernel, bias):
    recurrent = tf.cast(tf.matmul(tf.cast(h, kernel.dtype), kernel), h.dtype)
    return recurrent if bias is None else recurrent + bias


def _forward(gates, projected, rows, masks, start, kernel, bias):
    """Runs the loop; returns the final states, s_0 to s_T of each state and R_1 to R_T as TensorArrays."""
    time = _length(projected)
    history = tuple(_array(s.dtype, time + 1, s.shape).write(0, s) for s in start)
    recurrents = _array(start[0].dtype, time, projected.shape[1:])

    def body(t, states, history, recurrents):
        for _ in range(_steps_per_turn(projected)):
            recurrent = _project(states[0], kernel, bias)
            new = gates(rows.read(t), recurrent, states)
            if masks is not None:
                new = [tf.where(masks.read(t), n, s) for n, s in zip(new, states, strict=True)]
            states = tuple(new)
            recurrents = recurrents.write(t, recurrent)
            t += 1
            history = tuple(a.write(t, s) for a, s in zip(history, states, strict=True))
        return t, states, history, recurrents

    _, final, history, recurrents = tf.while_loop(
        lambda t, *_: t < time, body, (tf.constant(0), tuple(start), history, recurrents)
    )
    return final, history, recurrents


def _backward(gates, projected, rows, masks, kernel, history, recurrents, d_h, d_final):
    """Back-propagation through time; returns dP and dR over time, and the gradient of the initial states."""
    time = _length(projected)
    upstream = _unstack(d_h)
    d_rows = _array(projected.dtype, time, projected.shape[1:])
    d_recurrents = _array(d_h.dtype, time, projected.shape[1:])
    kernel_transposed = tf.transpose(kernel)

    def body(t, d_states, d_rows, d_recurrents):
        for _ in range(_steps_per_turn(projected)):
            t -= 1
            d_states = [d_states[0] + upstream.read(t), *d_states[1:]]
            d_new, d_kept = d_states, None
            if masks is not None:
                keep = masks.read(t)
                d_new = [tf.where(keep, d, tf.zeros_like(d)) for d in d_states]
                d_kept = [tf.where(keep, tf.zeros_like(d), d) for d in d_states]
            before = [array.read(t) for array in history]
            d_row, d_recurrent, d_states = _gates_vjp(gates, rows.read(t), recurrents.read(t), before, d_new)
            d_states[0] += _project(d_recurrent, kernel_transposed, None)
            if d_kept is not None:
                d_states = [d + k for d, k in zip(d_states, d_kept, strict=True)]
            d_rows, d_recurrents = d_rows.write(t, d_row), d_recurrents.write(t, d_recurrent)
        return t, tuple(d_states), d_rows, d_recurrents

    _, d_start, d_rows, d_recurrents = tf.while_loop(
        lambda t, *_: t > 0, body, (tf.convert_to_tensor(time), tuple(d_final), d_rows, d_recurrents)
    )
    return d_rows.stack(), d_recurrents.stack(), d_start


def _gates_vjp(gates, row, recurrent, states, d_new):
    inputs = [row, recurrent, *states]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        new = gates(row, recurrent, states)
    d_row, d_recurrent, *d_states = tape.gradient(
        new, inputs, output_gradients=d_new, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return d_row, d_recurrent, d_states


def _sum_of_products(left, right):
    """sum_t left_t^T right_t over time and batch: `(T, B, M)`, `(T, B, N)` -> `(M, N)`, one matrix product."""
    left = tf.reshape(left, (-1, left.shape[-1]))
    right = tf.reshape(right, (-1, right.shape[-1]))
    return tf.matmul(left, right, transpose_a=True)


def _length(sequence):
    return sequence.shape[0] if sequence.shape[0] is not None else tf.shape(sequence)[0]


def _steps_per_turn(sequence):
    length = sequence.shape[0]
    return next((k for k in _STEPS_PER_TURN if length and length % k == 0), 1)


def _array(dtype, size, element_shape):
    return tf.TensorArray(dtype, size=size, element_shape=element_shape, clear_after_read=False)


def _unstack(sequence):
    return _array(sequence.dtype, _length(sequence), sequence.shape[1:]).unstack(sequence)
