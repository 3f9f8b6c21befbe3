from keras import ops

# Keras exports the layer and not its cell. To write that out again would be to keep 20 arguments, their checks and the
# order in which masks are drawn the same by hand; a Keras that moves the class fails here, where it is seen.
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell

from rnnapps.cells.cell import register
from rnnapps.cells.lstm import LSTMEquations


@register
class ConvLSTM2DCell(LSTMEquations, ConvLSTMCell):
    """One step of an LSTM over images, with the arguments and weights of the cell in `keras.layers.ConvLSTM2D`.

        i, f, g, o = split(x_t * W + h_{t-1} * U + b)    * is a convolution; along the channels
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    As in Keras, without the peepholes of the paper. `strides`, `padding` and `dilation_rate` are those of the
    convolution of x; that of h moves by one and keeps the size.

    Args:
        filters: Int > 0. Channels of `h` and of `c`.
        kernel_size: Int, or rows and columns, of both windows.
        rank: Int. Axes that a window moves along: 2.
        **kwargs: As in `keras.layers.ConvLSTM2D`. With `data_format="channels_first"` the cell runs on Keras' loop.

    Call arguments:
        inputs: `(batch, height, width, channels)`; height and width must be known.
        states: `[h, c]`, each `(batch, new height, new width, filters)`.
        training: Bool. Whether dropout is applied.

    Returns:
        `h_t` of shape `(batch, new height, new width, filters)`, and the new `[h_t, c_t]`.

    Raises:
        ValueError: On the arguments that `keras.layers.ConvLSTM2D` refuses, and on a rank that is not 2.

    Weights: `kernel (rows, columns, channels, 4 * filters)`, `recurrent_kernel (rows, columns, filters, 4 * filters)`,
    `bias (4 * filters,)`. Gate order i, f, g, o; the forget part of `bias` starts at 1.

    Reference: Shi et al., 2015, https://arxiv.org/abs/1506.04214
    """

    follows_keras = True

    def __init__(self, filters, kernel_size, rank=2, **kwargs):
        if rank != 2:
            raise ValueError(f"rank of {type(self).__name__} must be 2, not {rank!r}")
        super().__init__(rank, filters, kernel_size, **kwargs)

    def build(self, inputs_shape, states_shape=None):
        super().build(tuple(inputs_shape), states_shape)  # from a file it comes as a list

    def is_three_part(self, training):
        return self.data_format == "channels_last" and super().is_three_part(training)

    def project(self, *inputs):
        kernels = ops.split(ops.cast(self.kernel, self.compute_dtype), len(inputs), axis=-1)
        gates = [self._convolve(x, kernel) for x, kernel in zip(inputs, kernels, strict=True)]
        projected, bias = ops.concatenate(gates, axis=-1), self.input_bias()
        return projected if bias is None else projected + bias

    def _convolve(self, x, kernel):
        """The images of all leading axes as one batch."""
        images = ops.reshape(ops.cast(x, kernel.dtype), (-1, *x.shape[-3:]))
        new = ops.cast(self.input_conv(images, kernel, padding=self.padding), self.gate_dtype)
        size = self.compute_output_shape((None, *x.shape[-3:]))[0][1:-1]
        return ops.reshape(new, (*ops.shape(x)[:-3], *size, kernel.shape[-1]))

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}
