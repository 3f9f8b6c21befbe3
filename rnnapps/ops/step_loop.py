"""The loop over time of any step, with the gradients of its matrices outside of the loop.

`recurrence` knows one form of step, that of a gated cell. A step here is any function of its inputs and states, such as
that of a decoder with attention; what it multiplies by matrices it asks for by name:

    outputs_t, s_t = step(product, x_t, s_{t-1}, constants)        product(name, u) = u W_name

Forward, the loop keeps the states and the products v = u W. In the reverse loop what lies between them is computed once
more and differentiated automatically, with respect to x_t, s_{t-1} and the constants, and to each v. Of those the loop
keeps u and dv, so that dW = sum_t u_t^T dv_t is one product over all steps, where TensorFlow's own gradient of a loop
would add an array of the size of W to an accumulator at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from rnnapps.ops.time_loop import length, over, time_array

Tensors = Sequence[tf.Tensor]
Product = Callable[[str, tf.Tensor], tf.Tensor]
Step = Callable[[Product, Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]
Kernels = Mapping[str, tf.Tensor]


def scan(
    step: Step, sequences: Tensors, states: Tensors, kernels: Kernels, constants: Tensors = ()
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Runs a step over sequences.

    Args:
        step: `(product, inputs, states, constants) -> (outputs, new states)`, a pure function of these. It asks for
            each product once.
        sequences: The inputs, each `(time, batch, ...)`; one at least.
        states: What the first step starts from, each `(batch, ...)`.
        kernels: By name, `(features, width)`, of products `(batch, features)`; or `(batch, features, width)`, a matrix
            for each row, of products `(batch, n, features)`. A product is in the dtype of its kernel.
        constants: What else the step reads, the same at every step. Their gradients are added up step by step.

    Returns:
        The outputs, each `(time, batch, ...)`, and the states after the last step.
    """
    names = list(kernels)

    @tf.custom_gradient
    def run(sequences, states, kernels, constants):
        loop = _Loop(step, dict(zip(names, kernels, strict=True)), constants)
        outputs, history, products, final = loop.forward(sequences, states)

        def gradient(*d_all):
            d_outputs, d_final = d_all[: len(outputs)], d_all[len(outputs) :]
            return loop.backward(sequences, history, products, d_outputs, d_final)

        return [*outputs, *final], gradient

    results = run(tuple(sequences), tuple(states), tuple(kernels.values()), tuple(constants))
    count = len(results) - len(states)
    return list(results[:count]), list(results[count:])


def plain_scan(
    step: Step, sequences: Tensors, states: Tensors, kernels: Kernels, constants: Tensors = ()
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """As `scan`, with TensorFlow's own gradient: the slow twin, for a step that is no pure function of these."""
    outputs, _, _, final = _Loop(step, kernels, constants).forward(sequences, states)
    return outputs, final


def multiply(kernels: Kernels) -> Product:
    """The products by these kernels, for one step of its own."""
    return lambda name, u: _product(u, kernels[name])


class _Loop:
    def __init__(self, step: Step, kernels: Kernels, constants: Tensors):
        self.step, self.kernels, self.constants = step, kernels, constants

    def forward(self, sequences, states):
        """The outputs of all steps, the states before each step, the products in them, and the last states."""
        times = length(sequences[0])

        def one(rows, states):
            found: dict[str, tf.Tensor] = {}

            def product(name, u):
                found[name] = _product(u, self.kernels[name])
                return found[name]

            outputs, new = self.step(product, rows, states, self.constants)
            return [outputs, list(states), [found[name] for name in self.kernels]], tuple(new)

        def body(t, rows, states, arrays):
            kept, states = one(rows, states)
            return states, tf.nest.map_structure(lambda array, value: array.write(t, value), arrays, kept)

        like, _ = one([sequence[0] for sequence in sequences], states)  # for shapes alone: a graph drops it
        arrays = tf.nest.map_structure(lambda value: time_array(value, times), like)
        states, arrays = over(sequences, body, tuple(states), arrays)
        return *tf.nest.map_structure(lambda array: array.stack(), arrays), list(states)

    def backward(self, sequences, history, products, d_outputs, d_final):
        """The gradients of the sequences, the first states, the kernels and the constants."""
        every = [list(sequences), list(history), list(products), list(d_outputs)]

        def body(t, rows, d_states, d_constants, arrays):
            d_rows, d_states, d_more, taps = self._step_gradient(tf.nest.pack_sequence_as(every, rows), d_states)
            d_constants = tuple(d + more for d, more in zip(d_constants, d_more, strict=True))
            kept = [*d_rows, *taps]
            return d_states, d_constants, tuple(array.write(t, one) for array, one in zip(arrays, kept, strict=True))

        first = tf.nest.map_structure(lambda sequence: sequence[0], every)
        d_rows, _, _, taps = self._step_gradient(first, d_final)  # for shapes alone
        arrays = tuple(time_array(like, length(sequences[0])) for like in [*d_rows, *taps])
        zeros = tuple(tf.zeros_like(constant) for constant in self.constants)
        d_states, d_constants, arrays = over(
            tf.nest.flatten(every), body, tuple(d_final), zeros, arrays, backwards=True
        )
        stacked = [array.stack() for array in arrays]
        d_kernels = self._kernel_gradients(stacked[len(d_rows) :])
        return [*stacked[: len(d_rows)], *d_states, *d_kernels, *d_constants]

    def _step_gradient(self, kept, d_states):
        """The gradients of a step's inputs, states and constants; and u and dv of each product."""
        rows, states, products, d_outputs = kept
        taps = {name: [None, tf.zeros_like(v)] for name, v in zip(self.kernels, products, strict=True)}
        known = dict(zip(self.kernels, products, strict=True))
        watched = [*rows, *states, *self.constants]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)

            def product(name, u):
                taps[name][0] = u
                return _known_product(known[name], self.kernels[name], taps[name])(u)

            outputs, new = self.step(product, rows, states, self.constants)
        gradients = tape.gradient(
            [*outputs, *new], watched, output_gradients=[*d_outputs, *d_states],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )  # fmt: skip
        ends = len(rows), len(rows) + len(states)
        pairs = [one for name in self.kernels for one in taps[name]]
        return gradients[: ends[0]], tuple(gradients[ends[0] : ends[1]]), gradients[ends[1] :], pairs

    def _kernel_gradients(self, kept):
        pairs = zip(kept[::2], kept[1::2], self.kernels.values(), strict=True)
        return [_kernel_gradient(u, dv, kernel) for u, dv, kernel in pairs]


def _product(u, kernel):
    return tf.cast(tf.matmul(tf.cast(u, kernel.dtype), kernel), u.dtype)


def _known_product(v, kernel, tap):
    """u to the product v that is known already; its gradient goes on to u, and stays in the tap."""

    @tf.custom_gradient
    def run(u):
        def gradient(dv):
            tap[1] = dv
            return tf.cast(tf.matmul(tf.cast(dv, kernel.dtype), kernel, transpose_b=True), u.dtype)

        return tf.identity(v), gradient

    return run


def _kernel_gradient(u, dv, kernel):
    u, dv = tf.cast(u, kernel.dtype), tf.cast(dv, kernel.dtype)
    if len(kernel.shape) == 2:
        u, dv = tf.reshape(u, (-1, u.shape[-1])), tf.reshape(dv, (-1, dv.shape[-1]))
        return tf.matmul(u, dv, transpose_a=True)
    return tf.matmul(_by_row(u), _by_row(dv), transpose_a=True)


def _by_row(sequence):
    """(time, batch, n, width) to (batch, time * n, width)."""
    shape = tf.shape(sequence)
    return tf.reshape(
        tf.transpose(sequence, (1, 0, 2, 3)), (shape[1], shape[0] * shape[2], sequence.shape[3] or shape[3])
    )
