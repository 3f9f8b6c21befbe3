"""One time step: a pure function of inputs, states and weights."""

from rnnapps.cells.cell import Cell, GatedCell
from rnnapps.cells.conv_lstm2d import ConvLSTM2DCell
from rnnapps.cells.coupled_lstm import CoupledLSTMCell
from rnnapps.cells.gru import GRUCell
from rnnapps.cells.ind_rnn import IndRNNCell
from rnnapps.cells.irnn import IRNNCell
from rnnapps.cells.layer_norm_gru import LayerNormGRUCell
from rnnapps.cells.layer_norm_lstm import LayerNormLSTMCell
from rnnapps.cells.linear import LinearCell
from rnnapps.cells.lstm import LSTMCell
from rnnapps.cells.min_gru import MinGRUCell
from rnnapps.cells.min_lstm import MinLSTMCell
from rnnapps.cells.mlstm import MLSTMCell
from rnnapps.cells.mogrifier_lstm import MogrifierLSTMCell
from rnnapps.cells.peephole_lstm import PeepholeLSTMCell
from rnnapps.cells.projected_lstm import ProjectedLSTMCell
from rnnapps.cells.qrnn import QRNNCell
from rnnapps.cells.residual import ResidualCell
from rnnapps.cells.rg_lru import RGLRUCell
from rnnapps.cells.simple_rnn import SimpleRNNCell
from rnnapps.cells.slstm import SLSTMCell
from rnnapps.cells.sru import SRUCell
from rnnapps.cells.ugrnn import UGRNNCell
from rnnapps.cells.weight_drop import WeightDropCell
from rnnapps.cells.wrapper import WrapperCell
from rnnapps.cells.zoneout import ZoneoutCell

__all__ = [
    "Cell",
    "ConvLSTM2DCell",
    "CoupledLSTMCell",
    "GRUCell",
    "GatedCell",
    "IRNNCell",
    "IndRNNCell",
    "LSTMCell",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LinearCell",
    "MLSTMCell",
    "MinGRUCell",
    "MinLSTMCell",
    "MogrifierLSTMCell",
    "PeepholeLSTMCell",
    "ProjectedLSTMCell",
    "QRNNCell",
    "RGLRUCell",
    "ResidualCell",
    "SLSTMCell",
    "SRUCell",
    "SimpleRNNCell",
    "UGRNNCell",
    "WeightDropCell",
    "WrapperCell",
    "ZoneoutCell",
]
