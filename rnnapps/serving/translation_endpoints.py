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
from rnnapps.decoding import Search
from rnnapps.serving.decoder_endpoints import encode_and_step, rows
from rnnapps.serving.decoder_parts import NetworkParts
from rnnapps.serving.translation import MAX_SOURCE, Translator

UNITS = {
    "sentence": f"UTF-8 text; more than {MAX_SOURCE} tokens are cut; an empty one has an empty translation",
    "translation": "UTF-8 text",
    "score": "log p of the translation in nats, over the length penalty of the search",
    "alignment": "attention of each token of the translation on each token of the source; 0 beyond the ends",
    "pieces": "text of the tokens of the translation, empty beyond its end",
    "source_pieces": "text of the tokens of the sentence, empty beyond its end",
    "log_prob": "log p of the target in nats, its end included",
    "tokens": "ids of the target, its end included",
    "source": "for score: UTF-8 text; for encode: ids, 1 at the end and 0 beyond",
    "target": "UTF-8 text",
    "token": "id of the token before; 0 starts a sentence",
    "logits": "of the next token's id",
}


class TranslationEndpoints(tf.Module):
    """The endpoints of a translator, ready for `export.write_saved_model`.

    Args:
        model: As `rnnapps.models.translator` builds it.
        source: Vocabulary of what is read.
        target: Vocabulary of what is written.
        search: How `serving_default` searches.
    """

    def __init__(self, model: keras.Model, source: SentenceCodec, target: SentenceCodec, search: Search):
        super().__init__(name="translation_endpoints")
        self.source, self.target = source, target
        # A saved module restores the variables that it holds; the model itself stays out, since Keras would be needed.
        self.model_variables = [variable.value for variable in model.variables]
        parts = NetworkParts(model)
        translator = Translator(parts, source, target, shards=1)
        self.serving_default = _serving_default(translator, search)
        self.score = _score(translator)
        self.encode, self.step = encode_and_step(parts, parts.encode, rows(tf.int32, "source", None))

    def endpoints(self) -> dict[str, Any]:
        """Returns the functions by the names under which they are served."""
        names = ("serving_default", "score", "encode", "step")
        return {name: getattr(self, name) for name in names}

    def units(self) -> dict[str, str]:
        """Returns what inputs and outputs mean, by name; the others are states and memory."""
        return UNITS

    def warmup(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns one small request for each endpoint, which a server answers before it takes others."""
        text = np.array([b"A sentence."], object)
        source = np.array([[2, 1]], "int32")
        read = {name: value.numpy() for name, value in self.encode(source).items()}
        return [
            ("serving_default", {"sentence": text}),
            ("score", {"source": text, "target": text}),
            ("encode", {"source": source}),
            ("step", {"token": np.zeros(1, "int32"), **read}),
        ]


def _serving_default(translator: Translator, search: Search) -> Any:
    def translate(sentence: tf.Tensor) -> dict[str, tf.Tensor]:
        found = translator.translate(sentence, search)
        single = {name: found[name][:, 0] for name in ("translation", "score")}
        return {**single, **{name: found[name] for name in ("alignment", "pieces", "source_pieces")}}

    return tf.function(translate, input_signature=[rows(tf.string, "sentence")], autograph=False)


def _score(translator: Translator) -> Any:
    signature = [rows(tf.string, "source"), rows(tf.string, "target")]
    return tf.function(lambda source, target: translator.score(source, target), signature, autograph=False)
