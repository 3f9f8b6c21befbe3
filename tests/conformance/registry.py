"""Every public cell, once: how to make it, and what it is held against. `test_conformance.py` runs over the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference

from rnnapps import cells

UNITS = 5


@dataclass(frozen=True)
class Entry:
    """A public cell.

    Attributes:
        make: Makes one, not built, of `UNITS` units; takes the keyword arguments of any layer (`dtype`, `name`).
        oracle: `(x, states, weights by name) -> (output, new states)`, in NumPy.
        features: Size of its input: the last axis, or all axes but the batch's and time's.
    """

    make: Callable[..., Any]
    oracle: Callable[[np.ndarray, list[np.ndarray], dict[str, np.ndarray]], tuple[np.ndarray, list[np.ndarray]]]
    features: int | tuple[int, ...] = 3


def _simple_rnn(x, states, weights):
    h = reference.simple_rnn_step(x, *states, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h]


def _gru(x, states, weights):
    h = reference.gru_step(x, *states, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h]


def _lstm(x, states, weights):
    h, c = reference.lstm_step(x, *states, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h, c]


ENTRIES: dict[str, Entry] = {
    "SimpleRNNCell": Entry(lambda **kw: cells.SimpleRNNCell(UNITS, **kw), _simple_rnn),
    "GRUCell": Entry(lambda **kw: cells.GRUCell(UNITS, **kw), _gru),
    "LSTMCell": Entry(lambda **kw: cells.LSTMCell(UNITS, **kw), _lstm),
    "CoupledLSTMCell": Entry(lambda **kw: cells.CoupledLSTMCell(UNITS, **kw), reference.coupled_lstm_step),
}
