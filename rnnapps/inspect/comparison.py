"""How far back the gradient reaches in cells of several kinds, side by side, before anything is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from rnnapps import cells, layers
from rnnapps.inspect.flow import GradientFlow, gradient_flow

# Within 5 % of 1 a step, which over 60 steps still leaves a twentieth.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Settings:
    """What all cells of a comparison share.

    Attributes:
        units: Size of h.
        steps: T.
        rows: Sequences in the batch.
        spectral_radius: Each gate's block of the recurrent kernel is an orthogonal matrix times this, so that all its
            eigenvalues have this size.
        gate_bias: Bias of the gate that keeps the state: of its logit, so that 0 keeps half of it.
        input_scale: Standard deviation of the inputs.
        seed: Of weights and inputs.
    """

    units: int
    steps: int
    rows: int
    spectral_radius: float
    gate_bias: float
    input_scale: float
    seed: int


@dataclass(frozen=True)
class Measured:
    """One cell of a comparison.

    Attributes:
        cell: Name of the cell.
        flow: What was measured. L is linear in h_T, with |dL/dh_T| = 1, so that `flow.d_hidden` says which part of the
            gradient arrives.
    """

    cell: str
    flow: GradientFlow

    @property
    def factor(self) -> float:
        """What |dL/dh_t| is multiplied by at each step back: from the line through its logarithms after the first step.

        The first step back is left out, where the gradient goes from h into the states that carry it.
        """
        norms = self.flow.d_hidden[::-1]
        lags = np.arange(1, len(norms))
        kept = (norms[1:] > 0) & np.isfinite(norms[1:])
        if kept.sum() < 2:
            return 0.0 if np.isfinite(norms).all() else np.inf
        slope = np.polyfit(lags[kept], np.log(norms[1:][kept]), 1)[0]
        return float(np.exp(slope))

    @property
    def verdict(self) -> str:
        """ "vanishes", "explodes" or, where the factor is within 5 % of 1, "carries"."""
        if abs(self.factor - 1) <= _TOLERANCE:
            return "carries"
        return "vanishes" if self.factor < 1 else "explodes"

    def clipped(self, limit: float) -> float:
        """What the gradient is multiplied by where its norm is clipped to `limit`."""
        size = self.flow.gradient_norm
        return limit / size if limit and size > limit else 1.0


def compare(settings: Settings) -> list[Measured]:
    """Measures SimpleRNN, GRU, LSTM and minGRU, with random weights, on normal random inputs."""
    return [_measure(name, settings) for name in _CELLS]


def _measure(name: str, settings: Settings) -> Measured:
    make, keeping = _CELLS[name]
    # In double precision a gradient may shrink to 1e-300 before it is lost.
    layer = layers.Unroll(make(settings.units, dtype="float64"), dtype="float64")
    shape = (settings.rows, settings.steps, settings.units)
    layer.build(shape)
    rng = np.random.default_rng(settings.seed)
    cell = layer.cell
    # The same inputs and the same direction of the loss for each cell.
    inputs = settings.input_scale * rng.normal(size=shape)
    direction = rng.normal(size=(settings.rows, settings.units))
    direction /= np.linalg.norm(direction)
    limit = np.sqrt(6 / (2 * settings.units))  # Glorot's, of one gate
    cell.kernel.assign(rng.uniform(-limit, limit, cell.kernel.shape))
    if (recurrent := getattr(cell, "recurrent_kernel", None)) is not None:
        gates = recurrent.shape[1] // settings.units
        blocks = [settings.spectral_radius * _orthogonal(rng, settings.units) for _ in range(gates)]
        recurrent.assign(np.concatenate(blocks, axis=1))
    bias = np.zeros(cell.bias.shape)
    keeping(bias, settings.units, settings.gate_bias)
    cell.bias.assign(bias)
    return Measured(name, gradient_flow(layer, (inputs, direction), loss=lambda y, h: ops.sum(y * h)))


def _orthogonal(rng: np.random.Generator, units: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(units, units)))[0]


def _no_gate(bias: np.ndarray, units: int, value: float) -> None:
    """A plain network keeps nothing by a gate."""


def _lstm_gate(bias: np.ndarray, units: int, value: float) -> None:
    bias[units : 2 * units] = value  # f of i, f, g, o


def _gru_gate(bias: np.ndarray, units: int, value: float) -> None:
    bias[0, :units] = value  # z of z, r, n


def _min_gru_gate(bias: np.ndarray, units: int, value: float) -> None:
    bias[:units] = -value  # z of z, n, which says how much is written


# Name of the cell: how to make it, and how to set the bias of the gate that keeps its state.
_CELLS: dict[str, tuple[Callable[..., Any], Callable[[np.ndarray, int, float], None]]] = {
    "SimpleRNN": (cells.SimpleRNNCell, _no_gate),
    "GRU": (cells.GRUCell, _gru_gate),
    "LSTM": (cells.LSTMCell, _lstm_gate),
    "minGRU": (cells.MinGRUCell, _min_gru_gate),
}
