"""Every public cell, once: how to make it, and what it is held against. `test_conformance.py` runs over the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference

from rnnapps import cells

UNITS = 5


def normal(what: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values of `what`: "inputs", "states/0" (and so on), or the name of a weight."""
    return rng.normal(0, 1 if what == "inputs" or what.startswith("states/") else 0.6, shape)


@dataclass(frozen=True)
class Entry:
    """A public cell.

    Attributes:
        make: Makes one, not built, of `UNITS` units; takes the keyword arguments of any layer (`dtype`, `name`).
        oracle: `(x, states, weights by name) -> (output, new states)`, in NumPy.
        features: Size of its input: the last axis, or all axes but the batch's and time's.
        draw: Makes inputs, states and weights where not all values make sense, as `normal` does.
        is_smooth: False where the gradient is no derivative (steps, straight-through estimates).
    """

    make: Callable[..., Any]
    oracle: Callable[[np.ndarray, list[np.ndarray], dict[str, np.ndarray]], tuple[np.ndarray, list[np.ndarray]]]
    features: int | tuple[int, ...] = 3
    draw: Callable[[str, np.random.Generator, tuple[int, ...]], np.ndarray] = normal
    is_smooth: bool = True


def _simple_rnn(x, states, weights):
    h = reference.simple_rnn_step(x, *states, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h]


def _gru(x, states, weights):
    h = reference.gru_step(x, *states, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h]


def _lstm(x, states, weights):
    h, c = reference.lstm_step(x, *states, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h, c]


def _around(wrapper, cell, *args):
    """Makes a wrapper of a cell of `UNITS` units; only the dtype is for both."""
    return lambda **kw: wrapper(cell(UNITS, dtype=kw.get("dtype")), *args, **kw)


def _slstm(what, rng, shape):
    """States as the cell leaves them: n at least 1, c not larger."""
    if what == "states/1":
        return rng.uniform(-1, 1, shape)
    return 1 + rng.exponential(size=shape) if what == "states/2" else normal(what, rng, shape)


# One cell for each way in which the engine runs a cell; contracts whose programs take long to make are held by these in
# the quick tier, and by all cells in the full one.
MECHANISMS = {
    "hand-written gates": "LSTMCell",
    "automatic gates": "PeepholeLSTMCell",
    "convolution": "ConvLSTM2DCell",
    "all steps at once": "MinGRUCell",
    "matrix memory": "MLSTMCell",
    "a wrapper": "ZoneoutCell",
}

ENTRIES: dict[str, Entry] = {
    "SimpleRNNCell": Entry(lambda **kw: cells.SimpleRNNCell(UNITS, **kw), _simple_rnn),
    "GRUCell": Entry(lambda **kw: cells.GRUCell(UNITS, **kw), _gru),
    "LSTMCell": Entry(lambda **kw: cells.LSTMCell(UNITS, **kw), _lstm),
    "CoupledLSTMCell": Entry(lambda **kw: cells.CoupledLSTMCell(UNITS, **kw), reference.coupled_lstm_step),
    "PeepholeLSTMCell": Entry(lambda **kw: cells.PeepholeLSTMCell(UNITS, **kw), reference.peephole_lstm_step),
    "ProjectedLSTMCell": Entry(lambda **kw: cells.ProjectedLSTMCell(UNITS, 3, **kw), reference.projected_lstm_step),
    "LayerNormLSTMCell": Entry(lambda **kw: cells.LayerNormLSTMCell(UNITS, **kw), reference.layer_norm_lstm_step),
    "LayerNormGRUCell": Entry(lambda **kw: cells.LayerNormGRUCell(UNITS, **kw), reference.layer_norm_gru_step),
    "IndRNNCell": Entry(lambda **kw: cells.IndRNNCell(UNITS, **kw), reference.ind_rnn_step),
    "IRNNCell": Entry(lambda **kw: cells.IRNNCell(UNITS, **kw), reference.irnn_step),
    "UGRNNCell": Entry(lambda **kw: cells.UGRNNCell(UNITS, **kw), reference.ugrnn_step),
    "SLSTMCell": Entry(lambda **kw: cells.SLSTMCell(UNITS, **kw), reference.slstm_step, draw=_slstm),
    "MogrifierLSTMCell": Entry(lambda **kw: cells.MogrifierLSTMCell(UNITS, **kw), reference.mogrifier_lstm_step),
    "ConvLSTM2DCell": Entry(
        lambda **kw: cells.ConvLSTM2DCell(2, (3, 2), **kw), reference.conv_lstm2d_step, features=(5, 4, 3)
    ),
    "MinGRUCell": Entry(lambda **kw: cells.MinGRUCell(UNITS, **kw), reference.min_gru_step),
    "MinLSTMCell": Entry(lambda **kw: cells.MinLSTMCell(UNITS, **kw), reference.min_lstm_step),
    "SRUCell": Entry(lambda **kw: cells.SRUCell(UNITS, **kw), reference.sru_step),
    "QRNNCell": Entry(lambda **kw: cells.QRNNCell(UNITS, **kw), reference.qrnn_step),
    "RGLRUCell": Entry(lambda **kw: cells.RGLRUCell(UNITS, **kw), reference.rg_lru_step),
    "MLSTMCell": Entry(lambda **kw: cells.MLSTMCell(6, heads=2, **kw), reference.mlstm_step),
    "ZoneoutCell": Entry(_around(cells.ZoneoutCell, cells.LSTMCell, [0.3, 0.1]), reference.zoneout(_lstm, [0.3, 0.1])),
    "ResidualCell": Entry(_around(cells.ResidualCell, cells.GRUCell), reference.residual(_gru), features=UNITS),
    "WeightDropCell": Entry(_around(cells.WeightDropCell, cells.LSTMCell, 0.4), _lstm),
}
