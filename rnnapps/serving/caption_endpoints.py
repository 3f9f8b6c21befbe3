"""What a served captioner answers: encoded pictures in, sentences out, one row for each.

| endpoint | inputs | outputs |
|---|---|---|
| `serving_default` | `image_bytes` string | `caption` string, `score` float32, and where it looked: `attention`, `sentinel`, `pieces` |
| `attention` | `image_bytes` string, `caption` string | `log_prob` float32, `tokens` int32, `attention`, `sentinel`, `pieces` |
| `encode` | `image_bytes` string | what `step` reads: the memory, and the first states |
| `step` | `token` int32, states, the memory | `logits` `(batch, vocabulary)` float32, states |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.decoding import Search
from rnnapps.serving.captioner import Captioner, seen_by
from rnnapps.serving.decoder_endpoints import encode_and_step, rows, step_examples
from rnnapps.serving.decoder_parts import NetworkParts
from rnnapps.serving.endpoints import Endpoints, Request

UNITS = {
    "image_bytes": "a file: JPEG, PNG, GIF (its first frame) or BMP; it is scaled to a square",
    "caption": "UTF-8 text",
    "score": "log p of the caption in nats, over the length penalty of the search",
    "attention": "weight of each place of the picture, row by row from its top, for each token; 0 beyond the end",
    "sentinel": "for each token, the weight of what is no place of the picture",
    "pieces": "text of the tokens of the caption, empty at its end and beyond",
    "log_prob": "log p of the caption in nats, its end included",
    "tokens": "tokens of the caption, its end included",
    "places": "of the memory; in keys and values there is anything beyond",
    "token": "id of the token before; 0 starts a caption",
    "logits": "of the next token's id",
}


class CaptionEndpoints(Endpoints):
    """The endpoints of a captioner, ready for `export.write_saved_model`.

    Args:
        model: As `rnnapps.models.captioner.with_encoder` builds it.
        vocabulary: Of what is written.
        grid: Rows and columns of the places that attention chooses from, or None.
        search: How `serving_default` searches.
        xla: Whether seeing, searching and stepping are compiled, once for each number of rows.
    """

    UNITS = UNITS

    def __init__(
        self,
        model: keras.Model,
        vocabulary: SentenceCodec,
        grid: tuple[int, int] | None,
        search: Search,
        xla: bool = False,
    ):
        super().__init__("caption_endpoints", [model], xla)
        self.vocabulary = vocabulary
        parts, see = parts_of(model, self.compiled)
        captioner = Captioner(parts, vocabulary, grid, see, shards=1, compiled=self.compiled)
        files = rows(tf.string, "image_bytes")
        encode, step = encode_and_step(parts, captioner.read, files, self.compiled)
        self.functions = {
            "serving_default": _serving_default(captioner, search, files),
            "attention": tf.function(captioner.looks, [files, rows(tf.string, "caption")], autograph=False),
            "encode": encode,
            "step": step,
        }

    def examples(self) -> list[Request]:
        """Returns requests of one row for each endpoint, as of `Endpoints`."""
        files = [np.array([example_picture(*colour)], object) for colour in ((128, 128, 128), (200, 60, 40))]
        captions = [np.array([text], object) for text in (b"a picture", b"a red picture without anything")]
        return [
            *(("serving_default", {"image_bytes": file}) for file in files),
            *(
                ("attention", {"image_bytes": file, "caption": text})
                for file, text in zip(files, captions, strict=True)
            ),
            *step_examples(self.functions["encode"], files),
        ]


def parts_of(
    model: keras.Model, compiled: Callable[[Any], Any] = lambda function: function
) -> tuple[NetworkParts, Any]:
    """The decoder's network, and what sees files for it, of a model of `captioner.with_encoder`."""
    encoder = model.get_layer("picture_encoder")
    size = encoder.input.shape[1]
    see = seen_by(compiled(lambda seen: encoder(seen, training=False)), size)
    return NetworkParts(model.get_layer("captioner")), see


def example_picture(red: int, green: int, blue: int) -> bytes:
    """A small JPEG of one colour."""
    return tf.io.encode_jpeg(tf.tile(tf.constant([[[red, green, blue]]], tf.uint8), (8, 8, 1))).numpy()


def _serving_default(captioner: Captioner, search: Search, files: tf.TensorSpec) -> Any:
    def caption(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        found = captioner.caption(image_bytes, search)
        single = {name: found[name][:, 0] for name in ("caption", "score")}
        return {**single, **{name: found[name] for name in ("attention", "sentinel", "pieces")}}

    return tf.function(caption, input_signature=[files], autograph=False)
