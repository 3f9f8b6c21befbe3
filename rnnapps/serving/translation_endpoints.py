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
from rnnapps.decoding import Search, States
from rnnapps.serving.decoder_parts import NetworkParts, Read
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
        self.encode = _encode(parts)
        self.step = _step(parts, self.encode)

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


def _rows(dtype: tf.DType, name: str, *shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec((None, *shape), dtype, name=name)


def _serving_default(translator: Translator, search: Search) -> Any:
    def translate(sentence: tf.Tensor) -> dict[str, tf.Tensor]:
        found = translator.translate(sentence, search)
        single = {name: found[name][:, 0] for name in ("translation", "score")}
        return {**single, **{name: found[name] for name in ("alignment", "pieces", "source_pieces")}}

    return tf.function(translate, input_signature=[_rows(tf.string, "sentence")], autograph=False)


def _score(translator: Translator) -> Any:
    signature = [_rows(tf.string, "source"), _rows(tf.string, "target")]
    return tf.function(lambda source, target: translator.score(source, target), signature, autograph=False)


def _encode(parts: NetworkParts) -> Any:
    def encode(source: tf.Tensor) -> dict[str, tf.Tensor]:
        read = parts.encode(source)
        return {**read.memory, **read.states}

    return tf.function(encode, input_signature=[_rows(tf.int32, "source", None)], autograph=False)


def _step(parts: NetworkParts, encode: Any) -> Any:
    example = parts.encode(tf.ones((1, 1), tf.int32))
    found = encode.get_concrete_function().structured_outputs
    inputs = {name: _rows(tensor.dtype, name, *tensor.shape[1:]) for name, tensor in found.items()}

    def step(token: tf.Tensor, given: States) -> dict[str, tf.Tensor]:
        read = Read({name: given[name] for name in example.memory}, {name: given[name] for name in example.states})
        logits, states = parts.step(read.memory)(token, read.states)
        return {"logits": logits, **states}

    return tf.function(step, input_signature=[_rows(tf.int32, "token"), inputs], autograph=False)
