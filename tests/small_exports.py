"""The small export of each task: made once, for all tests that ask one.

Those of translation and of captioning are of runs that the tests of these tasks share; the others have learnt nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import colour_pictures
import keras
import number_words
import numpy as np
import small_runs
from kept import Kept

from rnnapps.captioning import build as captioning_build
from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.sentences import SentenceVocabulary
from rnnapps.data.vocabulary import Vocabulary
from rnnapps.decoding import Search
from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.models.sequence_classifier import sequence_classifier
from rnnapps.models.text_generator import text_generator
from rnnapps.ops.heads import LEVELS, head
from rnnapps.serving.caption_endpoints import CaptionEndpoints
from rnnapps.serving.class_endpoints import ClassEndpoints
from rnnapps.serving.endpoints import Endpoints, Request
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.saved_model import read_manifest
from rnnapps.serving.series_endpoints import SeriesEndpoints
from rnnapps.serving.text_endpoints import TextEndpoints
from rnnapps.serving.tokenization import TextCodec
from rnnapps.serving.translation_endpoints import TranslationEndpoints
from rnnapps.training.run import Run
from rnnapps.translation import build as translation_build

SYMBOLS = 'abcdefgh .\n"\\0é中'
SERIES = ["shop a", "shop b"]
SENTENCES = [b"one two three", b"six", b"", b"four   zebra five two", b"\t \n"]
PICTURES = [
    colour_pictures.picture(top, "blue", kind=kind, size=size)
    for top, kind, size in (("red", "PNG", 32), ("green", "JPEG", 50), ("blue", "GIF", 1), ("yellow", "BMP", 9))
]


class Made(NamedTuple):
    """A network and its endpoints, what the manifest says, and requests that are like those of clients."""

    model: keras.Model
    endpoints: Endpoints
    manifest: dict[str, Any]
    requests: list[Request]

    def every_request(self) -> list[Request]:
        """These requests, and the examples of endpoints that they do not ask."""
        asked = {key for key, _ in self.requests}
        return [*(one for one in self.endpoints.examples() if one[0] not in asked), *self.requests]


def folder(kept: Kept, name: str) -> Path:
    """The export `NAME/1` of one of `UNTRAINED`."""

    def make(home: Path) -> None:
        made = UNTRAINED[name]()
        with small_runs.quickly():
            write_saved_model(made.endpoints, home, name, made.manifest)

    return kept.folder(f"small-{name}", make) / name / "1"


def drawn(model: keras.Model, seed: int = 0, size: float = 0.7) -> keras.Model:
    """The model with weights that have an opinion, biases included."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, size, variable.shape))
    return model


# === Of networks that have learnt nothing ===


def text() -> Made:
    """Two LSTM layers, with matrices large enough to be stored in fewer bits."""
    vocabulary = Vocabulary("char", SYMBOLS)
    model = drawn(text_generator(vocabulary.size, units=33, layers=2))
    prompts = np.array([b"abc \xc3\xa9", b"", "中 bad ?".encode() * 2], object)
    several = {
        "prompt": prompts,
        "num_chars": np.array([20, 7, 0], np.int32),
        "temperature": np.array([1.0, 0.0, 0.5], np.float32),
        "seed": np.array([1, -2, 3], np.int32),
    }
    manifest = {"task": "text_generation", "vocabulary": vocabulary.to_dict(), "figures": {"test_nats": 1.5}}
    requests = [("serving_default", several), ("score", {"text": prompts})]
    return Made(model, TextEndpoints(model, TextCodec(vocabulary)), manifest, requests)


def series(kind: str = "autoregressive", name: str = "normal", xla: bool = False, **options: Any) -> Made:
    """A forecaster of two series, with covariates, categories and a calendar; it draws paths."""
    one = head(name)
    shape = Shape(6, 4, 2, future=(0, 2), num_series=len(SERIES), cycles=("day",))
    network = forecaster(kind, shape, one.parameters, units=5, segment=2, **options)
    network.get_layer("targets").set_tables([[5.0, 50.0], [6.0, 60.0]], [[1.0, 10.0], [2.0, 20.0]])
    offsets = np.linspace(-0.1, 0.1, 4 * 2 * len(LEVELS), dtype="float32").reshape(4, 2, len(LEVELS))
    x = history(3)
    rest = {name: value for name, value in x.items() if name != "history"}
    requests = [
        ("serving_default", x),
        ("step", {**rest, "observation": x["history"][:, -1], "window": x["history"]}),
        ("paths", {**x, "seed": np.array([4, 5, 6], np.int32)}),
    ]
    endpoints = SeriesEndpoints(network, one, SERIES, offsets, xla)
    requests = [one for one in requests if one[0] in endpoints.functions]
    return Made(network, endpoints, {"task": "forecasting"}, requests)


def segments() -> Made:
    """A forecaster by segments that scales each window by its last value."""
    return series("segment", "quantiles", normalize="last")


def history(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A request to these forecasters, with gaps."""
    rng = np.random.default_rng(seed)
    known = np.stack([rng.normal(size=(rows, 10)), rng.integers(0, 3, (rows, 10))], -1)
    values = rng.normal([5, 50], [1, 10], (rows, 6, 2)).astype("float32")
    values[0, 2, 0] = values[rows - 1, 5, 1] = np.nan
    return {
        "history": values,
        "future": known.astype("float32"),
        "times": (3600 * np.tile(np.arange(10), (rows, 1))).astype("int64"),
        "series": np.array([b"shop b", b"shop a", b"elsewhere"][:rows], object),
    }


def classes() -> Made:
    """A classifier of series, with a column for each step and one for the whole."""
    shape = Shape(6, 0, 0, past=(0, 2), static=(0,))
    model = sequence_classifier(shape, 3, units=4, segment=2)
    rng = np.random.default_rng(0)
    past = np.stack([rng.normal(size=(4, 6)), rng.integers(0, 3, (4, 6))], -1).astype("float32")
    past[0, :3] = np.nan
    x = {"past": past, "static": rng.normal(size=(4, 1)).astype("float32")}
    return Made(model, ClassEndpoints(model, ["a", "b", "ß"]), {"task": "classification"}, [("serving_default", x)])


UNTRAINED = {"text": text, "series": series, "classes": classes, "segments": segments}


# === Of runs ===


def translation(kept: Kept) -> tuple[Path, Made]:
    """The export of `number_words`, and what it is made of."""
    path = number_words.exported(kept)
    model = Run(number_words.learnt(kept).run, translation_build.DATA).load_model()
    manifest = read_manifest(path, "translation")
    codec = SentenceCodec(SentenceVocabulary.from_dict(manifest["source_vocabulary"]))
    requests = [
        ("serving_default", {"sentence": np.array(sentences, object)})
        for sentences in (SENTENCES, [b"\x00\x01", b"\xff\xfe two"], [])
    ]
    requests.append(("score", {"source": np.array(SENTENCES[:2], object), "target": np.array([b"eins", b""], object)}))
    endpoints = TranslationEndpoints(model, codec, codec, Search(**manifest["search"]))
    return path, Made(model, endpoints, manifest, requests)


def captions(kept: Kept) -> tuple[Path, Made]:
    """The export of `colour_pictures`, and what it is made of."""
    path = colour_pictures.exported(kept)
    model = Run(colour_pictures.learnt(kept).run, captioning_build.DATA).load_model()
    manifest, files = read_manifest(path, "captioning"), np.array(PICTURES, object)
    codec = SentenceCodec(SentenceVocabulary.from_dict(manifest["vocabulary"]))
    requests = [
        ("serving_default", {"image_bytes": files}),
        ("serving_default", {"image_bytes": files[:0]}),
        ("attention", {"image_bytes": files[:2], "caption": np.array([b"red above blue", b""], object)}),
    ]
    search = Search(**manifest["search"])
    endpoints = CaptionEndpoints(model, codec, tuple(manifest["grid"]), search)
    return path, Made(model, endpoints, manifest, requests)


def one(kept: Kept, task: str) -> tuple[Path, Made]:
    """The export of one of `TASKS`, and what it is made of."""
    if task in UNTRAINED:
        return folder(kept, task), UNTRAINED[task]()
    return {"translation": translation, "captions": captions}[task](kept)


TASKS = ("text", "series", "classes", "translation", "captions")
