"""The cells against the NumPy steps, weight for weight."""

import sys
from pathlib import Path

import numpy as np
import pytest

import rnnapps.cells as cells

sys.path.append(str(Path(__file__).parents[0]))  # where `reference` is: test files are no package
from reference import gru_step, lstm_step, simple_rnn_step

BATCH, FEATURES, UNITS = 3, 4, 5


@pytest.mark.parametrize(("name", "step"), [("SimpleRNN", simple_rnn_step), ("GRU", gru_step), ("LSTM", lstm_step)])
def test_cell_is_its_equations(name, step):
    cell = getattr(cells, f"{name}Cell")(UNITS, dtype="float64")
    cell.build((BATCH, FEATURES))
    rng = np.random.default_rng(2)
    weights = [rng.normal(0, 0.8, w.shape) for w in cell.weights]
    cell.set_weights(weights)
    x = rng.normal(size=(BATCH, FEATURES))
    states = [rng.normal(size=(BATCH, UNITS)) for _ in ([cell.state_size] if name != "LSTM" else cell.state_size)]
    wanted = step(x, *states, *weights)
    wanted = list(wanted) if isinstance(wanted, tuple) else [wanted]
    output, after = cell(x, states)
    np.testing.assert_allclose(output, wanted[0], rtol=1e-12)
    assert len(after) == len(wanted)
    for ours, theirs in zip(after, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
