"""Sentences that a network writes: searched or drawn, in a graph, with where it looked at each token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from rnnapps import decoding
from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import END, UNSEEN
from rnnapps.decoding import Search, Settings
from rnnapps.ops import execution
from rnnapps.serving.decoder_parts import ALIGNMENT, DecoderParts, Read


@dataclass(frozen=True)
class Draws:
    """Sentences that are drawn, and not searched for.

    Attributes:
        num_samples: Of what was read.
        max_length: Tokens, with the end.
        temperature, top_k, top_p, min_p: As in `decoding.Settings`.
        seed: The same seed gives the same sentences; sample i uses `seed + i`.
    """

    num_samples: int
    max_length: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def settings(self, rows: tf.Tensor) -> Settings:
        """For so many rows; what is off is left out."""

        def filled(value: float, off: float, dtype: tf.DType) -> tf.Tensor | None:
            return None if value == off else tf.fill((rows,), tf.constant(value, dtype))

        return Settings(
            temperature=tf.fill((rows,), self.temperature),
            top_k=filled(self.top_k, 0, tf.int32),
            top_p=filled(self.top_p, 1, tf.float32),
            min_p=filled(self.min_p, 0, tf.float32),
        )


class SentenceWriter:
    """Writes about what was read, by whatever network, with whatever vocabulary.

    Args:
        parts: The network.
        target: The vocabulary of what is written.
        shards: Searches that run side by side, each for a part of the rows. Default: as many as there are cores, as
            each does the small operations of a step alone; a server has other requests for the other cores.
        compiled: Given a function of numbers, that of a search, returns it compiled.
    """

    def __init__(
        self,
        parts: DecoderParts,
        target: SentenceCodec,
        shards: int | None = None,
        compiled: Callable[[Any], Any] = lambda function: function,
    ):
        self.parts, self.target, self.shards, self.compiled = parts, target, shards, compiled

    def forced(self, prefix: tf.Tensor | None) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Tokens `(batch, n)` of what each sentence begins with, and their number; None for nothing."""
        if prefix is None:
            return None, None
        ragged = self.target.encode(prefix)
        return ragged.to_tensor(), tf.cast(ragged.row_lengths(), tf.int32)

    def search(
        self,
        read: Read,
        options: Search,
        forced: tf.Tensor | None = None,
        num_forced: tf.Tensor | None = None,
        limits: tf.Tensor | None = None,
        there: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """Tokens `(batch, n, time)`, log p and scores of the best sentences; arguments as of `beam_search`."""
        shards, parts = self.shards or execution.row_shards(None)[0], []

        def best(some: Read, *given: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            found = decoding.beam_search(self.parts.step(some.memory, options.beam), some.states, options, *given)
            return found.tokens, found.log_probs, found.scores

        searching = self.compiled(best)
        for part in execution.cut(shards, read, forced, num_forced, limits, there):
            parts.append(searching(*part))
        return [tf.concat(pieces, 0) for pieces in zip(*parts, strict=True)]

    def draw(
        self, read: Read, options: Draws, forced: tf.Tensor | None = None, num_forced: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Tokens `(batch, n, time)`, log p and, as score, log p a token."""
        count, steps = options.num_samples, options.max_length
        rows = tf.shape(read.states[ALIGNMENT])[0]
        states = {name: tf.repeat(value, count, axis=0) for name, value in read.states.items()}
        seed = options.seed + tf.tile(tf.range(count), [rows])
        given = tf.zeros((rows * count, 0), tf.int32) if forced is None else tf.repeat(forced, count, axis=0)
        lengths = tf.zeros_like(seed) if num_forced is None else tf.repeat(num_forced, count)
        given = tf.pad(given[:, :steps], [[0, 0], [0, steps - tf.minimum(tf.shape(given)[1], steps)]])
        step = self.parts.step(read.memory, count)
        carry = decoding.start(states, seed)
        tokens, _ = decoding.generate(
            step, carry, options.settings(rows * count), given, lengths, tf.constant(steps), end=END
        )
        _, _, nats = decoding.follow(step, states, _shifted(tokens), tokens)
        written = tf.cast(tf.not_equal(tokens, 0), nats.dtype)
        log_probs = -tf.reduce_sum(nats * written, axis=1)
        scores = tf.math.divide_no_nan(log_probs, tf.reduce_sum(written, axis=1))
        shape = (rows, count)
        return tf.reshape(tokens, (*shape, steps)), tf.reshape(log_probs, shape), tf.reshape(scores, shape)

    def score(self, read: Read, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """log p of sentences, each given what was read: `log_prob (batch,)` in nats, and `tokens`, END counted."""
        wanted, lengths = self.ended(texts)
        _, _, nats = decoding.follow(self.parts.step(read.memory), read.states, _shifted(wanted), wanted)
        there = tf.sequence_mask(lengths, tf.shape(wanted)[1], nats.dtype)
        return {"log_prob": -tf.reduce_sum(nats * there, axis=1), "tokens": lengths}

    def written(
        self, read: Read, tokens: tf.Tensor, align: bool = True, sources: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """The text of tokens, and where they looked.

        Args:
            read: What was read.
            tokens: `(batch, n, time)`.
            align: Whether alignments are computed.
            sources: `(batch, places)` string: what stands at a place of the memory, for tokens that the vocabulary
                lacks. None: nothing.

        Returns:
            `text (batch, n)` string, `tokens (batch, n)`, how many are no end; with `align`, of the first sentence
            `alignment (batch, time, places)`, rows of which sum to 1 up to the end, and `pieces (batch, time)` string,
            its axis, with "" beyond the end.
        """
        batch, count = tf.shape(tokens)[0], tokens.shape[1]
        lengths = tf.reduce_sum(tf.cast(tokens > END, tf.int32), axis=-1)
        longest = tf.reduce_max(tf.concat([tf.reshape(lengths, [-1]), [0]], 0))
        tokens = tokens[:, :, : longest + 1]  # with the end, unless they were cut
        width = tf.shape(tokens)[2]
        rows = tf.reshape(tokens, (batch * count, width))
        unseen, aligned = None, {}
        if align:
            looks = self._looks(read, rows, count)
            if sources is not None:
                places = tf.argmax(looks, axis=-1, output_type=tf.int32)
                unseen = tf.gather(tf.repeat(sources, count, axis=0), places, batch_dims=1)
            first = tf.reshape(looks, (batch, count, width, tf.shape(looks)[2]))[:, 0]
            there = tf.not_equal(tokens[:, 0], 0)
            pieces = tf.gather(self.target.symbol_of_id, tokens[:, 0])
            if unseen is not None:
                copied = tf.reshape(unseen, (batch, count, width))[:, 0]
                pieces = tf.where(tf.equal(tokens[:, 0], UNSEEN), copied, pieces)
            aligned = {
                "alignment": tf.where(there[..., tf.newaxis], first, tf.zeros_like(first)),
                "pieces": pieces,
            }
        text = self.target.decode(rows, tf.reshape(lengths, [-1]), unseen)
        return {"text": tf.reshape(text, (batch, count)), "tokens": lengths, **aligned}

    def ended(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Tokens of texts with their end, and their number."""
        ragged = self.target.encode(texts)
        ragged = tf.concat([ragged, tf.fill((tf.shape(texts)[0], 1), END)], 1)
        return ragged.to_tensor(), tf.cast(ragged.row_lengths(), tf.int32)

    def _looks(self, read: Read, rows: tf.Tensor, count: int) -> tf.Tensor:
        """Where each token of `(batch * count, time)` looked, `(batch * count, time, places)`."""
        step = self.parts.step(read.memory, count)
        states = {name: tf.repeat(value, count, axis=0) for name, value in read.states.items()}
        _, recorded, _ = decoding.follow(step, states, _shifted(rows), rows, record=[ALIGNMENT])
        return recorded[ALIGNMENT]


def _shifted(tokens: tf.Tensor) -> tf.Tensor:
    """What a decoder reads to write these tokens: 0 first, and not the last."""
    return tf.pad(tokens[:, :-1], [[0, 0], [1, 0]])
