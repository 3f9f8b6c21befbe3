"""Runs of translation: resumed, chosen by BLEU, of other vocabularies and networks, on messy files."""

import dataclasses
import json

import checkpoints
import number_words
import pytest
from number_words import pairs

from rnnapps.errors import UsageError
from rnnapps.training.log import Log
from rnnapps.translation import PRESETS, Predict, predict, train

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
TINY = PRESETS["tiny"]


@pytest.mark.full
def test_resume_is_bit_exact(tmp_path):
    whole = dataclasses.replace(
        number_words.config(tmp_path), run=tmp_path / "whole", epochs=1.0, schedule="constant", dropout=0.2,
        recurrent_dropout=0.1, scheduled_sampling=0.5, average=0.9, accumulate=2, test_fraction=0.0,
    )  # fmt: skip
    half = dataclasses.replace(whole, run=tmp_path / "half", epochs=0.5)
    train(whole)
    train(half)
    train(dataclasses.replace(half, epochs=1.0, resume=True))
    checkpoints.assert_same(whole.run, half.run)
    with pytest.raises(UsageError, match="--max-length 7: the run to resume has 100"):
        train(dataclasses.replace(half, max_length=7, resume=True))


@pytest.mark.full
def test_the_best_checkpoint_by_bleu(tmp_path):
    config = dataclasses.replace(number_words.config(tmp_path), best="bleu", epochs=2.0, validate_every=0.5)
    train(config)
    figures = [line["validation_bleu"] for line in Log(config.run).read() if "validation_bleu" in line]
    best = json.loads((config.run / "figures.json").read_text())["validation"]
    assert best == max(figures) and len(figures) > 1


@pytest.mark.full
@pytest.mark.parametrize(
    "changes",
    [
        {"joint": False, "tokens": "char", "tied": False, "cell": "lstm", "layers": 2},
        {"lowercase": True, "batch_tokens": 200, "batch_size": None, "score": "general"},
        {"precision": "mixed_bfloat16", "coverage": True, "layers": 2, "epochs": 1.0},
    ],
    ids=["char", "batch_tokens", "bfloat16"],
)
def test_other_vocabularies_batches_and_precision(changes, tmp_path):
    config = dataclasses.replace(
        TINY, pairs=(pairs(tmp_path / "few.tsv", 120),), run=tmp_path / "run", test_fraction=0.1, **changes
    )
    train(config)
    (texts,) = predict(Predict(run=config.run, sentence="One two", beam=2, max_length=4))
    assert len(texts) == 1


def test_messy_files_lose_nothing_that_was_saved(tmp_path, capsys):
    lines = pairs(tmp_path / "messy.tsv", 100).read_text(encoding="utf-8")
    (tmp_path / "messy.tsv").write_text(lines + "no tab\n\tzwei\nthree\t\n" + "one " * 10_000 + "\teins\n")
    config = dataclasses.replace(TINY, pairs=(tmp_path / "messy.tsv",), run=tmp_path / "run")
    train(config)
    said = " ".join(capsys.readouterr())
    assert said.count("left out") >= 2, said
    assert predict(Predict(run=config.run, sentence="one " * 10_000, beam=1))

    before = (config.run / "model.keras").read_bytes()
    binary = tmp_path / "binary.tsv"
    binary.write_bytes(b"one\teins\n\xff\xfe\ttwo\n")
    with pytest.raises(UsageError, match=r"binary\.tsv"):
        train(dataclasses.replace(config, pairs=(binary,), overwrite=True))
    (tmp_path / "a").write_text("one\ntwo\nthree\n", encoding="utf-8")
    (tmp_path / "b").write_text("eins\nzwei\n", encoding="utf-8")
    with pytest.raises(UsageError, match="has 3 lines and .* has 2"):
        train(dataclasses.replace(config, pairs=(tmp_path / "a", tmp_path / "b"), aligned=True, overwrite=True))
    assert (config.run / "model.keras").read_bytes() == before
