"""Sentences to ids and back inside the graph: the same operations prepare training data and serve a saved model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from rnnapps.data.sentences import END, FIRST, UNSEEN, SentenceVocabulary, pretokens
from rnnapps.data.vocabulary import UNSEEN as UNSEEN_CHARACTER
from rnnapps.ops.strings import CPU, clean

_NONE = tf.int64.max


class SentenceCodec(tf.Module):
    """A `SentenceVocabulary` as TensorFlow operations: stock ones and lookup tables, fit for any SavedModel.

    Keep it as an attribute of the object that is saved (with Keras' `ExportArchive`: `track` it), since its tables hold
    state. Everything runs on the CPU.

    Args:
        vocabulary: The vocabulary to put into the graph.
    """

    def __init__(self, vocabulary: SentenceVocabulary):
        super().__init__(name="sentence_codec")
        self.kind = vocabulary.kind
        self.lowercase, self.form = vocabulary.lowercase, vocabulary.form
        self.size = vocabulary.size
        ids = tf.range(FIRST, self.size, dtype=tf.int32)
        symbols = tf.constant(vocabulary.symbols, tf.string, shape=(len(vocabulary.symbols),))
        self.id_of_symbol = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(symbols, ids), UNSEEN)
        self.symbol_of_id = tf.concat([["", "", UNSEEN_CHARACTER], symbols], 0)
        if self.kind == "subword":
            keys, merged = _pairs(vocabulary)
            self.merged = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, merged), 0)

    def normalise(self, strings: tf.Tensor) -> tf.Tensor:
        """What `ops.strings.clean` makes of sentences, `(batch,)` string: all that the ids can tell of them."""
        return clean(strings, self.lowercase, self.form)

    def encode(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Ids of each sentence, without an end.

        Args:
            strings: `(batch,)` string, UTF-8; bytes that are not become U+FFFD.

        Returns:
            Ragged int32 `(batch, tokens)`; `UNSEEN` for what the vocabulary does not hold.
        """
        return self.tokens(strings)[0]

    def pieces(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """The text of each id that `encode` gives, one to one: ragged string `(batch, tokens)`.

        What the vocabulary does not hold stands as in the sentence. A row's pieces joined are the normalised sentence,
        for words and subwords with one space before it.
        """
        return self.tokens(strings)[1]

    def decode(self, ids: tf.Tensor, lengths: tf.Tensor, unseen: tf.Tensor | None = None) -> tf.Tensor:
        """Text of the first `lengths` ids of each row.

        Args:
            ids: `(batch, steps)` int32. `PAD` and `END` give nothing; `UNSEEN`, and any id that the vocabulary has not,
                gives U+FFFD.
            lengths: `(batch,)` int32, each at most `steps`.
            unseen: `(batch, steps)` string, what stands in place of each U+FFFD, such as a piece of the source.

        Returns:
            `(batch,)` string, UTF-8, without spaces at its start.
        """
        with tf.device(CPU):
            ids = tf.where((ids >= 0) & (ids < self.size), ids, UNSEEN)
            pieces = tf.gather(self.symbol_of_id, ids)
            if unseen is not None:
                pieces = tf.where(tf.equal(ids, UNSEEN), unseen, pieces)
            pieces = tf.where(tf.sequence_mask(lengths, tf.shape(ids)[1]), pieces, "")
            return tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1), "^ +", "")

    def tokens(self, strings: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """What `encode` and `pieces` give, for the work of one: ragged int32 and string, both `(batch, tokens)`."""
        text = self.normalise(strings)
        pieces = tf.strings.unicode_split(text, "UTF-8") if self.kind == "char" else pretokens(text)
        if self.kind != "subword":
            return pieces.with_flat_values(self.id_of_symbol.lookup(pieces.flat_values)), pieces
        with tf.device(CPU):
            return self._subword_tokens(pieces)

    def _subword_tokens(self, pieces: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Ids and text of each subword of ragged words `(batch, words)`: each different word is split once."""
        words, which = tf.unique(pieces.flat_values, tf.int64)
        tokens, ids, texts = self._subwords(words)
        tokens = tf.gather(tokens, which)
        tokens = tf.RaggedTensor.from_row_splits(
            tokens.flat_values, tf.gather(tokens.row_splits, pieces.row_splits), validate=False
        )
        ids = tokens.with_flat_values(tf.gather(ids, tokens.flat_values))
        return ids, tokens.with_flat_values(tf.gather(texts, tokens.flat_values))

    def _subwords(self, words: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Subwords of `(words,)` strings.

        Returns:
            Ragged int64 `(words, subwords)`, the places of each word's subwords in the other two; their ids, `(all,)`
            int32; their texts, `(all,)` string.
        """
        characters = tf.strings.unicode_split(words, "UTF-8")
        count = tf.size(words, tf.int64)
        rows = characters.value_rowids()
        any_length = tf.TensorShape([None])
        ids, rows, starts, _ = tf.while_loop(
            lambda ids, rows, starts, more: more,
            lambda ids, rows, starts, more: self._merge(ids, rows, starts, count),
            (self.id_of_symbol.lookup(characters.flat_values), rows, tf.range(tf.size(rows)), tf.size(rows) > 0),
            shape_invariants=(any_length, any_length, any_length, tf.TensorShape([])),
        )
        texts = tf.gather(self.symbol_of_id, ids)
        texts = tf.where(tf.equal(ids, UNSEEN), tf.gather(characters.flat_values, starts), texts)
        places = tf.RaggedTensor.from_value_rowids(tf.range(tf.size(ids, tf.int64)), rows, count, validate=False)
        return places, ids, texts

    def _merge(
        self, ids: tf.Tensor, rows: tf.Tensor, starts: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Merges in each of `count` words the pair that makes the earliest symbol, the leftmost of several.

        Args:
            ids, rows, starts: `(tokens,)`: the id of each token, its word, its first character.
            count: The number of words.

        Returns:
            The first three after the merge, and whether anything was merged.
        """
        merged = self.merged.lookup(tf.cast(ids[:-1], tf.int64) * self.size + tf.cast(ids[1:], tf.int64))
        places = tf.where((merged > 0) & tf.equal(rows[:-1], rows[1:]))[:, 0]
        order = tf.cast(tf.gather(merged, places), tf.int64) * 2**32 + places
        best = tf.math.unsorted_segment_min(order, tf.gather(rows, places), count)
        best = tf.boolean_mask(best, best < _NONE)
        places = best % 2**32
        ids = tf.tensor_scatter_nd_update(ids, places[:, None], tf.cast(best // 2**32, tf.int32))
        gone = tf.scatter_nd(places[:, None] + 1, tf.ones_like(places), tf.shape(ids, tf.int64))
        kept = tf.where(tf.equal(gone, 0))[:, 0]
        return tf.gather(ids, kept), tf.gather(rows, kept), tf.gather(starts, kept), tf.size(best) > 0


def encoder(codec: SentenceCodec, ends: bool = False) -> Callable[[Sequence[str]], list[np.ndarray]]:
    """From sentences to an array of int32 ids each; with `ends`, `END` is the last of them."""
    encode = tf.function(codec.encode, input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False)
    end = np.full(int(ends), END, np.int32)

    def run(sentences: Sequence[str]) -> list[np.ndarray]:
        ragged = encode(tf.constant(sentences, tf.string))
        ids, borders = ragged.flat_values.numpy(), ragged.row_splits.numpy()
        return [np.append(ids[first:last], end) for first, last in itertools.pairwise(borders)]

    return run


def _pairs(vocabulary: SentenceVocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Every two symbols that make a symbol together: left id times size plus right id (int64), and its id (int32)."""
    id_of = {symbol.decode("utf-8"): i for i, symbol in enumerate(vocabulary.symbols, start=FIRST)}
    merged = {-1: 0}  # no key of a pair, for a vocabulary that has none
    for symbol, i in id_of.items():
        for cut in range(1, len(symbol)):
            left, right = id_of.get(symbol[:cut]), id_of.get(symbol[cut:])
            if left is not None and right is not None:
                merged[left * vocabulary.size + right] = i
    return np.array(list(merged), np.int64), np.array(list(merged.values()), np.int32)
