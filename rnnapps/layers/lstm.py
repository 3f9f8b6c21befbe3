import keras

from rnnapps.cells import LSTMCell
from rnnapps.cells.cell import register
from rnnapps.layers.unroll import Unroll


@register
class LSTM(keras.layers.LSTM, Unroll):
    """`keras.layers.LSTM` on the engine of rnnapps: the same arguments, weights, outputs, states and gradients.

    A subclass of its namesake, so that every argument, default, check and config key is Keras' own; `Unroll` puts
    `rnnapps.cells.LSTMCell` in the place of the Keras cell and runs the loop. Weights load either way, and
    `rnnapps.layers.LSTM.from_config(layer.get_config())` converts a layer. The equations stand in the cell.

    cuDNN is never used, so the layer stays compilable by XLA and an export runs on any device.

    Args and call arguments: as in `keras.layers.LSTM`.

    Example:

    >>> layer = rnnapps.layers.LSTM(4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    """

    cell_class = LSTMCell
    inner_loop = Unroll.inner_loop
