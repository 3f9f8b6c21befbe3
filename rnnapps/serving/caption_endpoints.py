"""What a served captioner answers: encoded pictures in, sentences out, one row for each.

| endpoint | inputs | outputs |
|---|---|---|
| `serving_default` | `image_bytes` string | `caption` string, `score` float32, and where it looked: `attention`, `sentinel`, `pieces` |
| `attention` | `image_bytes` string, `caption` string | `log_prob` float32, `tokens` int32, `attention`, `sentinel`, `pieces` |
| `encode` | `image_bytes` string | what `step` reads: the memory, and the first states |
| `step` | `token` int32, states, the memory | `logits` `(batch, vocabulary)` float32, states |
"""  # noqa: E501

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.decoding import Search
from rnnapps.serving.captioner import Captioner, seen_by
from rnnapps.serving.decoder_endpoints import encode_and_step, rows
from rnnapps.serving.decoder_parts import NetworkParts

UNITS = {
    "image_bytes": "a file: JPEG, PNG, GIF (its first frame) or BMP; it is scaled to a square",
    "caption": "UTF-8 text",
    "score": "log p of the caption in nats, over the length penalty of the search",
    "attention": "weight of each place of the picture, row by row from its top, for each token; 0 beyond the end",
    "sentinel": "for each token, the weight of what is no place of the picture",
    "pieces": "text of the tokens of the caption, empty at its end and beyond",
    "log_prob": "log p of the caption in nats, its end included",
    "tokens": "tokens of the caption, its end included",
    "token": "id of the token before; 0 starts a caption",
    "logits": "of the next token's id",
}


class CaptionEndpoints(tf.Module):
    """The endpoints of a captioner, ready for `export.write_saved_model`.

    Args:
        model: As `rnnapps.models.captioner.with_encoder` builds it.
        vocabulary: Of what is written.
        grid: Rows and columns of the places that attention chooses from, or None.
        search: How `serving_default` searches.
    """

    def __init__(self, model: keras.Model, vocabulary: SentenceCodec, grid: tuple[int, int] | None, search: Search):
        super().__init__(name="caption_endpoints")
        self.vocabulary = vocabulary
        # A saved module restores the variables that it holds; the model itself stays out, since Keras would be needed.
        self.model_variables = [variable.value for variable in model.variables]
        parts, see = parts_of(model)
        captioner = Captioner(parts, vocabulary, grid, see, shards=1)
        files = rows(tf.string, "image_bytes")
        self.serving_default = _serving_default(captioner, search, files)
        self.attention = tf.function(captioner.looks, [files, rows(tf.string, "caption")], autograph=False)
        self.encode, self.step = encode_and_step(parts, captioner.read, files)

    def endpoints(self) -> dict[str, Any]:
        """Returns the functions by the names under which they are served."""
        return {name: getattr(self, name) for name in ("serving_default", "attention", "encode", "step")}

    def units(self) -> dict[str, str]:
        """Returns what inputs and outputs mean, by name; the others are states and memory."""
        return UNITS

    def warmup(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns one small request for each endpoint, which a server answers before it takes others."""
        files = np.array([example_picture()], object)
        read = {name: value.numpy() for name, value in self.encode(files).items()}
        return [
            ("serving_default", {"image_bytes": files}),
            ("attention", {"image_bytes": files, "caption": np.array([b"a picture"], object)}),
            ("encode", {"image_bytes": files}),
            ("step", {"token": np.zeros(1, "int32"), **read}),
        ]


def parts_of(model: keras.Model) -> tuple[NetworkParts, Any]:
    """The decoder's network, and what sees files for it, of a model of `captioner.with_encoder`."""
    encoder = model.get_layer("picture_encoder")
    size = encoder.input.shape[1]
    return NetworkParts(model.get_layer("captioner")), seen_by(lambda seen: encoder(seen, training=False), size)


def example_picture() -> bytes:
    """A small grey JPEG."""
    return tf.io.encode_jpeg(tf.fill((8, 8, 3), tf.constant(128, tf.uint8))).numpy()


def _serving_default(captioner: Captioner, search: Search, files: tf.TensorSpec) -> Any:
    def caption(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        found = captioner.caption(image_bytes, search)
        single = {name: found[name][:, 0] for name in ("caption", "score")}
        return {**single, **{name: found[name] for name in ("attention", "sentinel", "pieces")}}

    return tf.function(caption, input_signature=[files], autograph=False)
