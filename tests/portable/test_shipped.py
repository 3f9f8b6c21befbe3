"""Every numeric endpoint of the shipped models, in every form; and what int8 costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from rnnapps.config import shipped_models
from rnnapps.portable.convert import FORMATS, WEIGHTS, convert
from rnnapps.portable.core import numeric_cores
from rnnapps.portable.measure import _Writer
from rnnapps.portable.quantized import QuantizedText, write_quantized
from rnnapps.portable.text import TextCore
from rnnapps.serving.text_model import TextModel

ENDPOINTS = {
    "etth1": ("serving_default", "step"),
    "flickr8k": ("encode", "step"),
    "multi30k_en_de": ("encode", "step"),
    "multi30k_en_fr": ("encode", "step"),
    "shakespeare": ("step",),
    "shakespeare_large": ("step",),
}
SHAKESPEARE = Path(__file__).parents[3] / "shared" / "data" / "text" / "tinyshakespeare.txt"


@pytest.mark.full  # of a small forecaster see `test_core`
def test_what_takes_numbers_has_a_core():
    assert tuple(sorted(numeric_cores(shipped_models()["etth1"]))) == ENDPOINTS["etth1"]


@pytest.mark.full
@pytest.mark.parametrize("name", ENDPOINTS)
def test_what_takes_numbers_is_converted(name):
    for form in FORMATS.values():
        for package in form.packages:
            pytest.importorskip(package)
    cores = numeric_cores(shipped_models()[name])
    assert tuple(sorted(cores)) == ENDPOINTS[name]
    for core in cores.values():
        for form in FORMATS:
            for weights in WEIGHTS:
                convert(core, form, weights)  # raises where it answers something else


def test_int8_costs_next_to_nothing_a_step():
    """On the beginning of the text, by steps in this process."""
    text = TextCore.load(shipped_models()["shakespeare"])
    step = QuantizedText(text, "int8").functions["step"]

    def small(inputs):
        given = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in step(given.pop("tokens"), given).items()}

    beginning = "First Citizen:\nBefore we proceed any further, hear me speak.\n"
    nats = [_Writer(text, run).nats(beginning) for run in (text.core.ask, small)]
    assert abs(nats[1] - nats[0]) < 1e-2 and nats[1] != nats[0] < 2


@pytest.mark.full
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="no copy of the text here")
def test_int8_costs_next_to_nothing(tmp_path):
    text = SHAKESPEARE.read_text(encoding="utf-8")
    held_out = text[int(len(text) * 0.9) :][:20_000].encode()
    path = shipped_models()["shakespeare"]
    copy = write_quantized(path, tmp_path, None, "int8")
    plain, small = (
        float(TextModel.from_saved_model(one).score([held_out])["nats_per_char"][0]) for one in (path, copy)
    )
    assert abs(small - plain) < 2e-3 and small != plain
