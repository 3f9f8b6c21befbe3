import keras

from rnnapps.cells import SimpleRNNCell
from rnnapps.cells.cell import register
from rnnapps.layers.unroll import Unroll


@register
class SimpleRNN(keras.layers.SimpleRNN, Unroll):
    """`keras.layers.SimpleRNN` on the engine of rnnapps: the same arguments, weights, outputs, states and gradients.

    A subclass of its namesake, so that every argument, default, check and config key is Keras' own; `Unroll` puts
    `rnnapps.cells.SimpleRNNCell` in the place of the Keras cell and runs the loop. Weights load either way, and
    `rnnapps.layers.SimpleRNN.from_config(layer.get_config())` converts a layer. The equations stand in the cell.

    Args and call arguments: as in `keras.layers.SimpleRNN`.

    Example:

    >>> layer = rnnapps.layers.SimpleRNN(4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    """

    cell_class = SimpleRNNCell
    inner_loop = Unroll.inner_loop
