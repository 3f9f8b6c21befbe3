"""The small export of each task: its endpoints are those that clients know, and it answers as its functions do."""

from __future__ import annotations

import json
import pickle

import pytest
import small_exports
from export_helpers import assert_same, own_answers

from rnnapps.serving.capi import run_in_c_api

_SERIES = "future float32 ?x10x2, times int64 ?x10, series string ?"
_FORECAST = "mean float32 ?x4x2, quantiles float32 ?x4x2x9"
_LSTM = "layer_0_h float32 ?x33, layer_0_c float32 ?x33, layer_1_h float32 ?x33, layer_1_c float32 ?x33"
_GRU = "feed float32 ?x16, layer_0_h float32 ?x32, alignment float32 ?x?"
_PLACES = "keys float32 ?x?x32, values float32 ?x?x16, places int32 ?"
_LOOKS = "feed float32 ?x16, layer_0_h float32 ?x32, layer_0_c float32 ?x32, alignment float32 ?x16"
_PICTURE = "keys float32 ?x16x16, values float32 ?x16x16"
# What a client sends and gets, by name, type and shape. A change here breaks clients.
SIGNATURES = {
    "text": {
        "serving_default": (
            "prompt string ?, num_chars int32 ?, temperature float32 ?, seed int32 ?",
            "text string ?",
        ),
        "score": ("text string ?", "nats_per_char float32 ?, num_chars int32 ?"),
        "step": (f"tokens int32 ?, {_LSTM}", f"logits float32 ?x17, {_LSTM}"),
    },
    "series": {
        "serving_default": (f"history float32 ?x6x2, {_SERIES}", _FORECAST),
        "step": (
            f"observation float32 ?x2, window float32 ?x6x2, {_SERIES}",
            f"{_FORECAST}, window float32 ?x6x2",
        ),
        "paths": (f"history float32 ?x6x2, {_SERIES}, seed int32 ?", "paths float32 ?x100x4x2"),
    },
    "classes": {
        "serving_default": ("past float32 ?x6x2, static float32 ?x1", "class string ?, probabilities float32 ?x3"),
    },
    "translation": {
        "serving_default": (
            "sentence string ?",
            "translation string ?, score float32 ?, source_pieces string ?x?, pieces string ?x?, "
            "alignment float32 ?x?x?",
        ),
        "score": ("source string ?, target string ?", "log_prob float32 ?, tokens int32 ?"),
        "encode": ("source int32 ?x?", f"{_PLACES}, {_GRU}"),
        "step": (f"token int32 ?, {_PLACES}, {_GRU}", f"logits float32 ?x15, {_GRU}"),
    },
    "captions": {
        "serving_default": (
            "image_bytes string ?",
            "caption string ?, score float32 ?, attention float32 ?x?x4x4, sentinel float32 ?x?, pieces string ?x?",
        ),
        "attention": (
            "image_bytes string ?, caption string ?",
            "log_prob float32 ?, tokens int32 ?, attention float32 ?x?x4x4, sentinel float32 ?x?, pieces string ?x?",
        ),
        "encode": ("image_bytes string ?", f"{_PICTURE}, {_LOOKS}"),
        "step": (f"token int32 ?, {_PICTURE}, {_LOOKS}", f"logits float32 ?x8, {_LOOKS}"),
    },
}

# Loads an export, prints its signatures, and answers requests: files of pickled arrays.
ELSEWHERE = """
import json, pickle, sys
import tensorflow as tf

def said(tensors):
    return {name: {"dtype": x.dtype.name, "shape": x.shape.as_list()} for name, x in tensors.items()}

path, asked, answered = sys.argv[1:]
signatures = tf.saved_model.load(path).signatures
answers = []
for key, inputs in pickle.load(open(asked, "rb")):
    types = signatures[key].structured_input_signature[1]
    found = signatures[key](**{name: tf.constant(value, types[name].dtype) for name, value in inputs.items()})
    answers.append({name: value.numpy() for name, value in found.items()})
pickle.dump(answers, open(answered, "wb"))
print(json.dumps({
    key: {"inputs": said(one.structured_input_signature[1]), "outputs": said(one.structured_outputs)}
    for key, one in signatures.items()
}))
"""


@pytest.fixture(scope="module", params=small_exports.TASKS)
def one(request, kept, elsewhere, unicode_tables, tmp_path_factory):
    """A task; its export, and what that is made of; signatures and answers where there is no Keras."""
    path, made = small_exports.one(kept, request.param)
    asked, answered = (tmp_path_factory.mktemp("elsewhere") / name for name in ("asked", "answered"))
    asked.write_bytes(pickle.dumps(made.every_request()))
    signatures = json.loads(elsewhere.run(ELSEWHERE, path, asked, answered))
    return request.param, path, made, signatures, pickle.loads(answered.read_bytes())


def test_it_has_the_endpoints_that_clients_know(one):
    task, path, _, signatures, _ = one
    wanted = {key: [sorted(side.split(", ")) for side in sides] for key, sides in SIGNATURES[task].items()}
    assert {key: [_said(side) for side in sides.values()] for key, sides in signatures.items()} == wanted
    told = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["endpoints"]
    assert {key: [_said(side) for side in sides.values()] for key, sides in told.items()} == wanted


def _said(tensors):
    sizes = {name: "x".join("?" if size is None else str(size) for size in x["shape"]) for name, x in tensors.items()}
    return sorted(f"{name} {x['dtype']} {sizes[name]}" for name, x in tensors.items())


def test_it_answers_as_its_functions_do(one):
    _, _, made, signatures, answers = one
    requests = made.every_request()
    assert {key for key, _ in requests} == set(signatures)
    there = [len(next(iter(inputs.values()))) > 0 for _, inputs in requests]
    assert_same(
        [answer for answer, some in zip(answers, there, strict=True) if some],
        own_answers(made.endpoints, [request for request, some in zip(requests, there, strict=True) if some]),
    )
    for answer in [answer for answer, some in zip(answers, there, strict=True) if not some]:
        assert {name: len(value) for name, value in answer.items()} == dict.fromkeys(answer, 0)


@pytest.mark.full
def test_it_answers_alike_in_cpp(one):
    _, path, made, _, answers = one
    assert_same(run_in_c_api(path, made.every_request()), answers)
