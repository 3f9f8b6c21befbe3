"""Text to ids and back inside the graph, so that an exported model takes strings and gives strings."""

from __future__ import annotations

import tensorflow as tf

from rnnapps.data.vocabulary import UNSEEN, Vocabulary
from rnnapps.ops.strings import split


class TextCodec(tf.Module):
    """A vocabulary as TensorFlow operations: stock ones and two lookup tables, fit for any SavedModel.

    Gives what `Vocabulary.encode` and `Vocabulary.decode` give. Keep it as an attribute of the object that is saved
    (with Keras' `ExportArchive`: `track` it), since its tables hold state.

    Args:
        vocabulary: The vocabulary to put into the graph.
    """

    def __init__(self, vocabulary: Vocabulary):
        super().__init__(name="text_codec")
        self.kind = vocabulary.kind
        symbols = tf.constant(vocabulary.symbols, tf.string, shape=(len(vocabulary.symbols),))
        ids = tf.range(1, vocabulary.size, dtype=tf.int32)
        self.id_of_symbol = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(symbols, ids), 0)
        self.symbol_of_id = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(ids, symbols), UNSEEN)

    def encode(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Ids of each string.

        Args:
            strings: `(batch,)` string, UTF-8; bytes that are not become U+FFFD, except with byte tokens.

        Returns:
            Ragged int32 `(batch, tokens)`; 0 for what the vocabulary does not hold.
        """
        pieces = split(strings, self.kind)
        return pieces.with_flat_values(self.id_of_symbol.lookup(pieces.flat_values))

    def decode(self, ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Text of the first `lengths` ids of each row.

        Args:
            ids: `(batch, steps)` int32. Id 0, and any id that the vocabulary has not, becomes U+FFFD.
            lengths: `(batch,)` int32, each at most `steps`.

        Returns:
            `(batch,)` string, always valid UTF-8: bytes that are not become U+FFFD.
        """
        rows = tf.RaggedTensor.from_tensor(ids, lengths=lengths)
        symbols = rows.with_flat_values(self.symbol_of_id.lookup(rows.flat_values))
        text = tf.strings.reduce_join(symbols, axis=1)
        if self.kind == "byte":
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        return text
