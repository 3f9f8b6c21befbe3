"""The pointwise part of a recurrent step, with its gradient, as the loop of `recurrence` wants it.

A step is s_t = gates(P_t, R_t, s_{t-1}) with the input projection P_t and the recurrent projection R_t. A `Gates`
object computes it forward, says what it keeps, and computes the vector-Jacobian product from that. `AutomaticGates`
does so for any function; `LSTMGates` and `GRUGates` are written by hand, with half as many operations: on a processor
the many small operations of a step cost as much as its matrix product.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

Tensors = Sequence[tf.Tensor]


class Gates(Protocol):
    """What `recurrence.scan` wants of the pointwise part of a step.

    Attributes:
        shares_gradient: Whether only P_t + R_t counts, so that both have the same gradient and the loop stores one.
        reads_projected: Whether `backward` reads P_t: where it does not, P needs not be there any more.
    """

    shares_gradient: bool
    reads_projected: bool

    def forward(
        self, projected: tf.Tensor, recurrent: tf.Tensor | None, states: Tensors, weights: Tensors
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The new states, the output first, and what `backward` wants to have kept of this step.

        Args:
            projected: P_t, `(batch, width)`.
            recurrent: R_t, `(batch, recurrent width)`; None where the cell has no recurrent kernel.
            states: s_{t-1}.
            weights: Small weights that the gates use, such as peepholes.
        """

    def backward(
        self,
        projected: tf.Tensor | None,
        kept: Tensors,
        before: Tensors,
        after: Tensors,
        weights: Tensors,
        d_after: Tensors,
    ) -> tuple[tf.Tensor, tf.Tensor | None, list[tf.Tensor | None], list[tf.Tensor]]:
        """The gradients with respect to P_t, R_t, s_{t-1} and the weights.

        Args:
            projected: P_t; None where `reads_projected` is False.
            kept: As `forward` returned it.
            before: s_{t-1}.
            after: s_t; where a mask kept the state, s_{t-1}, and then `d_after` is zero.
            weights: As in `forward`.
            d_after: Gradient with respect to s_t.

        Returns:
            None stands for h_{t-1} where it counts through R_t only.
        """


class AutomaticGates:
    """Gates of any function, by automatic differentiation: a step's forward part is computed once more.

    Args:
        function: `(P_t, R_t, states, weights) -> new states`, the output first.
    """

    shares_gradient = False
    reads_projected = True

    def __init__(self, function: Callable[..., Tensors]):
        self.function = function

    def forward(self, projected, recurrent, states, weights):
        kept = [] if recurrent is None else [recurrent]
        return list(self.function(projected, recurrent, states, weights)), kept

    def backward(self, projected, kept, before, after, weights, d_after):
        inputs = [projected, *kept, *before, *weights]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            new = list(self.function(projected, kept[0] if kept else None, list(before), list(weights)))
        gradients = tape.gradient(
            new, inputs, output_gradients=list(d_after), unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        first = 1 + len(kept)
        last = first + len(before)
        return gradients[0], gradients[1] if kept else None, gradients[first:last], gradients[last:]


class ZoneoutGates:
    """Other gates, whose states are mixed with those before: s_t = d_t * s_{t-1} + (1 - d_t) * s'_t.

    d_t stands in the last columns of P_t; nothing flows back to it.

    Args:
        gates: Of s'_t.
        columns: How many columns of d_t each state has, in order: as many as the state itself or, for d_t = 0, none.
    """

    shares_gradient = False
    reads_projected = True

    def __init__(self, gates: Gates, columns: Sequence[int]):
        self.gates, self.columns = gates, columns

    def forward(self, projected, recurrent, states, weights):
        inner, shares = self._cut(projected)
        new, kept = self.gates.forward(inner, recurrent, states, weights)
        mixed = [s if d is None else d * old + (1 - d) * s for d, old, s in zip(shares, states, new, strict=True)]
        return mixed, [*kept, *(s for d, s in zip(shares, new, strict=True) if d is not None)]

    def backward(self, projected, kept, before, after, weights, d_after):
        inner, shares = self._cut(projected)
        count = len(kept) - sum(d is not None for d in shares)
        kept, unmixed = kept[:count], iter(kept[count:])
        new = [s if d is None else next(unmixed) for d, s in zip(shares, after, strict=True)]
        d_new = [d_s if d is None else (1 - d) * d_s for d, d_s in zip(shares, d_after, strict=True)]
        d_row, d_recurrent, d_before, d_weights = self.gates.backward(inner, kept, before, new, weights, d_new)
        d_kept = [None if d is None else d * d_s for d, d_s in zip(shares, d_after, strict=True)]
        d_before = [_sum(*both) for both in zip(d_before, d_kept, strict=True)]
        nothing = tf.zeros_like(projected[..., inner.shape[-1] :])
        return tf.concat([d_row, nothing], axis=-1), d_recurrent, d_before, d_weights

    def _cut(self, projected):
        """P_t of the inner gates, and d_t of each state, None where it has none."""
        width = projected.shape[-1] - sum(self.columns)
        inner, *shares = tf.split(projected, [width, *self.columns], axis=-1)
        return inner, [share if count else None for share, count in zip(shares, self.columns, strict=True)]


class LSTMGates:
    """The gates of an LSTM with tanh and sigmoid, in the order i, f, g, o.

    i, f, g, o = split(P_t + R_t)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)
    """

    shares_gradient = True
    reads_projected = False

    def forward(self, projected, recurrent, states, weights):
        z = projected + recurrent
        units = states[1].shape[-1]
        # One sigmoid over all columns, with those of g for nothing, is faster than a split before it.
        i, f, _, o = tf.split(tf.sigmoid(z), 4, axis=-1)
        g = tf.tanh(z[..., 2 * units : 3 * units])
        c = f * states[1] + i * g
        return [o * tf.tanh(c), c], [i, f, g, o]

    def backward(self, projected, kept, before, after, weights, d_after):
        i, f, g, o = kept
        d_h, d_c = d_after
        tanh_c = tf.tanh(after[1])
        d_c = d_c + _tanh_gradient(tanh_c, d_h * o)
        d_i = _sigmoid_gradient(i, d_c * g)
        d_f = _sigmoid_gradient(f, d_c * before[1])
        d_g = _tanh_gradient(g, d_c * i)
        d_o = _sigmoid_gradient(o, d_h * tanh_c)
        d_z = tf.concat([d_i, d_f, d_g, d_o], axis=-1)
        return d_z, d_z, [None, d_c * f], []


class GRUGates:
    """The gates of a GRU whose reset acts after the product, with tanh and sigmoid, in the order z, r, n.

    z, r = sigmoid(split(P_zr + R_zr))
    n = tanh(P_n + r * R_n)
    h_t = z * h_{t-1} + (1 - z) * n
    """

    shares_gradient = False
    reads_projected = False

    def forward(self, projected, recurrent, states, weights):
        units = states[0].shape[-1]
        zr = tf.sigmoid(projected[:, : 2 * units] + recurrent[:, : 2 * units])
        z, r = tf.split(zr, 2, axis=-1)
        r_n = recurrent[:, 2 * units :]
        n = tf.tanh(projected[:, 2 * units :] + r * r_n)
        return [n + z * (states[0] - n)], [zr, n, r_n]

    def backward(self, projected, kept, before, after, weights, d_after):
        zr, n, r_n = kept
        z, r = tf.split(zr, 2, axis=-1)
        d_h = d_after[0]
        d_old = d_h * z
        d_n = _tanh_gradient(n, d_h - d_old)
        d_zr = _sigmoid_gradient(zr, tf.concat([d_h * (before[0] - n), d_n * r_n], axis=-1))
        return tf.concat([d_zr, d_n], axis=-1), tf.concat([d_zr, d_n * r], axis=-1), [d_old], []


def differentiable(
    gates: Gates, projected: tf.Tensor, recurrent: tf.Tensor, states: Tensors, weights: Tensors
) -> list[tf.Tensor]:
    """The new states, for use outside of `recurrence.scan`: with the gradient of the gates."""
    if isinstance(gates, AutomaticGates):
        return list(gates.function(projected, recurrent, states, weights))
    counts = len(states)

    @tf.custom_gradient
    def run(projected, recurrent, *rest):
        before, used = rest[:counts], rest[counts:]
        new, kept = gates.forward(projected, recurrent, before, used)

        def gradient(*d_new):
            found = gates.backward(projected, kept, before, new, used, d_new)
            d_before = [tf.zeros_like(s) if d is None else d for d, s in zip(found[2], before, strict=True)]
            return [found[0], found[1], *d_before, *found[3]]

        return new, gradient

    return list(run(projected, recurrent, *states, *weights))


def _sum(one, other):
    """Of two tensors, None standing for zero."""
    return one if other is None else other if one is None else one + other


def _sigmoid_gradient(y, d_y):
    return tf.raw_ops.SigmoidGrad(y=y, dy=d_y)


def _tanh_gradient(y, d_y):
    return tf.raw_ops.TanhGrad(y=y, dy=d_y)
