"""The endpoints `encode` and `step` of any network that reads once and writes step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from rnnapps.decoding import States
from rnnapps.serving.decoder_parts import DecoderParts, Read


def rows(dtype: tf.DType, name: str, *shape: int | None) -> tf.TensorSpec:
    """An input with a row for each request."""
    return tf.TensorSpec((None, *shape), dtype, name=name)


def encode_and_step(parts: DecoderParts, read: Callable[[tf.Tensor], Read], source: tf.TensorSpec) -> tuple[Any, Any]:
    """The endpoints of a network.

    Args:
        parts: The network.
        read: What it makes of its source.
        source: The source.

    Returns:
        `encode`, from the source to memory and first states by name; and `step`, from `token (batch,)` int32, states
        and memory to `logits` and states.
    """
    examples: list[Read] = []

    def encode(given: tf.Tensor) -> dict[str, tf.Tensor]:
        examples.append(read(given))
        return {**examples[-1].memory, **examples[-1].states}

    def step(token: tf.Tensor, given: States) -> dict[str, tf.Tensor]:
        memory, states = ({name: given[name] for name in part} for part in examples[0])
        logits, states = parts.step(memory)(token, states)
        return {"logits": logits, **states}

    encoding = tf.function(encode, input_signature=[source], autograph=False)
    found = encoding.get_concrete_function().structured_outputs
    inputs = {name: rows(tensor.dtype, name, *tensor.shape[1:]) for name, tensor in found.items()}
    return encoding, tf.function(step, input_signature=[rows(tf.int32, "token"), inputs], autograph=False)
