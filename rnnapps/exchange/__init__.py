"""Weights between rnnapps, Keras and PyTorch.

`from_torch` and `to_torch` read and write the state dicts of `torch.nn.RNN`, `torch.nn.LSTM` and `torch.nn.GRU`. With U
units, F features and G gates, W^T for a transposed matrix, and `_l0`, `_l1`, ... (`_reverse` for the backward half of a
`Bidirectional`) at the end of each name of torch's:

    torch                        shape      here                               shape
    weight_ih                    (G U, F)   kernel = weight_ih^T               (F, G U)
    weight_hh                    (G U, U)   recurrent_kernel = weight_hh^T     (U, G U)
    bias_ih, bias_hh  RNN, LSTM  (G U,)     bias = bias_ih + bias_hh           (G U,)
    bias_ih, bias_hh  GRU        (G U,)     bias = [bias_ih, bias_hh]          (2, G U)
    weight_hr         LSTM       (P, U)     projection_kernel = weight_hr^T    (U, P)

    order of gates    RNN        one        one
                      LSTM       i f g o    i f g o
                      GRU        r z n      z r n: the first two blocks of columns change places

`weight_hr` comes with `proj_size` P, here `Unroll` over `ProjectedLSTMCell`; weight_hh is then (G U, P). Where there is
one bias here, `to_torch` writes it as `bias_ih` and zeros as `bias_hh`: the same function, but an optimizer in torch
moves both. A state dict does not tell the nonlinearity of `torch.nn.RNN`: the layer's `activation` does. `torch.nn.GRU`
resets after the product, as `reset_after=True` does.

The outputs of a module with `batch_first=True` are those of the layers with `return_sequences=True`, and of
`Bidirectional` with its `merge_mode="concat"`. torch need not be installed: whatever `np.asarray` takes is a weight.

`from_keras`, `to_keras` and `convert` exchange layers and whole models with Keras, whose weights are laid out as here.
"""

from rnnapps.exchange.keras_layers import convert, from_keras, to_keras
from rnnapps.exchange.torch_weights import from_torch, to_torch

__all__ = ["convert", "from_keras", "from_torch", "to_keras", "to_torch"]
