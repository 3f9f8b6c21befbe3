import keras
from keras import ops

from rnnapps.cells.cell import register


@register
class Places(keras.layers.Layer):
    """The memory that a decoder looks at, from features at the places of a picture.

        m_j = x_j W + b + p_j        p_j: learnt, so that the decoder knows where in the picture place j lies

    Args:
        units: Int > 0. Size of m_j.
        kernel_initializer: Of W.
        position_initializer: Of p.
        **kwargs: As in `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, places, features)`, with a known number of places.

    Returns:
        `(batch, places, units)`.

    Weights: `kernel (features, units)`, `bias (units,)`, `positions (places, units)`.
    """

    def __init__(self, units, kernel_initializer="glorot_uniform", position_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.position_initializer = keras.initializers.get(position_initializer)

    def build(self, inputs_shape):
        _, places, features = inputs_shape
        self.kernel = self.add_weight(shape=(features, self.units), initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.positions = self.add_weight(
            shape=(places, self.units), initializer=self.position_initializer, name="positions"
        )
        self.built = True

    def call(self, inputs):
        # As one matrix product: TensorFlow's batched one is slower, and its gradient more so.
        rows = ops.reshape(ops.cast(inputs, self.compute_dtype), (-1, inputs.shape[-1]))
        rows = ops.matmul(rows, ops.cast(self.kernel, self.compute_dtype))
        projected = ops.reshape(rows, (-1, inputs.shape[1], self.units))
        return projected + ops.cast(self.bias + self.positions, self.compute_dtype)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs.shape[:-1], self.units), self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "position_initializer": keras.initializers.serialize(self.position_initializer),
        }
