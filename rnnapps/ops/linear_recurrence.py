"""Linear recurrences over time, element by element, for all steps at once, with their gradient.

    h_t = a_t h_{t-1} + b_t

Where a and b do not depend on h, two steps in a row are one step of the same kind:

    (a_2, b_2) after (a_1, b_1) = (a_1 a_2, a_2 b_1 + b_2)

so that the steps can be taken in any grouping, and side by side. Three forms, of which `_form` picks one:

- `_in_blocks`: time is cut into blocks; a step of all blocks is one operation; then the blocks are joined.
- `_in_steps`: a loop over time, the fastest where a compiler makes one pass over the memory of it.
- `_in_a_tree`: pairs of steps, pairs of pairs and so on, for a device on which a turn of a loop is dear.

All of them multiply and add, and divide by nothing, so that any a from 0 to 1 is safe.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from rnnapps.ops.execution import is_compiled_by_xla

# Steps of a block where the number of steps is not known before the data.
_USUAL_BLOCK = 32


def linear_recurrence(decay: tf.Tensor, inputs: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """All h_t of h_t = a_t h_{t-1} + b_t, and the last one.

    The gradient is such a recurrence as well, backwards in time: with g_t the gradient that reaches h_t from outside,

        G_t = g_t + a_{t+1} G_{t+1}      db_t = G_t      da_t = G_t h_{t-1}      dh_0 = a_1 G_1

    Args:
        decay: `a`, `(time, batch, units)`.
        inputs: `b`, the same.
        start: `h_0`, `(batch, units)`.

    Returns:
        `h_1` to `h_T`, `(time, batch, units)`, and `h_T`, `(batch, units)`.

    Raises:
        ValueError: Where the shapes do not go together.
    """
    steps = decay.shape.merge_with(inputs.shape)
    steps = steps[:1].concatenate(steps[1:].merge_with(start.shape))
    solve = _form(steps[0])

    @tf.custom_gradient
    def run(a: tf.Tensor, b: tf.Tensor, start: tf.Tensor) -> tuple[_Pair, Callable]:
        states, last = solve(a, b, start, False)

        def gradient(d_states: tf.Tensor, d_last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            before = tf.concat([start[tf.newaxis], states[:-1]], 0)
            d_b, d_start = solve(a, d_states, tf.ensure_shape(d_last, start.shape), True)
            return d_b * before, d_b, d_start

        return (states, last), gradient

    states, last = run(tf.ensure_shape(decay, steps), tf.ensure_shape(inputs, steps), tf.ensure_shape(start, steps[1:]))
    return states, last


# A form takes (a, b, start, backwards) and returns all h_t and the last one; or backwards, from `start` = the gradient
# that reaches h_T as the last state, all G_t and dh_0.
_Pair = tuple[tf.Tensor, tf.Tensor]
_Form = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, bool], _Pair]


def _form(time: int | None) -> _Form:
    if not is_compiled_by_xla():
        return _in_blocks
    if time is not None and tf.config.list_physical_devices("GPU"):
        return _in_a_tree
    return _in_steps


def _step(a: tf.Tensor, b: tf.Tensor, carry: tf.Tensor, backwards: bool) -> _Pair:
    """What a step puts out, and what it hands on. Backwards that is q_t = a_t G_t, with G_t = b_t + q_{t+1}."""
    if backwards:
        output = b + carry
        return output, a * output
    output = a * carry + b
    return output, output


def _in_steps(a: tf.Tensor, b: tf.Tensor, start: tf.Tensor, backwards: bool) -> _Pair:
    time = _length(a)
    arrays = [tf.TensorArray(t.dtype, time, element_shape=t.shape[1:]).unstack(t) for t in (a, b)]

    def body(i: tf.Tensor, carry: tf.Tensor, outputs: tf.TensorArray) -> tuple:
        t = time - 1 - i if backwards else i
        output, carry = _step(arrays[0].read(t), arrays[1].read(t), carry, backwards)
        return i + 1, carry, outputs.write(t, output)

    outputs = tf.TensorArray(a.dtype, time, element_shape=start.shape)
    _, carry, outputs = tf.while_loop(lambda i, *_: i < time, body, (0, start, outputs))
    return outputs.stack(), carry


def _in_blocks(a: tf.Tensor, b: tf.Tensor, start: tf.Tensor, backwards: bool) -> _Pair:
    """All blocks a step at a time, each from zero; then what enters each block, and what that adds to its steps."""
    time = _length(a)
    size = _block_size(a.shape[0])
    a, b = _cut(a, size, 1.0), _cut(b, size, 0.0)
    local, product = tf.zeros_like(a[0]), tf.ones_like(a[0])
    outputs, products = [], []
    for a_j, b_j in reversed(list(zip(a, b, strict=True))) if backwards else zip(a, b, strict=True):
        output, local = _step(a_j, b_j, local, backwards)
        outputs.append(output)
        products.append(product if backwards else a_j * product)
        product = a_j * product
    entering, last = _through_blocks(product, local, start, backwards)
    joined = [output + product * entering for output, product in zip(outputs, products, strict=True)]
    joined = tf.stack(joined[::-1] if backwards else joined, 1)  # (blocks, size, batch, units)
    return tf.reshape(joined, tf.concat([[-1], tf.shape(start)], 0))[:time], last


def _through_blocks(product: tf.Tensor, local: tf.Tensor, start: tf.Tensor, backwards: bool) -> _Pair:
    """What enters each block, and what leaves the last, if a block makes `product * x + local` of x."""
    count = _length(product)

    def body(i: tf.Tensor, carry: tf.Tensor, entering: tf.TensorArray) -> tuple:
        block = count - 1 - i if backwards else i
        return i + 1, product[block] * carry + local[block], entering.write(block, carry)

    entering = tf.TensorArray(start.dtype, count, element_shape=start.shape)
    _, carry, entering = tf.while_loop(lambda i, *_: i < count, body, (0, start, entering))
    return entering.stack(), carry


def _cut(sequence: tf.Tensor, size: int, neutral: float) -> list[tf.Tensor]:
    """Each step of all blocks: `size` times `(blocks, batch, units)`. Neutral steps fill the last block."""
    missing = -_length(sequence) % size
    if not (isinstance(missing, int) and missing == 0):
        sequence = tf.pad(sequence, [[0, missing], [0, 0], [0, 0]], constant_values=neutral)
    blocks = tf.reshape(sequence, tf.concat([[-1, size], tf.shape(sequence)[1:]], 0))
    return tf.unstack(blocks, size, axis=1)


def _block_size(time: int | None) -> int:
    """About the root of the number of steps, so that inside and across blocks there are as many; best without rest."""
    if time is None or time <= 16:
        return time or _USUAL_BLOCK
    without_rest = [size for size in range(8, 65) if time % size == 0]
    return min(without_rest or [_USUAL_BLOCK], key=lambda size: abs(size - math.sqrt(time)))


def _in_a_tree(a: tf.Tensor, b: tf.Tensor, start: tf.Tensor, backwards: bool) -> _Pair:
    if backwards:
        later = tf.concat([a[1:], tf.ones_like(a[:1])], 0)  # G_t takes a_{t+1}, and the last one all of `start`
        outputs, first = _in_a_tree(tf.reverse(later, [0]), tf.reverse(b, [0]), start, False)
        return tf.reverse(outputs, [0]), a[0] * first
    b = tf.concat([b[:1] + a[:1] * start, b[1:]], 0)
    outputs = _pairwise(a, b)[1]
    return outputs, outputs[-1]


def _pairwise(a: tf.Tensor, b: tf.Tensor) -> _Pair:
    """Each step together with all steps before it."""
    time = a.shape[0]
    if time == 1:
        return a, b
    odd_a, odd_b = _pairwise(a[1::2] * a[: time - 1 : 2], a[1::2] * b[: time - 1 : 2] + b[1::2])
    before = (time - 1) // 2  # of the even steps, all but the first follow an odd one
    even_a = tf.concat([a[:1], a[2::2] * odd_a[:before]], 0)
    even_b = tf.concat([b[:1], a[2::2] * odd_b[:before] + b[2::2]], 0)
    return _interleave(even_a, odd_a), _interleave(even_b, odd_b)


def _interleave(even: tf.Tensor, odd: tf.Tensor) -> tf.Tensor:
    pairs = odd.shape[0]
    woven = tf.reshape(tf.stack([even[:pairs], odd], 1), tf.concat([[2 * pairs], tf.shape(odd)[1:]], 0))
    return tf.concat([woven, even[pairs:]], 0)


def _length(sequence: tf.Tensor) -> int | tf.Tensor:
    return sequence.shape[0] if sequence.shape[0] is not None else tf.shape(sequence)[0]
