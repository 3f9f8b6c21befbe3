"""NumPy oracles, written from the equations: what the cells, and the training of min-char-rnn, are held against.

Rows are examples and weights stand on the right, as in Keras. Everything runs in the dtype of its arguments.
"""

from reference.gated import (
    coupled_lstm_step,
    gru_step,
    ind_rnn_step,
    irnn_step,
    layer_norm,
    layer_norm_gru_step,
    layer_norm_lstm_step,
    lstm_step,
    peephole_lstm_step,
    projected_lstm_step,
    sigmoid,
    simple_rnn_step,
    slstm_step,
    ugrnn_step,
)
from reference.linear import (
    min_gru_step,
    min_lstm_step,
    mlstm_step,
    qrnn_step,
    rg_lru_step,
    sru_step,
)
from reference.min_char_rnn import (
    MinCharRNN,
)
from reference.modulated import (
    conv_lstm2d_step,
    convolution,
    mogrifier_lstm_step,
)
from reference.wrappers import (
    residual,
    weight_drop,
    zoneout,
)

__all__ = [
    "MinCharRNN",
    "conv_lstm2d_step",
    "convolution",
    "coupled_lstm_step",
    "gru_step",
    "ind_rnn_step",
    "irnn_step",
    "layer_norm",
    "layer_norm_gru_step",
    "layer_norm_lstm_step",
    "lstm_step",
    "min_gru_step",
    "min_lstm_step",
    "mlstm_step",
    "mogrifier_lstm_step",
    "peephole_lstm_step",
    "projected_lstm_step",
    "qrnn_step",
    "residual",
    "rg_lru_step",
    "sigmoid",
    "simple_rnn_step",
    "slstm_step",
    "sru_step",
    "ugrnn_step",
    "weight_drop",
    "zoneout",
]
