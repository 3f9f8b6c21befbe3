"""What a served text model answers: strings in, strings out, every input and output with one row per text.

| endpoint | inputs | outputs |
|---|---|---|
| `serving_default` | `prompt` string, `num_chars` int32, `temperature` float32, `seed` int32 | `text` string |
| `score` | `text` string | `nats_per_char` float32, `num_chars` int32 |
| `step` | `tokens` int32, each state `(batch, units)` | `logits` `(batch, vocabulary)` float32, each state |

A "char" is a token of the vocabulary: a Unicode character, a byte or a word, as the model was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from rnnapps import decoding
from rnnapps.decoding import Settings, States, Step
from rnnapps.serving.endpoints import Endpoints, Request, bucket
from rnnapps.serving.tokenization import TextCodec

if TYPE_CHECKING:
    import keras

# One request cannot keep a server busy for ever: more than this counts as this.
MAX_CHARS = 65_536
# Under XLA a text has room for so many tokens, prompt and all, or for a multiple of the last: few programs.
CAPACITIES = (256, 1_024, 4_096)
# Steps of a text that `score` runs at once: logits of (batch, steps, vocabulary) are held, whatever the text's length.
WINDOW = 256

UNITS = {
    "prompt": "UTF-8 text that the model reads first; empty is a cold start",
    "num_chars": f"tokens of the vocabulary; what is asked for is taken as 0 to {MAX_CHARS}",
    "temperature": "divides the logits; 0 always takes the most probable token",
    "seed": "any integer; the same seed gives the same text, alone or in a batch",
    "text": "UTF-8 text; as an output, without the prompt",
    "nats_per_char": "mean of -log p over the tokens of the text, the first from a cold start; 0 for an empty text",
    "tokens": "ids; 0 is the start of a text and anything unseen",
    "logits": "of the next token's id",
}


class WritesText(Endpoints):
    """What the endpoints of text models share, wherever their steps come from.

    Args:
        name: Of the module.
        models: Keras models that the functions call.
        codec: The vocabulary, in the graph.
        xla: Whether writing is compiled: once for each number of texts and for each of `CAPACITIES` that the longest
            needs.
    """

    UNITS = UNITS

    def __init__(self, name: str, models: Sequence[keras.Model], codec: TextCodec, xla: bool = False):
        super().__init__(name, models, xla)
        self.codec = codec

    def examples(self) -> list[Request]:
        """Returns requests of one row for each endpoint, as of `Endpoints`."""
        lengths = [(b"The ", 80), (b"", 24)]
        lengths += [(b"", capacity - 8) for capacity in CAPACITIES[1:3]] if self.xla else []
        states = self.functions["step"].input_signature[1].values()

        def state(spec: tf.TensorSpec, scale: float) -> np.ndarray:
            return np.linspace(-scale, scale, spec.shape[1], dtype=spec.dtype.as_numpy_dtype)[np.newaxis]

        return [
            *(("serving_default", _asked(prompt, number, seed)) for seed, (prompt, number) in enumerate(lengths, 1)),
            *(("score", {"text": np.array([text], object)}) for text in (b"The text.", b"And another one.")),
            *(
                ("step", {"tokens": np.array([token], "int32"), **{spec.name: state(spec, token) for spec in states}})
                for token in (0, 1)
            ),
        ]

    def writing(
        self, make_step: Callable[[], Step], zeros: Callable[[tf.Tensor], States]
    ) -> tf.types.experimental.PolymorphicFunction:
        """The endpoint `serving_default`.

        Args:
            make_step: Gives the model's step; called in the graph, before the loop over tokens.
            zeros: From a number of rows to the states of a cold start.
        """
        codec = self.codec

        def draw(forced: Any, given: Any, temperature: Any, seed: Any, steps: Any) -> tf.Tensor:
            step, carry = make_step(), decoding.start(zeros(tf.shape(seed)[0]), seed)
            return decoding.generate(step, carry, Settings(temperature), forced, given, steps)[0]

        drawing = self.compiled(draw)

        def write(
            prompt: tf.Tensor, num_chars: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            """Writes `num_chars` tokens after each prompt. Rows of a batch do not change each other's text."""
            ids = codec.encode(prompt)
            given = tf.cast(ids.row_lengths(), tf.int32)
            wanted = tf.clip_by_value(num_chars, 0, MAX_CHARS)
            # The loop wants a step even if nothing is asked for.
            steps = tf.reduce_max(tf.concat([given + wanted, [1]], 0))
            capacity = bucket(steps, CAPACITIES, CAPACITIES[-1]) if self.xla else steps
            forced = ids.to_tensor()
            forced = tf.pad(forced, [[0, 0], [0, capacity - tf.shape(forced)[1]]])
            tokens = drawing(forced, given, temperature, seed, steps)
            # Each row's own text begins where its prompt ends.
            columns = given[:, None] + tf.range(tf.reduce_max(tf.concat([wanted, [0]], 0)))
            drawn = tf.gather(tokens, tf.minimum(columns, steps - 1), batch_dims=1)
            return {"text": codec.decode(drawn, wanted)}

        signature = [
            rows(tf.string, "prompt"),
            rows(tf.int32, "num_chars"),
            rows(tf.float32, "temperature"),
            rows(tf.int32, "seed"),
        ]
        return tf.function(write, input_signature=signature, autograph=False)


class TextEndpoints(WritesText):
    """The endpoints of a text model, ready for `export.write_saved_model`.

    Args:
        model: Functional model with inputs `tokens` `(batch, time)` and states by name, and outputs `logits`
            `(batch, time, vocabulary)` and the same states.
        codec: Its vocabulary, in the graph.
        xla: As of `WritesText`.
    """

    def __init__(self, model: keras.Model, codec: TextCodec, xla: bool = False):
        super().__init__("text_endpoints", [model], codec, xla)
        writing = self.writing(lambda: decoding.model_step(model), lambda rows: decoding.zero_states(model, rows))
        self.functions = {"serving_default": writing, "score": _score(model, codec), "step": self._step(model)}

    def _step(self, model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
        one_step = self.compiled(decoding.model_step(model))

        def step(tokens: tf.Tensor, states: States) -> dict[str, tf.Tensor]:
            """One token in, the logits of the next and the new states out; zeros are a cold start."""
            logits, states = one_step(tokens, states)
            return {"logits": logits, **states}

        states = {
            name: tf.TensorSpec((None, tensor.shape[-1]), tensor.dtype, name=name)
            for name, tensor in model.input.items()
            if name != "tokens"
        }
        return tf.function(step, input_signature=[rows(tf.int32, "tokens"), states], autograph=False)


def _asked(prompt: bytes, num_chars: int, seed: int) -> dict[str, np.ndarray]:
    return {
        "prompt": np.array([prompt], object),
        "num_chars": np.array([num_chars], "int32"),
        "temperature": np.array([0.7], "float32"),
        "seed": np.array([seed], "int32"),
    }


def rows(dtype: tf.DType, name: str) -> tf.TensorSpec:
    """An input with a value for each text."""
    return tf.TensorSpec((None,), dtype, name=name)


def _score(model: keras.Model, codec: TextCodec) -> tf.types.experimental.PolymorphicFunction:
    def score(text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Mean cost of a text's tokens, each predicted from those before it."""
        ids = codec.encode(text)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        targets = ids.to_tensor()
        inputs = tf.pad(targets, [[0, 0], [1, 0]])  # token 0 first; the last column is cut with each window
        total = tf.reduce_max(lengths)

        def window(first: tf.Tensor, states: States, nats: tf.Tensor) -> tuple[tf.Tensor, States, tf.Tensor]:
            last = tf.minimum(first + WINDOW, total)
            outputs = model({"tokens": inputs[:, first:last], **states}, training=False)
            logits = tf.cast(outputs["logits"], tf.float32)
            costs = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[:, first:last], logits)
            costs = tf.where(tf.range(first, last) < lengths[:, None], costs, tf.zeros_like(costs))
            states = {name: tf.cast(outputs[name], state.dtype) for name, state in states.items()}
            return last, states, nats + tf.reduce_sum(tf.cast(costs, tf.float64), axis=1)

        states = decoding.zero_states(model, tf.size(text))
        loop = (tf.constant(0), states, tf.zeros_like(lengths, tf.float64))
        _, _, nats = tf.while_loop(lambda first, *_: first < total, window, loop)
        mean = tf.math.divide_no_nan(nats, tf.cast(lengths, tf.float64))
        return {"nats_per_char": tf.cast(mean, tf.float32), "num_chars": lengths}

    return tf.function(score, input_signature=[rows(tf.string, "text")], autograph=False)
