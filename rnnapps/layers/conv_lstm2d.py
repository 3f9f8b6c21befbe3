import keras

from rnnapps.cells import ConvLSTM2DCell
from rnnapps.cells.cell import register
from rnnapps.layers.unroll import Unroll


@register
class ConvLSTM2D(keras.layers.ConvLSTM2D, Unroll):
    """`keras.layers.ConvLSTM2D` on the engine of rnnapps: the same arguments, weights, outputs, states and gradients.

    A subclass of its namesake, so that every argument, default, check and config key is Keras' own; `Unroll` puts
    `rnnapps.cells.ConvLSTM2DCell` in the place of the Keras cell and runs the loop. The images of all steps are
    convolved at once, before the loop. Weights load either way, and
    `rnnapps.layers.ConvLSTM2D.from_config(layer.get_config())` converts a layer. The equations stand in the cell.

    With `data_format="channels_first"` the layer runs on Keras' loop.

    Args and call arguments: as in `keras.layers.ConvLSTM2D`.

    Example:

    >>> layer = rnnapps.layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 8, 8, 3), "float32")).shape)
    (2, 5, 8, 8, 4)
    """

    cell_class = ConvLSTM2DCell
    inner_loop = Unroll.inner_loop
