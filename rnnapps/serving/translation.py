"""From sentences to sentences: tokens, the network, a search or draws, and text again, all in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import END
from rnnapps.decoding import Search
from rnnapps.serving.decoder_parts import DecoderParts
from rnnapps.serving.endpoints import bucket
from rnnapps.serving.sentence_writer import Draws, SentenceWriter

# One request cannot keep a server busy for ever: what is longer is cut, in tokens.
MAX_SOURCE = 512
# Places of a source that is compiled, or a multiple of the last.
PLACES = (16, 32, 64, 128)
# A translation is at most so many times as long as its source, and a few tokens more.
_GROWTH, _MORE = 2, 10


class Translator:
    """Translates, by whatever network, with whatever vocabularies.

    Args:
        parts: The network.
        source: The vocabulary of what is read.
        target: That of what is written.
        shards: As of `SentenceWriter`.
        compiled: As of `SentenceWriter`; also of reading, for each of `PLACES` that the longest source needs.
    """

    def __init__(
        self,
        parts: DecoderParts,
        source: SentenceCodec,
        target: SentenceCodec,
        shards: int | None = None,
        compiled: Callable[[Any], Any] | None = None,
    ):
        self.source, self._is_compiled = source, compiled is not None
        given = {} if compiled is None else {"compiled": compiled}
        self.writer = SentenceWriter(parts, target, shards, **given)
        self._encode = parts.encode if compiled is None else compiled(parts.encode)

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
            how many were written, without the end; `truncated (batch, n)` bool, whether the source was cut, or the
            translation ran to its limit, where any end is taken; with `align`, of the first translation `alignment
            (batch, time, places)`, rows of which sum to 1 up to the end, and `pieces (batch, time)` and `source_pieces
            (batch, places)` string, its axes, with "" beyond the ends.
        """
        ids, pieces, is_cut = self._read(sentences)
        read = self._encode(ids)
        forced, num_forced = self.writer.forced(prefix)
        limits = tf.fill(tf.shape(sentences), options.max_length)
        there = tf.not_equal(ids, 0)
        if isinstance(options, Search):
            limits = _GROWTH * tf.reduce_sum(tf.cast(there, tf.int32), 1) + _MORE
            limits = tf.minimum(limits if num_forced is None else limits + num_forced, options.max_length)
            tokens, log_probs, scores = self.writer.search(read, options, forced, num_forced, limits, there)
        else:
            tokens, log_probs, scores = self.writer.draw(read, options, forced, num_forced)
        empty = tf.equal(ids[:, 0], END)[:, tf.newaxis]
        written = self.writer.written(read, tf.where(empty[..., tf.newaxis], 0, tokens), align, pieces)
        aligned = {"source_pieces": pieces} if align else {}
        if align:
            aligned["alignment"] = written.pop("alignment")[:, :, : tf.shape(pieces)[1]]
        truncated = is_cut[:, tf.newaxis] | (written["tokens"] + 1 >= limits[:, tf.newaxis])
        scores, log_probs = tf.where(empty, 0.0, scores), tf.where(empty, 0.0, log_probs)
        found = {"translation": written.pop("text"), **written, **aligned, "truncated": truncated}
        return {**found, "score": scores, "log_prob": log_probs}

    def score(self, sources: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """log p of targets, each given its source: `log_prob (batch,)` in nats, and `tokens (batch,)`, END counted."""
        ids, _, _ = self._read(sources)
        return self.writer.score(self._encode(ids), targets)

    def _read(self, sentences: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Ids of the sources with their end, and their pieces, "" for the end and beyond: `(batch, places)`.

        Last comes whether they were cut, `(batch,)` bool.

        What is compiled gets ids of few widths, and so more of them than there are pieces.
        """
        ids, pieces = self.source.tokens(sentences)
        one, is_cut = (tf.shape(sentences)[0], 1), ids.row_lengths() > MAX_SOURCE
        ids = tf.concat([ids[:, :MAX_SOURCE], tf.fill(one, END)], 1)
        pieces = tf.concat([pieces[:, :MAX_SOURCE], tf.fill(one, "")], 1)
        # One place at least, also where there is no sentence: no maximum is over nothing.
        width = tf.cast(tf.reduce_max(tf.concat([ids.row_lengths(), [1]], 0)), tf.int32)
        room = bucket(width, PLACES, PLACES[-1]) if self._is_compiled else width
        pieces = pieces.to_tensor(default_value="", shape=(tf.shape(sentences)[0], width))
        return ids.to_tensor(shape=(tf.shape(sentences)[0], room)), pieces, is_cut
