"""One time step: a pure function of inputs, states and weights."""

from rnnapps.cells.cell import Cell, GatedCell
from rnnapps.cells.coupled_lstm import CoupledLSTMCell
from rnnapps.cells.gru import GRUCell
from rnnapps.cells.lstm import LSTMCell
from rnnapps.cells.simple_rnn import SimpleRNNCell

__all__ = ["Cell", "CoupledLSTMCell", "GRUCell", "GatedCell", "LSTMCell", "SimpleRNNCell"]
