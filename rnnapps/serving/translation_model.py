"""A trained translator, wherever it lies: in the folder of a run, or exported as a SavedModel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.decoding import Search
from rnnapps.errors import UsageError
from rnnapps.serving.decoder_parts import DecoderParts, ExportedParts, NetworkParts
from rnnapps.serving.saved_model import load_endpoints, read_manifest, version_folder
from rnnapps.serving.sentence_writer import Draws
from rnnapps.serving.translation import Translator
from rnnapps.serving.writer_model import Answer, WriterModel


class TranslationModel(WriterModel):
    """Translates lists of sentences.

    Args:
        parts: The network.
        vocabularies: Of what is read and of what is written.
        max_length: Tokens of a translation at most, its end included.
    """

    def __init__(
        self, parts: DecoderParts, vocabularies: tuple[SentenceVocabulary, SentenceVocabulary], max_length: int
    ):
        source = SentenceCodec(vocabularies[0])
        target = source if vocabularies[1] == vocabularies[0] else SentenceCodec(vocabularies[1])
        self.translator = Translator(parts, source, target)
        count = lambda sentences: source.encode(sentences).row_lengths()  # noqa: E731
        self._count = tf.function(count, [tf.TensorSpec((None,), tf.string)], autograph=False)
        super().__init__(self.translator.translate, "translation", max_length)

    @classmethod
    def from_keras(
        cls, model: keras.Model, vocabularies: tuple[SentenceVocabulary, SentenceVocabulary], max_length: int
    ) -> TranslationModel:
        """A functional model as in `rnnapps.models.translator`."""
        return cls(NetworkParts(model), vocabularies, max_length)

    @classmethod
    def from_saved_model(cls, path: Path) -> TranslationModel:
        """An export of translation: `NAME/VERSION`, or `NAME` for its highest version.

        Raises:
            UsageError: There is no SavedModel, or not one of translation.
            RunError: It is damaged.
        """
        path = version_folder(path)
        manifest = read_manifest(path, "translation")
        try:
            both = manifest["source_vocabulary"], manifest["target_vocabulary"]
            # Two equal ones are written once.
            source = SentenceVocabulary.from_dict(both[0])
            target = source if both[1] is None else SentenceVocabulary.from_dict(both[1])
            max_length = int(manifest["max_length"])
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise UsageError(
                f"--model {path} is no export of translation: its manifest.json has no usable vocabulary ({error})"
            ) from error
        endpoints = load_endpoints(path, "encode", "step")
        return cls(ExportedParts(endpoints["encode"], endpoints["step"], target.size), (source, target), max_length)

    def translate(
        self,
        sentences: Sequence[str],
        options: Search | Draws,
        prefix: str | None = None,
        batch_size: int = 64,
        align: bool = False,
    ) -> list[Answer]:
        """What `Translator.translate` gives, a row for each sentence, in their order.

        Sentences of like length are translated side by side, so that few steps are for nothing.
        """
        order = np.argsort([-len(sentence) for sentence in sentences], kind="stable")
        answers = self.answers([sentences[i] for i in order], options, prefix, batch_size, align)
        return [answers[place] for place in np.argsort(order)]

    def lengths(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence, without an end."""
        return self._count(tf.constant(list(sentences), tf.string)).numpy().tolist()

    def stream(
        self, sentences: Iterator[str], options: Search | Draws, prefix: str | None = None, align: bool = False
    ) -> Iterator[Answer]:
        """The same, each sentence as soon as it comes."""
        translate = self.compiled(options, prefix, align)
        for sentence in sentences:
            yield {name: tensor.numpy()[0] for name, tensor in translate(tf.constant([sentence])).items()}
