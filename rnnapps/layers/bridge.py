import keras
from keras import ops

from rnnapps.cells.cell import register

KINDS = ("last", "mean", "copy", "zero")


@register
class Bridge(keras.layers.Layer):
    """From what an encoder ends with to what a decoder starts from.

        last    s_i = tanh([e_1; e_2; ...] W_i + b_i)        e: the encoder's last states
        mean    s_i = tanh(mean_j m_j W_i + b_i)             m: the memory, over the places that are not masked
        copy    s_i = e_i
        zero    s_i = 0

    Args:
        sizes: List of the sizes of the decoder's states.
        kind: "last", "mean", "copy" or "zero".
        kernel_initializer: Of W_i.
        **kwargs: As in `keras.layers.Layer`.

    Call arguments:
        states: List of the encoder's last states, each `(batch, size)`.
        memory: `(batch, places, features)`.
        mask: Bool `(batch, places)`, or None.

    Returns:
        List of `(batch, size)`.

    Raises:
        ValueError: An unknown kind; "copy" of other sizes than are wanted.

    References: Cho et al., 2014, https://arxiv.org/abs/1406.1078 (last); Sennrich et al., 2017,
    https://arxiv.org/abs/1703.04357 (mean)
    """

    def __init__(self, sizes, kind="last", kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        self.sizes, self.kind = list(sizes), kind
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, states_shape, memory_shape=None, mask_shape=None):
        given = [shape[-1] for shape in states_shape]
        if self.kind == "copy" and given != self.sizes:
            raise ValueError(f"kind='copy' of {self.name} wants states of the sizes {self.sizes}, not {given}")
        features = {"last": sum(given), "mean": memory_shape[-1]}.get(self.kind)
        self.maps = []
        for i, size in enumerate(self.sizes if features else []):
            kernel = self.add_weight(shape=(features, size), initializer=self.kernel_initializer, name=f"kernel_{i}")
            self.maps.append((kernel, self.add_weight(shape=(size,), initializer="zeros", name=f"bias_{i}")))
        self.built = True

    def call(self, states, memory, mask=None):
        if self.kind == "copy":
            return [ops.cast(state, self.compute_dtype) for state in states]
        if self.kind == "zero":
            return [ops.zeros((ops.shape(memory)[0], size), self.compute_dtype) for size in self.sizes]
        summary = ops.concatenate(states, axis=-1) if self.kind == "last" else _mean(memory, mask)
        summary = ops.cast(summary, self.compute_dtype)
        return [
            ops.tanh(summary @ ops.cast(kernel, summary.dtype) + ops.cast(bias, summary.dtype))
            for kernel, bias in self.maps
        ]

    def compute_output_spec(self, states, memory, mask=None):
        return [keras.KerasTensor((memory.shape[0], size), self.compute_dtype) for size in self.sizes]

    def get_config(self):
        return {
            **super().get_config(),
            "sizes": self.sizes,
            "kind": self.kind,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _mean(memory, mask):
    if mask is None:
        return ops.mean(memory, axis=1)
    there = ops.expand_dims(ops.cast(mask, memory.dtype), -1)
    return ops.sum(memory * there, axis=1) / ops.maximum(ops.sum(there, axis=1), 1)
