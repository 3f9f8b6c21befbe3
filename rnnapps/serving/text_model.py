"""A trained text model, wherever it lies: in the folder of a run, or exported as a SavedModel."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from rnnapps.data.coding import decoded
from rnnapps.data.sources import documents
from rnnapps.data.vocabulary import Vocabulary
from rnnapps.decoding import States, Step, model_step, zero_states
from rnnapps.errors import UsageError
from rnnapps.serving.saved_model import load_endpoints, read_manifest, version_folder
from rnnapps.serving.text_endpoints import TextEndpoints
from rnnapps.serving.tokenization import TextCodec


@dataclass(frozen=True)
class TextModel:
    """What writing and reading text with a model needs.

    Attributes:
        step: Token ids and states to logits and states.
        initial_states: From a number of rows to the states of a cold start.
        vocabulary: Between text and ids.
        score: Strings to `nats_per_char` and `num_chars`, the endpoint of that name.
    """

    step: Step
    initial_states: Callable[[int], States]
    vocabulary: Vocabulary
    score: Callable[[list[bytes]], dict[str, tf.Tensor]]

    def score_file(self, path: Path) -> tuple[float, int]:
        """Mean cost of a file's text in nats a token, from a cold start, and its number of tokens.

        Raises:
            UsageError: The file is missing, empty, or not UTF-8 where tokens are not bytes.
        """
        answer = self.score([self._text(path)])
        return float(answer["nats_per_char"][0]), int(answer["num_chars"][0])

    def unseen_in(self, path: Path) -> list[str]:
        """The tokens of a file that the model has never seen, each once; raises as `score_file`."""
        data = self._text(path)
        if self.vocabulary.kind == "byte":
            return self.vocabulary.unseen(bytes(set(data)))
        text = data.decode("utf-8")
        return self.vocabulary.unseen(text if self.vocabulary.kind == "word" else "".join(set(text)))

    def _text(self, path: Path) -> bytes:
        (document,) = documents(text=(path,))
        return b"".join(document.chunks()) if self.vocabulary.kind == "byte" else "".join(decoded(document)).encode()

    @classmethod
    def from_keras(cls, model: keras.Model, vocabulary: Vocabulary) -> "TextModel":
        """A functional model as in `rnnapps.models.text_generator`."""
        endpoints = TextEndpoints(model, TextCodec(vocabulary))
        return cls(
            model_step(model),
            lambda rows: zero_states(model, rows),
            vocabulary,
            lambda texts: endpoints.functions["score"](tf.constant(texts)),
        )

    @classmethod
    def from_saved_model(cls, path: Path) -> "TextModel":
        """An export of text generation: `NAME/VERSION`, or `NAME` for its highest version.

        Raises:
            UsageError: There is no SavedModel, or not one of text generation.
            RunError: It is damaged.
        """
        path = version_folder(path)
        manifest = read_manifest(path, "text_generation")
        try:
            vocabulary = Vocabulary.from_dict(manifest["vocabulary"])
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise UsageError(
                f"--model {path} is no export of text generation: its manifest.json has no usable vocabulary ({error})"
            ) from error
        endpoints = load_endpoints(path, "step", "score")
        step, score = endpoints["step"], endpoints["score"]
        specs = dict(step.function.structured_input_signature[1])
        del specs["tokens"]

        def one_step(tokens: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
            outputs = step({"tokens": tokens, **states})
            states = {name: tf.ensure_shape(outputs[name], state.shape) for name, state in states.items()}
            return tf.ensure_shape(outputs["logits"], (None, vocabulary.size)), states

        def zeros(rows: int) -> States:
            return {name: tf.zeros((rows, *spec.shape[1:]), spec.dtype) for name, spec in specs.items()}

        def score_texts(texts: list[bytes]) -> dict[str, tf.Tensor]:
            return score({"text": tf.constant(texts)})

        return cls(one_step, zeros, vocabulary, score_texts)
