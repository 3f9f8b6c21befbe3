"""The endpoints `encode` and `step` of any network that reads once and writes step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.decoding import States
from rnnapps.ops import execution
from rnnapps.serving.decoder_parts import DecoderParts, Read
from rnnapps.serving.endpoints import Request


def rows(dtype: tf.DType, name: str, *shape: int | None) -> tf.TensorSpec:
    """An input with a row for each request."""
    return tf.TensorSpec((None, *shape), dtype, name=name)


def encode_and_step(
    parts: DecoderParts,
    read: Callable[[tf.Tensor], Read],
    source: tf.TensorSpec,
    compiled: Callable[[Any], Any] = lambda function: function,
) -> tuple[Any, Any]:
    """The endpoints of a network.

    A server that joins requests of different lengths fills up the shorter ones with anything. So what there is of a
    memory is said by a number for each row, `places`, and not by a mask.

    Args:
        parts: The network.
        read: What it makes of its source.
        source: The source.
        compiled: Given the step of a network, returns it compiled.

    Returns:
        `encode`, from the source to memory and first states by name; and `step`, from `token (batch,)` int32, states
        and memory to `logits` and states.
    """
    examples: list[Read] = []

    def encode(given: tf.Tensor) -> dict[str, tf.Tensor]:
        found = read(given)
        memory = dict(found.memory)
        if "mask" in memory:
            memory["places"] = tf.reduce_sum(tf.cast(memory.pop("mask"), tf.int32), axis=1)
        examples.append(Read(memory, found.states))
        return {**memory, **found.states}

    @compiled
    def go_on(token: tf.Tensor, states: States, memory: dict[str, tf.Tensor]) -> tuple[tf.Tensor, States]:
        if "places" in memory:
            memory = dict(memory)
            places = memory.pop("places")
            memory["mask"] = tf.sequence_mask(places, tf.shape(next(iter(memory.values())))[1])
        return parts.step(memory)(token, states)

    def step(token: tf.Tensor, given: States) -> dict[str, tf.Tensor]:
        memory, states = ({name: given[name] for name in part} for part in examples[0])
        logits, states = go_on(token, states, memory)
        return {"logits": logits, **states}

    encoding = tf.function(encode, input_signature=[source], autograph=False)
    with execution.one_shard():  # as of all that is exported
        found = encoding.get_concrete_function().structured_outputs
    inputs = {name: rows(tensor.dtype, name, *tensor.shape[1:]) for name, tensor in found.items()}
    return encoding, tf.function(step, input_signature=[rows(tf.int32, "token"), inputs], autograph=False)


def step_examples(encode: Any, sources: Sequence[np.ndarray]) -> list[Request]:
    """Requests to `encode` of sources of one row each, and to `step` of what it makes of them."""
    (spec,) = encode.input_signature
    read = [{name: value.numpy() for name, value in encode(source).items()} for source in sources]
    return [
        *(("encode", {spec.name: source}) for source in sources),
        *(("step", {"token": np.full(1, 2 * i, "int32"), **given}) for i, given in enumerate(read)),
    ]
