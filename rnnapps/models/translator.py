"""An encoder that reads a sentence, and a decoder with attention that writes another."""

from typing import Any

import keras
from keras import ops

from rnnapps import layers as recurrent
from rnnapps.models.writer_parts import WriterParts

_OPTIONS = {"bridge": "last"}


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
        cell: A key of `writer_parts.CELLS`.
        units: Size of each cell's state, in the encoder for each direction.
        layers: Of the encoder, and of the decoder.
        embedding: Size of an id's learnt vector.
        **options: `score`, `input_feeding`, `coverage`, `sentinel` as of `AttentionDecoder` ("dot" and "scaled", which
            want the memory as wide as `units`, halve the encoder's); `bridge`, as `kind` of `rnnapps.layers.Bridge`;
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
    build = WriterParts("translator", cell, units, layers, embedding, options, _OPTIONS)

    # === Layers ===
    embed_target = build.embedding(target_vocabulary or source_vocabulary, "target_embedding")
    embed_source = embed_target if target_vocabulary is None else build.embedding(source_vocabulary, "source_embedding")
    encoder, decoder = _encoder(build), build.decoder()
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


def _encoder(build):
    # These two scores want a memory as wide as the decoder's state.
    each = build.units // 2 if build.options["score"] in ("dot", "scaled") else build.units

    def unrolled(units, name, **options):
        cell = build.cell(units)
        return recurrent.Unroll(cell, return_sequences=True, dtype=build.dtype, name=name, **options)

    first = unrolled(each, "forward")
    back = unrolled(each, "backward", go_backwards=True)
    both = keras.layers.Bidirectional(first, backward_layer=back, dtype=build.dtype, name="encoder_0")
    stack = [both, *(unrolled(2 * each, f"encoder_{i}") for i in range(1, build.layers))]
    return recurrent.Stacked(
        stack,
        residual=1,
        dropout=build.options["dropout"],
        locked=build.options["locked"],
        return_sequences=True,
        return_state=True,
        seed=build.seed(),
        dtype=build.dtype,
        name="encoder",
    )
