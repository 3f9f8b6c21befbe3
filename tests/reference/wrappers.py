"""Cells around a step `(x, states, weights) -> (output, new states)`, whose output is its first state."""

from __future__ import annotations


def zoneout(step, kept):
    """Units that keep their values (Krueger et al., 2016): `s' = d s + (1 - d) step(x, s)`.

    Args:
        step: Of the inner cell.
        kept: d of each state: its mask or, in inference, its rate.
    """

    def run(x, states, weights):
        _, new = step(x, states, weights)
        new = [d * old + (1 - d) * s for d, old, s in zip(kept, states, new, strict=True)]
        return new[0], new

    return run


def residual(step):
    """The input added to the output (Wu et al., 2016): `y = x + step(x, s)`; the states stay without it."""

    def run(x, states, weights):
        output, new = step(x, states, weights)
        return x + output, new

    return run


def weight_drop(step, mask, rate):
    """A recurrent kernel with holes (Merity et al., 2017): `U' = U M / (1 - rate)`."""

    def run(x, states, weights):
        return step(x, states, {**weights, "recurrent_kernel": weights["recurrent_kernel"] * mask / (1 - rate)})

    return run
