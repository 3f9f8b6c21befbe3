"""Cells over time. Importing this module registers every layer and cell, so that saved models load."""

from rnnapps.layers.attention_decoder import AttentionDecoder
from rnnapps.layers.bridge import Bridge
from rnnapps.layers.conv_lstm2d import ConvLSTM2D
from rnnapps.layers.gru import GRU
from rnnapps.layers.lstm import LSTM
from rnnapps.layers.places import Places
from rnnapps.layers.simple_rnn import SimpleRNN
from rnnapps.layers.stacked import Stacked
from rnnapps.layers.unroll import Unroll
from rnnapps.layers.windows import Calendar, StepEmbedding, WindowScaler

__all__ = [
    "GRU",
    "LSTM",
    "AttentionDecoder",
    "Bridge",
    "Calendar",
    "ConvLSTM2D",
    "Places",
    "SimpleRNN",
    "Stacked",
    "StepEmbedding",
    "Unroll",
    "WindowScaler",
]
