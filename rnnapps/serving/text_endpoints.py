"""What a served text model answers: strings in, strings out, every input and output with one row per text.

| endpoint | inputs | outputs |
|---|---|---|
| `serving_default` | `prompt` string, `num_chars` int32, `temperature` float32, `seed` int32 | `text` string |
| `score` | `text` string | `nats_per_char` float32, `num_chars` int32 |
| `step` | `tokens` int32, each state `(batch, units)` | `logits` `(batch, vocabulary)` float32, each state |

A "char" is a token of the vocabulary: a Unicode character, a byte or a word, as the model was trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from rnnapps import decoding
from rnnapps.decoding import Settings, States, Step
from rnnapps.serving.tokenization import TextCodec

if TYPE_CHECKING:
    import keras

# One request cannot keep a server busy for ever: more than this counts as this.
MAX_CHARS = 65_536
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


class TextEndpoints(tf.Module):
    """The endpoints of a text model, ready for `export.write_saved_model`.

    Args:
        model: Functional model with inputs `tokens` `(batch, time)` and states by name, and outputs `logits`
            `(batch, time, vocabulary)` and the same states.
        codec: Its vocabulary, in the graph.
    """

    def __init__(self, model: keras.Model, codec: TextCodec):
        super().__init__(name="text_endpoints")
        self.codec = codec
        # A saved module restores the variables that it holds; the model itself stays out, since Keras would be needed.
        self.model_variables = [variable.value for variable in model.variables]
        self.serving_default = serving_default(
            lambda: decoding.model_step(model), lambda rows: decoding.zero_states(model, rows), codec
        )
        self.score = _score(model, codec)
        self.step = _step(model)
        self._states = tuple(self.step.input_signature[1].values())

    def endpoints(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Returns the functions by the names under which they are served."""
        return {"serving_default": self.serving_default, "score": self.score, "step": self.step}

    def units(self) -> dict[str, str]:
        """Returns what inputs and outputs mean, by name; the others are states, of which zeros are a cold start."""
        return UNITS

    def warmup(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns one small request for each endpoint, which a server answers before it takes others."""
        states = {spec.name: np.zeros((1, spec.shape[1]), spec.dtype.as_numpy_dtype) for spec in self._states}
        settings = {
            "num_chars": np.array([16], "int32"),
            "temperature": np.ones(1, "float32"),
            "seed": np.zeros(1, "int32"),
        }
        return [
            ("serving_default", {"prompt": np.array([b""], object), **settings}),
            ("score", {"text": np.array([b"text"], object)}),
            ("step", {"tokens": np.zeros(1, "int32"), **states}),
        ]


def rows(dtype: tf.DType, name: str) -> tf.TensorSpec:
    """An input with a value for each text."""
    return tf.TensorSpec((None,), dtype, name=name)


def serving_default(
    make_step: Callable[[], Step], zeros: Callable[[tf.Tensor], States], codec: TextCodec
) -> tf.types.experimental.PolymorphicFunction:
    """The endpoint of that name.

    Args:
        make_step: Gives the model's step; called in the graph, before the loop over tokens.
        zeros: From a number of rows to the states of a cold start.
        codec: The vocabulary, in the graph.
    """

    def write(prompt: tf.Tensor, num_chars: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Writes `num_chars` tokens after each prompt. Rows of a batch do not change each other's text."""
        step = make_step()
        ids = codec.encode(prompt)
        given = tf.cast(ids.row_lengths(), tf.int32)
        wanted = tf.clip_by_value(num_chars, 0, MAX_CHARS)
        steps = tf.maximum(tf.reduce_max(given + wanted), 1)  # the loop wants a step even if nothing is asked for
        forced = ids.to_tensor()
        forced = tf.pad(forced, [[0, 0], [0, steps - tf.shape(forced)[1]]])
        carry = decoding.start(zeros(tf.size(seed)), seed)
        tokens, _ = decoding.generate(step, carry, Settings(temperature), forced, given, steps)
        # Each row's own text begins where its prompt ends.
        columns = given[:, None] + tf.range(tf.maximum(tf.reduce_max(wanted), 0))
        drawn = tf.gather(tokens, tf.minimum(columns, steps - 1), batch_dims=1)
        return {"text": codec.decode(drawn, wanted)}

    signature = [
        rows(tf.string, "prompt"),
        rows(tf.int32, "num_chars"),
        rows(tf.float32, "temperature"),
        rows(tf.int32, "seed"),
    ]
    return tf.function(write, input_signature=signature, autograph=False)


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


def _step(model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    one_step = decoding.model_step(model)

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
