"""From the files of pictures to sentences: pixels, the network, a search or draws, and text, all in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from rnnapps.data.picture_tensors import decoded
from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.decoding import Search
from rnnapps.serving.decoder_parts import DecoderParts, Read
from rnnapps.serving.sentence_writer import Draws, SentenceWriter


class Captioner:
    """Describes pictures, by whatever network, with whatever vocabulary.

    Args:
        parts: The network; it reads what `see` gives.
        vocabulary: Of what is written.
        grid: Rows and columns of the places that attention chooses from; None where the decoder does not look.
        see: From the files `(batch,)` string to what the network reads.
        shards: As of `SentenceWriter`.
        compiled: As of `SentenceWriter`.
    """

    def __init__(
        self,
        parts: DecoderParts,
        vocabulary: SentenceCodec,
        grid: tuple[int, int] | None,
        see: Callable[[tf.Tensor], tf.Tensor],
        shards: int | None = None,
        compiled: Callable[[Any], Any] = lambda function: function,
    ):
        self.writer, self.grid, self._see = SentenceWriter(parts, vocabulary, shards, compiled), grid, see

    def read(self, files: tf.Tensor) -> Read:
        """What the network makes of pictures."""
        return self.writer.parts.encode(self._see(files))

    def caption(
        self, files: tf.Tensor, options: Search | Draws, prefix: tf.Tensor | None = None, align: bool = True
    ) -> dict[str, tf.Tensor]:
        """Describes each picture.

        Args:
            files: `(batch,)` string: JPEG, PNG, GIF or BMP.
            options: How to search, or to draw.
            prefix: `(batch,)` string: what each caption begins with.
            align: Whether `attention` is computed.

        Returns:
            `caption (batch, n)` string; `score` and `log_prob (batch, n)` float32, in nats; `tokens (batch, n)`, how
            many were written, without the end; with `align`, of the first caption, what `looks` gives.
        """
        read = self.read(files)
        forced, num_forced = self.writer.forced(prefix)
        if isinstance(options, Search):
            tokens, log_probs, scores = self.writer.search(read, options, forced, num_forced)
        else:
            tokens, log_probs, scores = self.writer.draw(read, options, forced, num_forced)
        written = self.writer.written(read, tokens, align)
        return {"caption": written.pop("text"), **self._shown(written), "score": scores, "log_prob": log_probs}

    def looks(self, files: tf.Tensor, captions: tf.Tensor) -> dict[str, tf.Tensor]:
        """log p of captions, each of its picture, and where each of their tokens looks.

        Returns:
            `log_prob (batch,)` in nats and `tokens (batch,)`, the end counted; `pieces (batch, time)` string, "" at the
            end and beyond; `attention (batch, time, rows, columns)`, 0 beyond the end, and `sentinel (batch, time)`,
            the weight of what is no place of the picture.
        """
        read = self.read(files)
        scored = self.writer.score(read, captions)
        tokens, _ = self.writer.ended(captions)
        written = self.writer.written(read, tokens[:, tf.newaxis])
        shown = self._shown({name: written[name] for name in ("pieces", "alignment")})
        return {**scored, **shown}

    def _shown(self, written: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The same, with an alignment as a grid."""
        if "alignment" not in written:
            return written
        looks = written.pop("alignment")
        rows, columns = self.grid or (1, 1)
        places = rows * columns
        shape = tf.concat([tf.shape(looks)[:2], (rows, columns)], 0)
        there = tf.reduce_sum(looks[:, :, places:], axis=-1)
        return {**written, "attention": tf.reshape(looks[:, :, :places], shape), "sentinel": there}


def seen_by(encoder: Callable[[tf.Tensor], tf.Tensor], size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """From files to what an encoder of pictures `(batch, size, size, 3)` sees in them."""
    return lambda files: encoder(decoded(files, size))
