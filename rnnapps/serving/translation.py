"""From sentences to sentences: tokens, the network, a search or draws, and text again, all in a graph."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rnnapps import decoding
from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import END, UNSEEN
from rnnapps.decoding import Search, Settings
from rnnapps.ops import execution
from rnnapps.serving.decoder_parts import ALIGNMENT, DecoderParts, Read

# One request cannot keep a server busy for ever: what is longer is cut, in tokens.
MAX_SOURCE = 512
# A translation is at most so many times as long as its source, and a few tokens more.
_GROWTH, _MORE = 2, 10


@dataclass(frozen=True)
class Draws:
    """Translations that are drawn, and not searched for.

    Attributes:
        num_samples: Of a sentence.
        max_length: Tokens, with the end.
        temperature, top_k, top_p, min_p: As in `decoding.Settings`.
        seed: The same seed gives the same translations; sample i of a sentence uses `seed + i`.
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


class Translator:
    """Translates, by whatever network, with whatever vocabularies.

    Args:
        parts: The network.
        source: The vocabulary of what is read.
        target: That of what is written.
        shards: Searches that run side by side, each for a part of the sentences. Default: as many as there are cores,
            as each does the small operations of a step alone; a server has other requests for the other cores.
    """

    def __init__(self, parts: DecoderParts, source: SentenceCodec, target: SentenceCodec, shards: int | None = None):
        self.parts, self.source, self.target, self.shards = parts, source, target, shards

    def translate(
        self, sentences: tf.Tensor, options: Search | Draws, prefix: tf.Tensor | None = None, align: bool = True
    ) -> dict[str, tf.Tensor]:
        """Translates each sentence; an empty one has an empty translation, of probability 1.

        A token that the vocabulary lacks is, with `align`, the piece of the source that the decoder looked at most.

        Args:
            sentences: `(batch,)` string. More than `MAX_SOURCE` tokens are cut.
            options: How to search, or to draw.
            prefix: `(batch,)` string: what each translation begins with.
            align: Whether alignments are computed.

        Returns:
            `translation (batch, n)` string; `score` and `log_prob (batch, n)` float32, in nats; `tokens (batch, n)`,
            how many were written, without the end; with `align`, of the first translation `alignment (batch, time,
            places)`, rows of which sum to 1 up to the end, and `pieces (batch, time)` and `source_pieces (batch,
            places)` string, its axes, with "" beyond the ends.
        """
        ids, pieces = self._read(sentences)
        read = self.parts.encode(ids)
        forced = num_forced = None
        if prefix is not None:
            ragged = self.target.encode(prefix)
            forced, num_forced = ragged.to_tensor(), tf.cast(ragged.row_lengths(), tf.int32)
        if isinstance(options, Draws):
            tokens, log_probs, scores = self._draw(read, options, forced, num_forced)
        else:
            tokens, log_probs, scores = self._search(read, ids, options, forced, num_forced)
        empty = tf.equal(ids[:, 0], END)[:, tf.newaxis]
        tokens = tf.where(empty[..., tf.newaxis], 0, tokens)
        scores, log_probs = tf.where(empty, 0.0, scores), tf.where(empty, 0.0, log_probs)
        return self._written(pieces, read, tokens, align) | {"score": scores, "log_prob": log_probs}

    def score(self, sources: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """log p of targets, each given its source: `log_prob (batch,)` in nats, and `tokens (batch,)`, END counted."""
        ids, _ = self._read(sources)
        read = self.parts.encode(ids)
        ragged = self.target.encode(targets)
        wanted = tf.concat([ragged, tf.fill((tf.shape(ids)[0], 1), END)], 1)
        lengths, wanted = tf.cast(wanted.row_lengths(), tf.int32), wanted.to_tensor()
        _, _, nats = decoding.follow(self.parts.step(read.memory), read.states, _shifted(wanted), wanted)
        there = tf.sequence_mask(lengths, tf.shape(wanted)[1], nats.dtype)
        return {"log_prob": -tf.reduce_sum(nats * there, axis=1), "tokens": lengths}

    def _read(self, sentences: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids of the sources with their end, `(batch, places)`, and their pieces, "" for the end and beyond."""
        ids, pieces = self.source.tokens(sentences)
        one = (tf.shape(sentences)[0], 1)
        ids = tf.concat([ids[:, :MAX_SOURCE], tf.fill(one, END)], 1)
        pieces = tf.concat([pieces[:, :MAX_SOURCE], tf.fill(one, "")], 1)
        # One place at least, also where there is no sentence: no maximum is over nothing.
        width = tf.reduce_max(tf.concat([ids.row_lengths(), [1]], 0))
        shape = tf.stack([ids.nrows(), width])
        return ids.to_tensor(shape=shape), pieces.to_tensor(default_value="", shape=shape)

    def _search(
        self, read: Read, ids: tf.Tensor, options: Search, forced: tf.Tensor | None, num_forced: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """Tokens `(batch, n, time)`, log p and scores."""
        there = tf.not_equal(ids, 0)
        limits = _GROWTH * tf.reduce_sum(tf.cast(there, tf.int32), 1) + _MORE
        limits = tf.minimum(limits if num_forced is None else limits + num_forced, options.max_length)
        shards, parts = self.shards or execution.row_shards(None)[0], []
        for some, *given in execution.cut(shards, read, forced, num_forced, limits, there):
            found = decoding.beam_search(self.parts.step(some.memory, options.beam), some.states, options, *given)
            parts.append((found.tokens, found.log_probs, found.scores))
        return [tf.concat(pieces, 0) for pieces in zip(*parts, strict=True)]

    def _draw(
        self, read: Read, options: Draws, forced: tf.Tensor | None, num_forced: tf.Tensor | None
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

    def _written(self, pieces: tf.Tensor, read: Read, tokens: tf.Tensor, align: bool) -> dict[str, tf.Tensor]:
        """The text of the tokens `(batch, n, time)`, and where they looked."""
        batch, count = tf.shape(tokens)[0], tokens.shape[1]
        lengths = tf.reduce_sum(tf.cast(tokens > END, tf.int32), axis=-1)
        longest = tf.reduce_max(tf.concat([tf.reshape(lengths, [-1]), [0]], 0))
        tokens = tokens[:, :, : longest + 1]  # with the end, unless they were cut
        width = tf.shape(tokens)[2]
        rows = tf.reshape(tokens, (batch * count, width))
        unseen, aligned = None, {}
        if align:
            step = self.parts.step(read.memory, count)
            states = {name: tf.repeat(value, count, axis=0) for name, value in read.states.items()}
            _, recorded, _ = decoding.follow(step, states, _shifted(rows), rows, record=[ALIGNMENT])
            looks = recorded[ALIGNMENT]  # (batch * n, time, places)
            places = tf.argmax(looks, axis=-1, output_type=tf.int32)
            unseen = tf.gather(tf.repeat(pieces, count, axis=0), places, batch_dims=1)
            first = tf.reshape(looks, (batch, count, width, tf.shape(pieces)[1]))[:, 0]
            there = tf.not_equal(tokens[:, 0], 0)
            aligned = {
                "alignment": tf.where(there[..., tf.newaxis], first, tf.zeros_like(first)),
                "pieces": self._pieces_of(tokens[:, 0], tf.reshape(unseen, (batch, count, width))[:, 0]),
                "source_pieces": pieces,
            }
        text = self.target.decode(rows, tf.reshape(lengths, [-1]), unseen)
        return {"translation": tf.reshape(text, (batch, count)), "tokens": lengths, **aligned}

    def _pieces_of(self, tokens: tf.Tensor, unseen: tf.Tensor) -> tf.Tensor:
        symbols = tf.gather(self.target.symbol_of_id, tokens)
        return tf.where(tf.equal(tokens, UNSEEN), unseen, symbols)


def _shifted(tokens: tf.Tensor) -> tf.Tensor:
    """What a decoder reads to write these tokens: 0 first, and not the last."""
    return tf.pad(tokens[:, :-1], [[0, 0], [1, 0]])
