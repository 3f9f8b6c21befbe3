"""The models that come with a checkout: they answer, and are what their manifest says."""

import hashlib
import json
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cpp_process import one_cpp_process  # noqa: F401  # a fixture
from tensorflow.core.protobuf import saved_model_pb2

from rnnapps.captioning.config import Evaluate as CaptionScores
from rnnapps.captioning.config import Predict as CaptionOptions
from rnnapps.captioning.task import evaluate as score_captions
from rnnapps.captioning.task import predict as caption
from rnnapps.config import shipped_models
from rnnapps.forecasting.config import Predict as ForecastOptions
from rnnapps.forecasting.task import predict as forecast
from rnnapps.serving.capi import run_in_c_api
from rnnapps.serving.scan import check_files, check_operations
from rnnapps.serving.text_model import TextModel
from rnnapps.serving.verification import first_failure, table, verify
from rnnapps.text_generation.config import Predict
from rnnapps.text_generation.task import predict
from rnnapps.translation.answers import translation_model
from rnnapps.translation.config import Evaluate as TranslationScores
from rnnapps.translation.config import Predict as TranslationOptions
from rnnapps.translation.task import evaluate as score_translation
from rnnapps.translation.task import predict as translate

linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="TensorFlow's libraries have other names elsewhere"
)
SHARED = Path(__file__).parents[2] / "shared" / "data"
SHAKESPEARE, ETTH1 = SHARED / "text" / "tinyshakespeare.txt", SHARED / "timeseries" / "ett" / "ETTh1.csv"


@pytest.mark.full
@pytest.mark.parametrize("name", shipped_models())
@linux_only
def test_every_shipped_model_passes_its_trial(name):
    checks = verify(shipped_models()[name])
    assert first_failure(checks) is None, table(checks)


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_is_whole_and_has_the_endpoints_that_its_manifest_says(name):
    folder = shipped_models()[name]
    check_operations(check_files(folder), xla=name.endswith("_xla"))
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["endpoints"]
    (graph,) = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    found = {
        key: {
            side: {name: (tf.as_dtype(one.dtype).name, _sizes(one.tensor_shape)) for name, one in ends.items()}
            for side, ends in (("inputs", signature.inputs), ("outputs", signature.outputs))
        }
        for key, signature in graph.signature_def.items()
        if not key.startswith("__")
    }
    assert found == {
        key: {side: {name: (one["dtype"], one["shape"]) for name, one in ends.items()} for side, ends in sides.items()}
        for key, sides in told.items()
    }
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    weights = [name for name in reader.get_variable_to_shape_map() if name.startswith("model_variables/")]
    assert weights and all(np.isfinite(reader.get_tensor(name)).all() for name in weights)


def _sizes(shape):
    return tf.TensorShape(shape).as_list()


@pytest.mark.parametrize("name", shipped_models())
def test_cards_and_the_servers_files_are_of_the_version_that_is_shipped(name):
    folder = shipped_models()[name]
    card = (folder.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    digest = hashlib.sha256((folder / "saved_model.pb").read_bytes()).hexdigest()
    assert f"Version {folder.name}," in card and digest in card
    file = "models_xla.config" if name.endswith("_xla") else "models.config"
    config = (folder.parents[1] / file).read_text(encoding="utf-8")
    assert f'name: "{name}"' in config and config.count(f'version_labels {{ key: "stable" value: {folder.name} }}')
    assert '"/' not in card, "a path of some machine"


LARGE = ("flickr8k", "multi30k_en_de", "multi30k_en_fr", "shakespeare_large")


@pytest.mark.parametrize(
    "name", ["shakespeare", *(pytest.param(one, marks=pytest.mark.full) for one in ("etth1", *LARGE))]
)
@linux_only
def test_what_the_clients_are_told_to_expect_is_what_they_get(name):
    folder = shipped_models()[name]
    asked, expected = (
        json.loads((folder.parent / "client" / f"{file}.json").read_text(encoding="utf-8"))
        for file in ("request_column", "expected")
    )
    (answer,) = run_in_c_api(folder, [(asked["signature_name"], asked["inputs"])])
    wanted = expected["column"]["outputs"]
    for key, value in answer.items():
        of_key = wanted[key] if len(answer) > 1 else wanted
        if value.dtype == object:
            assert np.vectorize(bytes.decode)(value).tolist() == of_key
        else:
            np.testing.assert_allclose(value, np.array(of_key), rtol=1e-4, atol=1e-5)


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


@pytest.fixture(scope="module")
def play():
    """A request to the model of Shakespeare, and what it writes."""
    (text,) = predict(Predict(prompt="ROMEO:", length=400, seed=1, temperature=0.5))
    return {"prompt": ["ROMEO:"], "num_chars": [400], "temperature": [0.5], "seed": [1]}, text


def test_shakespeare_writes_plays(play):
    _, text = play
    assert len(text) == 400
    words = {"the", "and", "to", "of", "my", "you", "is", "that", "not", "with", "his", "be", "for", "in", "me"}
    assert len(words & set(text.lower().split())) >= 6


@pytest.mark.full  # what clients are told to expect is asked in the C API too
@linux_only
def test_shakespeare_answers_in_the_c_api(play):
    request, text = play
    (answer,) = run_in_c_api(shipped_models()["shakespeare"], [("serving_default", request)])
    assert answer["text"][0].decode() == text


def test_etth1_is_shipped_and_small():
    folder = shipped_models()["etth1"]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert manifest["layout"]["targets"] == ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    assert manifest["figures"]["test_mse"] < 0.375 and manifest["figures"]["test_mae"] < 0.398
    assert (manifest["config"]["history"], manifest["config"]["horizon"]) == (96, 96)
    assert '"/' not in text, "a path of some machine"


def hours(count):
    """A made-up transformer: loads that follow the day, in the columns' usual sizes."""
    t = np.arange(count)[:, None]
    size, level = np.array([9.0, 2.0, 8.0, 1.0, 1.0, 0.4, 3.0]), np.array([7.0, 2.0, 4.0, 1.0, 3.0, 1.0, 13.0])
    noise = np.random.default_rng(0).normal(size=(count, 7))
    return level + size * (np.sin(2 * np.pi * t / 24) + 0.1 * noise)


def test_etth1_forecasts_what_goes_on_every_day(tmp_path):
    values, names = hours(300), ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    table = pd.DataFrame(values[:204], columns=names)
    table.insert(0, "date", pd.date_range("2020-01-01", periods=204, freq="h"))
    table.to_csv(tmp_path / "x.csv", index=False)
    found = forecast(ForecastOptions(csv=(tmp_path / "x.csv",), output=tmp_path / "out.csv"))
    mean = found["mean"].to_numpy().reshape(96, 7)
    error = np.abs(mean - values[204:]).mean(0) / values.std(0)
    assert error.max() < 0.35, error  # the mean would be wrong by 0.9
    inside = (found["q0.05"] <= values[204:].ravel()) & (values[204:].ravel() <= found["q0.95"])
    assert inside.mean() > 0.8
    if sys.platform.startswith("linux"):
        asked = {"history": values[None, 108:204].astype("float32"), "series": np.array([b""], object)}
        (answer,) = run_in_c_api(shipped_models()["etth1"], [("serving_default", asked)])
        np.testing.assert_allclose(answer["mean"][0], mean, rtol=1e-3, atol=1e-3)


# Windows of the test part that are asked, one in so many, and how near to the figures of all of them theirs are.
SOME, ALL = (40, 0.02, 0.01), (1, 1e-4, 1e-3)


@pytest.mark.parametrize(("stride", "near", "coverage"), [SOME, pytest.param(*ALL, marks=pytest.mark.full)])
@pytest.mark.skipif(not ETTH1.exists(), reason="no copy of ETTh1 here")
def test_etth1_scores_what_its_manifest_says(stride, near, coverage):
    """Windows of the standard test part, scaled by the training part, without the package's own evaluation."""
    folder = shipped_models()["etth1"]
    figures = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]
    values = pd.read_csv(ETTH1, index_col=0).to_numpy()[:14_400]
    unit, ask = values[:8640].std(0), tf.saved_model.load(str(folder)).signatures["serving_default"]
    every = np.arange(11_520, 14_400 - 96 + 1)
    assert len(every) == 2785
    squared, absolute, inside = [], [], []
    for origins in np.array_split(every[::stride], math.ceil(len(every) / stride / 128)):
        windows = values[origins[:, None] + np.arange(-96, 96)]
        answer = ask(history=tf.constant(windows[:, :96], tf.float32), series=tf.fill([len(origins)], ""))
        error = (windows[:, 96:] - answer["mean"].numpy()) / unit
        low, high = answer["quantiles"].numpy()[..., 1], answer["quantiles"].numpy()[..., 7]
        squared.append((error**2).mean((1, 2)))
        absolute.append(np.abs(error).mean((1, 2)))
        inside.append(((low <= windows[:, 96:]) & (windows[:, 96:] <= high)).mean((1, 2)))
    assert np.concatenate(squared).mean() == pytest.approx(figures["test_mse"], abs=near)
    assert np.concatenate(absolute).mean() == pytest.approx(figures["test_mae"], abs=near)
    assert np.concatenate(inside).mean() == pytest.approx(figures["test_coverage_90"], abs=coverage)


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="no copy of the text here")
def test_shakespeare_scores_on_some_pages_about_what_its_manifest_says():
    folder = shipped_models()["shakespeare"]
    figures = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]
    text = SHAKESPEARE.read_text(encoding="utf-8")
    text = text[int(len(text) * 0.9) :]
    pages = [text[first : first + 250].encode() for first in range(0, len(text) - 250, len(text) // 16)]
    found = TextModel.from_saved_model(folder).score(pages)["nats_per_char"].numpy().mean()
    assert abs(found - figures["test_nats"]) < 0.1


@pytest.mark.parametrize("name", ["shakespeare", "shakespeare_large"])
@pytest.mark.full
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="no copy of the text here")
def test_shakespeare_scores_what_its_manifest_says(name):
    folder = shipped_models()[name]
    figures = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]
    text = SHAKESPEARE.read_text(encoding="utf-8")
    answer = TextModel.from_saved_model(folder).score([text[int(len(text) * 0.9) :].encode()])
    assert int(answer["num_chars"][0]) == figures["test_tokens"]
    assert abs(float(answer["nats_per_char"][0]) - figures["test_nats"]) < 1e-4


FLICKR8K = SHARED / "flickr8k"


def test_the_captioner_is_shipped_and_small():
    folder = shipped_models()["flickr8k"]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 40e6
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    counts = {"train": 6000, "validation": 1000, "test": 500}
    assert {name: manifest["data"][name] for name in counts} == counts
    assert manifest["data"]["parts"]["test"] == "test_public500"
    assert {"config", "search", "grid", "image_size", "seed", "figures", "versions", "vocabulary"} <= set(manifest)
    assert manifest["figures"]["training_seconds"] < 45 * 60
    without_words = json.dumps({key: value for key, value in manifest.items() if key != "vocabulary"})
    assert '"/' not in without_words, "a path of some machine"


@pytest.mark.full
@linux_only
def test_the_captioner_answers_in_the_c_api(tmp_path):
    folder = shipped_models()["flickr8k"]
    path = tmp_path / "green.png"
    path.write_bytes(tf.io.encode_png(tf.tile(tf.constant([[[40, 140, 50]]], tf.uint8), (60, 80, 1))).numpy())
    (answer,) = run_in_c_api(folder, [("serving_default", {"image_bytes": np.array([path.read_bytes()], object)})])
    assert answer["caption"].tolist() == [caption(CaptionOptions(image=(path,)))[0][0].encode()]
    assert answer["attention"].shape[2:] == (7, 7) and len(answer["caption"][0].split()) > 3


@pytest.mark.full
@pytest.mark.skipif(not FLICKR8K.is_dir(), reason="wants the photographs")
def test_the_captioner_describes_what_it_has_not_seen(tmp_path):
    """Scores of the test part through the export."""
    with zipfile.ZipFile(FLICKR8K / "images_128" / "test_public500.zip") as archive:
        archive.extractall(tmp_path)
    captions = FLICKR8K / "Flickr8k.token.public.txt"
    options = CaptionScores(model=shipped_models()["flickr8k"], images=tmp_path, captions=captions)
    figures = score_captions(options)[tmp_path.name]
    assert figures["bleu_1"] > 62 and figures["bleu_4"] > 18 and figures["cider_d"] > 0.5


# What a translation begins with, BLEU, and seconds of training: the second one was paused and had work beside it.
TRANSLATORS = {"multi30k_en_de": (b"Ein Hund", 36.0, 3_600), "multi30k_en_fr": (b"Un chien", 57.5, 5_400)}
MULTI30K = SHARED / "multi30k" / "raw"


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_are_shipped_and_small(name):
    folder = shipped_models()[name]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 30e6
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["data"] == {"learnt": name, "train": 29000, "validation": 1014, "test": 1000}
    assert {"config", "languages", "search", "seed", "figures", "versions", "source_vocabulary"} <= set(manifest)
    assert (
        manifest["figures"]["test_bleu"] > TRANSLATORS[name][1] - 1
        and manifest["figures"]["training_seconds"] < TRANSLATORS[name][2]
    )
    without_words = json.dumps({key: value for key, value in manifest.items() if not key.endswith("vocabulary")})
    assert '"/' not in without_words, "a path of some machine"


@pytest.mark.full
@pytest.mark.parametrize("name", TRANSLATORS)
@linux_only
def test_translators_answer_in_the_c_api(name, tmp_path):
    folder = shipped_models()[name]
    sentences = ["A dog is running on the beach.", "", "Two children are playing with a ball."]
    request = {"sentence": np.array([sentence.encode() for sentence in sentences], object)}
    (answer,) = run_in_c_api(folder, [("serving_default", request)])
    found = answer["translation"].tolist()
    assert found[0].startswith(TRANSLATORS[name][0]) and found[1] == b""
    (tmp_path / "sentences.txt").write_text("\n".join(sentences), encoding="utf-8")
    again = translate(TranslationOptions(model=folder, file=tmp_path / "sentences.txt"))
    assert found == [texts[0].encode() for texts in again]


@pytest.mark.full
@pytest.mark.parametrize("name", TRANSLATORS)
@pytest.mark.skipif(not MULTI30K.is_dir(), reason="wants the captions")
def test_translators_translate_what_they_have_not_seen(name):
    """BLEU of the test part through the export, lowercased."""
    files = tuple(MULTI30K / f"test_2016_flickr.{language}.gz" for language in name.split("_")[1:])
    found = score_translation(
        TranslationScores(model=shipped_models()[name], pairs=files, aligned=True, lowercase=True)
    )
    assert found[files[0].name]["bleu"] > TRANSLATORS[name][1]
    assert translation_model(None, shipped_models()[name]).max_length == 100
