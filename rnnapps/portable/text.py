"""The numeric core of an exported text model: its step, with a cold start and the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.decoding import States
from rnnapps.errors import UsageError
from rnnapps.portable.core import Core, numeric_cores
from rnnapps.serving.saved_model import read_manifest, version_folder


@dataclass(frozen=True)
class TextCore:
    """What writing needs, from an export alone.

    Attributes:
        path: The SavedModel.
        manifest: Its `manifest.json`.
        vocabulary: Between text and ids.
        core: Of its endpoint `step`.
    """

    path: Path
    manifest: dict[str, Any]
    vocabulary: Vocabulary
    core: Core

    @property
    def states(self) -> dict[str, tf.TensorSpec]:
        """The states `(batch, units)`, by name."""
        return {name: spec for name, spec in self.core.inputs.items() if name != "tokens"}

    def zeros(self, rows: int | tf.Tensor) -> States:
        """A cold start."""
        return {name: tf.zeros((rows, *spec.shape[1:]), spec.dtype) for name, spec in self.states.items()}

    def step(self, tokens: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """As `rnnapps.decoding` wants it."""
        found = self.core.function(tokens=tokens, **states)
        return found["logits"], {name: found[name] for name in states}

    @classmethod
    def load(cls, path: Path) -> TextCore:
        """Of `NAME/VERSION`, or of the highest version of `NAME`.

        Raises:
            UsageError: There is no SavedModel, or not one of text generation.
            RunError: It is damaged.
        """
        path = version_folder(path)
        manifest = read_manifest(path, "text_generation")
        try:
            vocabulary = Vocabulary.from_dict(manifest["vocabulary"])
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise UsageError(f"{path / 'manifest.json'} has no usable vocabulary ({error})") from error
        return cls(path, manifest, vocabulary, numeric_cores(path, ("step",))["step"])
