"""What a served translator answers: sentences in, sentences out, one row for each.

| endpoint | inputs | outputs |
|---|---|---|
| `serving_default` | `sentence` string | `translation` string, `score` float32, and where it looked: `alignment`, `pieces`, `source_pieces` |
| `score` | `source` string, `target` string | `log_prob` float32, `tokens` int32 |
| `encode` | `source` `(batch, places)` int32 | what `step` reads: the memory, and the first states |
| `step` | `token` int32, states, the memory | `logits` `(batch, vocabulary)` float32, states |
"""  # noqa: E501

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import END
from rnnapps.decoding import Search
from rnnapps.serving.decoder_endpoints import encode_and_step, rows, step_examples
from rnnapps.serving.decoder_parts import NetworkParts
from rnnapps.serving.endpoints import Endpoints, Request
from rnnapps.serving.translation import MAX_SOURCE, PLACES, Translator

UNITS = {
    "sentence": f"UTF-8 text; more than {MAX_SOURCE} tokens are cut; an empty one has an empty translation",
    "translation": "UTF-8 text",
    "score": "log p of the translation in nats, over the length penalty of the search",
    "alignment": "attention of each token of the translation on each token of the source; 0 beyond the ends",
    "pieces": "text of the tokens of the translation, empty beyond its end",
    "source_pieces": "text of the tokens of the sentence, empty beyond its end",
    "log_prob": "log p of the target in nats, its end included",
    "tokens": "ids of the target, its end included",
    "source": "for score: UTF-8 text; for encode: ids, 1 at the end and anything beyond",
    "target": "UTF-8 text",
    "places": "of the source, its end included; in keys and values there is anything beyond",
    "token": "id of the token before; 0 starts a sentence",
    "logits": "of the next token's id",
}


class TranslationEndpoints(Endpoints):
    """The endpoints of a translator, ready for `export.write_saved_model`.

    Args:
        model: As `rnnapps.models.translator` builds it.
        source: Vocabulary of what is read.
        target: Vocabulary of what is written.
        search: How `serving_default` searches.
        xla: Whether reading, searching and stepping are compiled: once for each number of rows, and of
            `translation.PLACES` that the longest source needs.
    """

    UNITS = UNITS
    TAKES_PADDING = True

    def __init__(
        self, model: keras.Model, source: SentenceCodec, target: SentenceCodec, search: Search, xla: bool = False
    ):
        super().__init__("translation_endpoints", [model], xla)
        self.source, self.target = source, target
        parts = NetworkParts(model)
        translator = Translator(parts, source, target, shards=1, compiled=self.compiled if xla else None)
        encode, step = encode_and_step(
            parts, lambda ids: parts.encode(_to_end(ids)), rows(tf.int32, "source", None), self.compiled
        )
        self.functions = {
            "serving_default": _serving_default(translator, search),
            "score": _score(translator),
            "encode": encode,
            "step": step,
        }

    def examples(self) -> list[Request]:
        """Returns requests of one row for each endpoint, as of `Endpoints`."""
        texts = [b"A dog runs.", b"A sentence of some more words, which is longer."]
        texts += [b"word " * (places // 2) for places in PLACES[1:3]] if self.xla else []
        sentences = [np.array([text], object) for text in texts]
        ids = [np.array([[2, 1]], "int32"), np.array([[2, 4, 5, 3, 1]], "int32")]
        return [
            *(("serving_default", {"sentence": sentence}) for sentence in sentences),
            *(("score", {"source": one, "target": other}) for one, other in zip(sentences, sentences, strict=True)),
            *step_examples(self.functions["encode"], ids),
        ]


def _to_end(ids: tf.Tensor) -> tf.Tensor:
    """Ids with nothing after the first end, where a server that joins requests puts anything."""
    ends = tf.cast(tf.equal(ids, END), tf.int32)
    return tf.where(tf.cumsum(ends, axis=1, exclusive=True) > 0, 0, ids)


def _serving_default(translator: Translator, search: Search) -> Any:
    def translate(sentence: tf.Tensor) -> dict[str, tf.Tensor]:
        found = translator.translate(sentence, search)
        single = {name: found[name][:, 0] for name in ("translation", "score")}
        return {**single, **{name: found[name] for name in ("alignment", "pieces", "source_pieces")}}

    return tf.function(translate, input_signature=[rows(tf.string, "sentence")], autograph=False)


def _score(translator: Translator) -> Any:
    signature = [rows(tf.string, "source"), rows(tf.string, "target")]
    return tf.function(lambda source, target: translator.score(source, target), signature, autograph=False)
