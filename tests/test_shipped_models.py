"""The models that come with a checkout: they answer, and are what their manifest says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnapps.config import shipped_models
from rnnapps.serving.capi import run_in_c_api
from rnnapps.serving.text_model import TextModel
from rnnapps.text_generation.config import Predict
from rnnapps.text_generation.task import predict

SHAKESPEARE = Path(__file__).parents[2] / "shared" / "data" / "text" / "tinyshakespeare.txt"


@pytest.mark.parametrize("name", ["shakespeare", "shakespeare_large"])
def test_shakespeare_is_shipped_and_small(name):
    folder = shipped_models()[name]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert {"config", "data", "seed", "figures", "versions", "endpoints", "vocabulary"} <= set(manifest)
    assert {"test_nats", "test_tokens", "training_seconds"} <= set(manifest["figures"])
    assert manifest["data"] == {"learnt": "tiny_shakespeare", "train": 1003854, "validation": 0, "test": 111540}
    assert '"/' not in text.replace('"/"', ""), "a path of some machine"


def test_shakespeare_writes_plays():
    (text,) = predict(Predict(prompt="ROMEO:", length=400, seed=1, temperature=0.5))
    assert len(text) == 400
    words = {"the", "and", "to", "of", "my", "you", "is", "that", "not", "with", "his", "be", "for", "in", "me"}
    assert len(words & set(text.lower().split())) >= 6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TensorFlow's libraries have other names elsewhere")
def test_shakespeare_answers_in_the_c_api():
    folder = shipped_models()["shakespeare"]
    request = {
        "prompt": np.array([b"ROMEO:"], object),
        "num_chars": np.array([50], "int32"),
        "temperature": np.array([0.8], "float32"),
        "seed": np.array([3], "int32"),
    }
    (answer,) = run_in_c_api(folder, [("serving_default", request)])
    (text,) = predict(Predict(prompt="ROMEO:", length=50, seed=3, temperature=0.8))
    assert answer["text"][0].decode() == text


@pytest.mark.parametrize("name", ["shakespeare", "shakespeare_large"])
@pytest.mark.slow
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="no copy of the text here")
def test_shakespeare_scores_what_its_manifest_says(name):
    folder = shipped_models()[name]
    figures = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]
    text = SHAKESPEARE.read_text(encoding="utf-8")
    answer = TextModel.from_saved_model(folder).score([text[int(len(text) * 0.9) :].encode()])
    assert int(answer["num_chars"][0]) == figures["test_tokens"]
    assert abs(float(answer["nats_per_char"][0]) - figures["test_nats"]) < 1e-4
