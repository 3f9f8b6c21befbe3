"""A trained captioner, wherever it lies: in the folder of a run, or exported as a SavedModel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.decoding import Search
from rnnapps.errors import UsageError
from rnnapps.serving.caption_endpoints import parts_of
from rnnapps.serving.captioner import Captioner
from rnnapps.serving.decoder_parts import ExportedParts
from rnnapps.serving.saved_model import load_endpoints, read_manifest, version_folder
from rnnapps.serving.sentence_writer import Draws
from rnnapps.serving.writer_model import Answer, WriterModel

Grid = tuple[int, int] | None


class CaptionModel(WriterModel):
    """Captions lists of pictures.

    Args:
        captioner: What does so in a graph.
        max_length: Tokens of a caption at most, its end included.
    """

    def __init__(self, captioner: Captioner, max_length: int):
        super().__init__(captioner.caption, "caption", max_length)
        self.captioner = captioner

    @classmethod
    def from_keras(
        cls, model: keras.Model, vocabulary: SentenceVocabulary, grid: Grid, max_length: int
    ) -> CaptionModel:
        """A functional model as of `rnnapps.models.captioner.with_encoder`."""
        parts, see = parts_of(model)
        return cls(Captioner(parts, SentenceCodec(vocabulary), grid, see), max_length)

    @classmethod
    def from_saved_model(cls, path: Path) -> CaptionModel:
        """An export of captioning: `NAME/VERSION`, or `NAME` for its highest version.

        Raises:
            UsageError: There is no SavedModel, or not one of captioning.
            RunError: It is damaged.
        """
        path = version_folder(path)
        manifest = read_manifest(path, "captioning")
        try:
            vocabulary = SentenceVocabulary.from_dict(manifest["vocabulary"])
            grid = None if manifest["grid"] is None else (int(manifest["grid"][0]), int(manifest["grid"][1]))
            max_length = int(manifest["max_length"])
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise UsageError(
                f"--model {path} is no export of captioning: its manifest.json has no usable vocabulary ({error})"
            ) from error
        endpoints = load_endpoints(path, "encode", "step")
        parts = ExportedParts(endpoints["encode"], endpoints["step"], vocabulary.size)
        return cls(Captioner(parts, SentenceCodec(vocabulary), grid, lambda files: files), max_length)

    def caption(
        self,
        pictures: Sequence[bytes],
        options: Search | Draws,
        prefix: str | None = None,
        batch_size: int = 32,
        align: bool = False,
    ) -> list[Answer]:
        """What `Captioner.caption` gives, a row for each picture's file."""
        return self.answers(pictures, options, prefix, batch_size, align)
