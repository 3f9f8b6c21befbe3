"""An encoder that reads a sentence, and a decoder with attention that writes another."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from rnnapps import cells
from rnnapps import layers as recurrent

CELLS = {
    "gru": cells.GRUCell,
    "lstm": cells.LSTMCell,
    "simple_rnn": cells.SimpleRNNCell,
    "layer_norm_lstm": cells.LayerNormLSTMCell,
    "layer_norm_gru": cells.LayerNormGRUCell,
    "peephole_lstm": cells.PeepholeLSTMCell,
    "coupled_lstm": cells.CoupledLSTMCell,
    "ugrnn": cells.UGRNNCell,
    "min_gru": cells.MinGRUCell,
    "sru": cells.SRUCell,
}


def translator(
    source_vocabulary: int,
    target_vocabulary: int | None = None,
    cell: str = "gru",
    units: int = 256,
    layers: int = 1,
    embedding: int = 256,
    **options: Any,
) -> keras.Model:
    """Builds the functional model p(y_t | y_1 .. y_{t-1}, x) = softmax(V a_t + b) of a target y given a source x.

    The encoder's first layer is bidirectional, the others are not, and add their input to their output (Wu et al.,
    2016, https://arxiv.org/abs/1609.08144). Its outputs are the memory that `rnnapps.layers.AttentionDecoder` looks at,
    which gives a_t. Id 0 starts a target and fills up what is shorter; in a source it is masked.

    Args:
        source_vocabulary: Number of source ids.
        target_vocabulary: Number of target ids; None for one vocabulary, and one embedding, of both.
        cell: A key of `CELLS`.
        units: Size of each cell's state, in the encoder for each direction.
        layers: Of the encoder, and of the decoder.
        embedding: Size of an id's learnt vector.
        **options: `score`, `input_feeding`, `coverage` as of `AttentionDecoder` ("dot" and "scaled", which want the
            memory as wide as `units`, halve the encoder's); `bridge`, as `kind` of `rnnapps.layers.Bridge`;
            `tied`, whether V is the embedding of the target; `dropout`, of embeddings, between layers and of a_t;
            `locked`, whether its masks are the same at all steps of a sentence; `recurrent_dropout`; `seed`; `dtype`,
            the precision policy of all but the logits, which are float32.

    Returns:
        A model with inputs `{"source": int32 (batch, places), "target": int32 (batch, time)}`, and outputs `{"logits":
        float32 (batch, time, target vocabulary), "alignment": float32 (batch, time, places), "features": (batch, time,
        size of a_t)}`, what the logits are made of.

    Raises:
        ValueError: `cell` or an option is not known, or options do not go together.
    """
    if cell not in CELLS:
        raise ValueError(f"cell is {cell!r}: wanted one of {', '.join(CELLS)}")
    build = _Builder(cell, units, layers, embedding, options)

    # === Layers ===
    embed_target = build.embedding(target_vocabulary or source_vocabulary, "target_embedding")
    embed_source = embed_target if target_vocabulary is None else build.embedding(source_vocabulary, "source_embedding")
    encoder, decoder = build.encoder(), build.decoder()
    bridge = recurrent.Bridge(
        list(decoder.state_sizes.values())[: decoder.num_cell_states],
        build.options["bridge"],
        kernel_initializer=build.glorot(),
        dtype=build.dtype,
        name="bridge",
    )
    output = build.output(target_vocabulary or source_vocabulary, embed_target)

    # === Functional model ===
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    mask = ops.not_equal(source, 0)
    memory, *last = encoder(build.drop(embed_source(source), "source_dropout"), mask=mask)
    memory = build.drop(memory, "memory_dropout")
    states = bridge(last, memory, mask)
    read = build.drop(embed_target(target), "target_dropout")
    written, alignment, *_ = decoder(read, memory, memory_mask=mask, initial_state=states)
    features = build.drop(written, "output_dropout")
    found = {"logits": output(features), "alignment": alignment, "features": features}
    return keras.Model({"source": source, "target": target}, found, name="translator")


class _Builder:
    """The layers, with a seed for each of their weights."""

    DEFAULTS = {
        "score": "additive", "input_feeding": True, "coverage": False, "bridge": "last", "tied": True, "dropout": 0.0,
        "locked": False, "recurrent_dropout": 0.0, "seed": 0, "dtype": "float32",
    }  # fmt: skip

    def __init__(self, cell, units, layers, embedding, options):
        unknown = sorted(set(options) - set(self.DEFAULTS))
        if unknown:
            raise ValueError(f"translator got {unknown}: wanted {', '.join(self.DEFAULTS)}")
        self.options = {**self.DEFAULTS, **options}
        self.cell_name, self.units, self.layers, self.width = cell, units, layers, embedding
        self.dtype = self.options["dtype"]
        self._numbers = iter(range(1, 1000))

    def seed(self) -> int:
        return (self.options["seed"] * 1_000_003 + next(self._numbers)) % 2**31

    def glorot(self):
        return keras.initializers.GlorotUniform(seed=self.seed())

    def cell(self, units, name="cell"):
        make, dropout = CELLS[self.cell_name], self.options["recurrent_dropout"]
        recurrent = {
            "recurrent_initializer": keras.initializers.Orthogonal(seed=self.seed()),
            "recurrent_dropout": dropout,
        }
        if issubclass(make, cells.LinearCell):
            if dropout:
                raise ValueError(
                    f"recurrent_dropout {dropout} with cell {self.cell_name!r}: wanted 0, as it has no such matrix"
                )
            recurrent = {}
        return make(units, kernel_initializer=self.glorot(), seed=self.seed(), dtype=self.dtype, name=name, **recurrent)

    def embedding(self, size, name):
        return keras.layers.ReversibleEmbedding(
            size,
            self.width,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=self.width**-0.5, seed=self.seed()),
            reverse_dtype="float32",
            dtype=self.dtype,
            name=name,
        )

    def unrolled(self, units, name, **options):
        return recurrent.Unroll(self.cell(units), return_sequences=True, dtype=self.dtype, name=name, **options)

    def encoder(self):
        # These two scores want a memory as wide as the decoder's state.
        each = self.units // 2 if self.options["score"] in ("dot", "scaled") else self.units
        first = self.unrolled(each, "forward")
        back = self.unrolled(each, "backward", go_backwards=True)
        both = keras.layers.Bidirectional(first, backward_layer=back, dtype=self.dtype, name="encoder_0")
        stack = [both, *(self.unrolled(2 * each, f"encoder_{i}") for i in range(1, self.layers))]
        return recurrent.Stacked(
            stack,
            residual=1,
            dropout=self.options["dropout"],
            locked=self.options["locked"],
            return_sequences=True,
            return_state=True,
            seed=self.seed(),
            dtype=self.dtype,
            name="encoder",
        )

    def decoder(self):
        names = ("score", "input_feeding", "coverage")
        return recurrent.AttentionDecoder(
            [self.cell(self.units, f"cell_{i}") for i in range(self.layers)],
            units=self.width if self.options["tied"] else self.units,
            residual=self.layers > 1,
            kernel_initializer=self.glorot(),
            dtype=self.dtype,
            name="decoder",
            **{name: self.options[name] for name in names},
        )

    def drop(self, x, name):
        if not self.options["dropout"]:
            return x
        shape = (None, 1, None) if self.options["locked"] else None
        return keras.layers.Dropout(
            self.options["dropout"], noise_shape=shape, seed=self.seed(), dtype=self.dtype, name=name
        )(x)

    def output(self, size, embedding) -> Callable:
        if self.options["tied"]:
            return lambda x: embedding(x, reverse=True)
        return keras.layers.Dense(size, kernel_initializer=self.glorot(), dtype="float32", name="logits")
