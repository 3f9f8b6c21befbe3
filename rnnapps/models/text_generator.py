"""A recurrent language model: tokens and states in, logits of the next tokens and states out."""

import keras

from rnnapps import layers as recurrent

CELLS = {"lstm": recurrent.LSTM, "gru": recurrent.GRU, "simple_rnn": recurrent.SimpleRNN}
_STATE_NAMES = ("h", "c")


def text_generator(
    vocabulary_size: int,
    cell: str = "lstm",
    units: int = 128,
    layers: int = 1,
    embedding: int = 0,
    dropout: float = 0.0,
    tied: bool = False,
    **options,
) -> keras.Model:
    """Builds the functional model p(x_{t+1} | x_1 .. x_t) = softmax(V h_t + b), h_t from a stack of recurrent layers.

    The states are inputs and outputs, so that a caller carries them from one window of text to the next, or from one
    token to the next; zeros are a cold start.

    Args:
        vocabulary_size: Number of token ids.
        cell: "lstm", "gru" or "simple_rnn".
        units: Size of each layer's states.
        layers: Number of recurrent layers.
        embedding: Size of a token's learnt vector; 0 feeds tokens one-hot.
        dropout: Probability of dropping a value of the embedding, between layers and before the output.
        tied: Whether the embedding is also the output matrix V (Press and Wolf, 2016,
            https://arxiv.org/abs/1608.05859); wants `embedding == units`.
        **options: `dtype`, the precision policy of all layers but the logits, which are float32; `seed`, of the
            weights and of dropout; `weight_scale`, the standard deviation of normal initial weights in the place of
            Keras' Glorot-uniform and orthogonal ones.

    Returns:
        A model with inputs `{"tokens": int32 (batch, time), "layer_0_h": (batch, units), ...}` and outputs
        `{"logits": float32 (batch, time, vocabulary_size), "layer_0_h": ...}`; LSTM layers also have `layer_0_c`.

    Raises:
        ValueError: `cell` is not known, or `tied` without equal sizes.
    """
    if cell not in CELLS:
        raise ValueError(f"cell is {cell!r}: wanted one of {', '.join(CELLS)}")
    if tied and embedding != units:
        raise ValueError(f"tied with embedding {embedding} and units {units}: wanted equal sizes")
    seeds = keras.random.SeedGenerator(options.pop("seed", None) or 0)
    scale = options.pop("weight_scale", None)
    dtype = options.pop("dtype", "float32")
    if options:
        raise ValueError(f"text_generator got {sorted(options)}: wanted dtype, seed or weight_scale")
    draw = _Initializers(seeds, scale)

    # === Layers ===
    embed = _embedding(vocabulary_size, embedding, tied, draw, dtype)
    stack = [
        CELLS[cell](
            units,
            return_sequences=True,
            return_state=True,
            kernel_initializer=draw.kernel(),
            recurrent_initializer=draw.recurrent(),
            dtype=dtype,
            name=f"layer_{i}",
        )
        for i in range(layers)
    ]
    drops = [
        keras.layers.Dropout(dropout, seed=draw.seed(), dtype=dtype, name=f"dropout_{i}") for i in range(layers + 1)
    ]
    output = keras.layers.Dense(vocabulary_size, kernel_initializer=draw.kernel(), dtype="float32", name="logits")

    # === Functional model ===
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    inputs: dict = {"tokens": tokens}
    outputs: dict = {}
    x = embed(tokens)  # (batch, time, embedding)
    if dropout and embedding:
        x = drops[0](x)
    for layer, drop in zip(stack, drops[1:], strict=True):
        names = [f"{layer.name}_{name}" for name, _ in zip(_STATE_NAMES, layer.state_size, strict=False)]
        states = [keras.Input((units,), name=name) for name in names]
        inputs.update(zip(names, states, strict=True))
        x, *states = layer(x, initial_state=states)  # (batch, time, units)
        outputs.update(zip(names, states, strict=True))
        x = drop(x) if dropout else x
    outputs["logits"] = embed(x, reverse=True) if tied else output(x)
    return keras.Model(inputs, outputs, name="text_generator")


def _embedding(vocabulary_size, size, tied, draw, dtype):
    if tied:
        return keras.layers.ReversibleEmbedding(
            vocabulary_size, size, embeddings_initializer=draw.kernel(), reverse_dtype="float32", dtype=dtype,
            name="embedding",
        )  # fmt: skip
    if size:
        return keras.layers.Embedding(
            vocabulary_size, size, embeddings_initializer=draw.kernel(), dtype=dtype, name="embedding"
        )
    # Row i of the identity is the one-hot vector of token i.
    return keras.layers.Embedding(
        vocabulary_size,
        vocabulary_size,
        embeddings_initializer="identity",
        trainable=False,
        dtype=dtype,
        name="one_hot",
    )


class _Initializers:
    """A new seeded initializer for every weight, so that a seed fixes all of them."""

    def __init__(self, seeds: keras.random.SeedGenerator, scale: float | None):
        self._numbers = iter(range(1, 1000))
        self._base = int(keras.ops.convert_to_numpy(seeds.state)[0])
        self._scale = scale

    def seed(self) -> int:
        return (self._base * 1_000_003 + next(self._numbers)) % 2**31

    def kernel(self):
        if self._scale is not None:
            return keras.initializers.RandomNormal(stddev=self._scale, seed=self.seed())
        return keras.initializers.GlorotUniform(seed=self.seed())

    def recurrent(self):
        return keras.initializers.Orthogonal(seed=self.seed()) if self._scale is None else self.kernel()
