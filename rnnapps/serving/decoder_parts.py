"""The two halves of a network that writes sentences: what is read once, and the step that writes the next token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

from rnnapps.decoding import States, Step

ALIGNMENT = "alignment"


class Read(NamedTuple):
    """What the encoder has made of a batch of sources.

    Attributes:
        memory: By name, `(batch, places, ...)`: what attention looks at; "mask" is True where there is something.
        states: By name, `(batch, ...)`: what the decoder starts from; "alignment" holds the weights of the last look.
    """

    memory: dict[str, tf.Tensor]
    states: States


class DecoderParts(Protocol):
    """A network, wherever it comes from."""

    def encode(self, source: tf.Tensor) -> Read:
        """Reads what the network reads: `(batch, places)` ids, of which 0 fills up what is shorter; or pictures."""

    def step(self, memory: Mapping[str, tf.Tensor], beams: int = 1) -> Step:
        """The step of `beams` hypotheses for each row of the memory, those of a row next to each other."""


class NetworkParts:
    """Of a Keras model with layers `encoder`, `bridge`, `decoder` and `target_embedding`, as `models.translator`.

    Where it has a layer `first_input`, as `models.captioner` may, the decoder reads that before the first token.

    Args:
        model: The model.
    """

    def __init__(self, model: keras.Model):
        self._decoder, self._embedding = model.get_layer("decoder"), model.get_layer("target_embedding")
        names = [layer.name for layer in model.layers]
        self._logits = model.get_layer("logits") if "logits" in names else None
        memory = keras.tree.flatten(model.get_layer("encoder").output)[0]
        first = [model.get_layer("first_input").output] if "first_input" in names else []
        states = keras.tree.flatten(model.get_layer("bridge").output)
        self._encoder, self._reads_first = keras.Model(model.input["source"], [memory, *first, *states]), len(first)
        self._names = list(self._decoder.state_sizes)

    def encode(self, source: tf.Tensor) -> Read:
        memory, *states = self._encoder(source, training=False)
        read = self._decoder.read(memory, tf.not_equal(source, 0) if source.dtype.is_integer else None)
        first, states = states[: self._reads_first], states[self._reads_first :]
        start = self._decoder.initial_states(memory, states)
        for inputs in first:
            _, _, start = self._decoder.step(inputs[:, 0], start, read)
        places = tf.shape(memory)[1] if memory.shape[1] is None else memory.shape[1]
        look = tf.zeros((tf.shape(memory)[0], self._decoder.places(places)), tf.float32)
        return Read(read, {**dict(zip(self._names, start, strict=True)), ALIGNMENT: look})

    def step(self, memory: Mapping[str, tf.Tensor], beams: int = 1) -> Step:
        look_and_go_on = self._decoder.stepper(memory, beams)

        def step(tokens: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
            before = [states[name] for name in self._names]
            output, look, after = look_and_go_on(self._embedding(tokens), before)
            logits = self._embedding(output, reverse=True) if self._logits is None else self._logits(output)
            new = {name: tf.cast(state, states[name].dtype) for name, state in zip(self._names, after, strict=True)}
            return tf.cast(logits, tf.float32), {**new, ALIGNMENT: look}

        return step


class ExportedParts:
    """Of an export with endpoints `encode` and `step`, as `serving.translation_endpoints` makes them.

    Args:
        encode: Endpoint of what is read.
        step: Endpoint of the next token.
        vocabulary: Number of target ids.
    """

    def __init__(self, encode: Any, step: Any, vocabulary: int):
        (self._input,) = encode.function.structured_input_signature[1]
        self._encode, self._step, self._vocabulary = encode, step, vocabulary
        given, taken = encode.function.structured_outputs, step.function.structured_input_signature[1]
        self._states = [name for name in given if name in step.function.structured_outputs]
        self._memory = [name for name in taken if name in given and name not in self._states]

    def encode(self, source: tf.Tensor) -> Read:
        found = self._encode({self._input: source})
        return Read({name: found[name] for name in self._memory}, {name: found[name] for name in self._states})

    def step(self, memory: Mapping[str, tf.Tensor], beams: int = 1) -> Step:
        repeated = {name: tf.repeat(memory[name], beams, axis=0) for name in self._memory}

        def step(tokens: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
            found = self._step({"token": tokens, **states, **repeated})
            new = {name: tf.ensure_shape(found[name], states[name].shape) for name in self._states}
            return tf.ensure_shape(found["logits"], (None, self._vocabulary)), new

        return step
