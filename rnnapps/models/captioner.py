"""A decoder that writes a sentence about a picture, from what a picture encoder sees in it."""

from typing import Any

import keras
from keras import ops

from rnnapps import layers as recurrent
from rnnapps.models.writer_parts import WriterParts

KINDS = ("soft", "adaptive", "merge", "inject")


def captioner(
    places: int,
    channels: int,
    vocabulary: int,
    kind: str = "soft",
    cell: str = "lstm",
    units: int = 512,
    layers: int = 1,
    embedding: int = 256,
    **options: Any,
) -> keras.Model:
    """Builds the functional model p(y_t | y_1 .. y_{t-1}, picture) = softmax(V a_t + b) of a caption y.

    A picture is given as the features that an encoder has seen at the places of a grid; `rnnapps.layers.Places` makes
    the memory of them. With `kind`

        soft        the decoder looks at the grid at every step; it starts from the mean of the memory (Xu et al.)
        adaptive    also, and at a sentinel, for words that need no picture (Lu et al.)
        merge       the decoder reads the words alone, and the mean of the features joins them after it (Tanti et al.)
        inject      the mean of the features is the decoder's first input, and it sees the picture no more (Vinyals et
                    al.)

    Args:
        places: Of the grid.
        channels: Size of the features of a place.
        vocabulary: Number of ids; 0 starts a caption and fills up what is shorter.
        kind: A name of `KINDS`.
        cell: A key of `writer_parts.CELLS`.
        units: Size of each cell's state.
        layers: Cells on top of each other.
        embedding: Size of an id's learnt vector.
        **options: `score`, `attention_units` (that of m_j too), `input_feeding` as of `AttentionDecoder`; `tied`,
            `dropout`, `locked`, `recurrent_dropout`, `seed`, `dtype` as of `models.translator`.

    Returns:
        A model with inputs `{"source": float32 (batch, places, channels), "target": int32 (batch, time)}`, what was
        seen and what the decoder reads, and the outputs of `models.translator`.

    Raises:
        ValueError: `kind`, `cell` or an option is not known, or options do not go together.

    References: Xu et al., 2015, https://arxiv.org/abs/1502.03044; Lu et al., 2016, https://arxiv.org/abs/1612.01887;
    Tanti et al., 2017, https://arxiv.org/abs/1708.02043; Vinyals et al., 2014, https://arxiv.org/abs/1411.4555
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}: wanted one of {', '.join(KINDS)}")
    looks = kind in ("soft", "adaptive")
    options = {**options, "sentinel": kind == "adaptive"} if looks else {**options, "input_feeding": False}
    build = WriterParts("captioner", cell, units, layers, embedding, options, {})

    # === Layers ===
    embed = build.embedding(vocabulary, "target_embedding")
    width = build.options["attention_units"] or units
    make_memory = recurrent.Places(width, kernel_initializer=build.glorot(), dtype=build.dtype, name="encoder")
    decoder = build.decoder()
    bridge = recurrent.Bridge(
        list(decoder.state_sizes.values())[: decoder.num_cell_states],
        "last" if looks else "zero",
        kernel_initializer=build.glorot(),
        dtype=build.dtype,
        name="bridge",
    )
    output = build.output(vocabulary, embed)

    # === Functional model ===
    source = keras.Input((places, channels), dtype="float32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    seen = source if looks else ops.mean(source, axis=1, keepdims=True)
    # A decoder that has read the picture has nothing left to look at: a place of zeros.
    memory = make_memory(ops.zeros_like(seen[:, :, :1]) if kind == "inject" else seen)
    memory = build.drop(memory, "memory_dropout")
    states = bridge([ops.mean(memory, axis=1)], memory)
    read = build.drop(embed(target), "target_dropout")
    if kind == "inject":
        first = keras.layers.Dense(embedding, kernel_initializer=build.glorot(), dtype=build.dtype, name="first_input")
        read = ops.concatenate([first(seen), read], axis=1)
    written, alignment, *_ = decoder(read, memory, initial_state=states)
    if kind == "inject":
        written, alignment = written[:, 1:], alignment[:, 1:]
    written = build.drop(written, "output_dropout")
    found = {"logits": output(written), "alignment": alignment, "features": written}
    return keras.Model({"source": source, "target": target}, found, name="captioner")


def with_encoder(encoder: keras.Model, writer: keras.Model) -> keras.Model:
    """A captioner behind an encoder, which are its layers `picture_encoder` and `captioner`.

    Returns:
        A model with inputs `{"picture": (batch, rows, columns, 3), "target": int32 (batch, time)}`, and the outputs of
        `captioner`.
    """
    picture = keras.Input(encoder.input.shape[1:], dtype=encoder.input.dtype, name="picture")
    target = keras.Input((None,), dtype="int32", name="target")
    found = writer({"source": encoder(picture), "target": target})
    return keras.Model({"picture": picture, "target": target}, found, name="picture_captioner")
