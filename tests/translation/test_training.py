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


def test_resume_goes_on_bit_by_bit(whole_and_resumed):
    checkpoints.assert_same(*whole_and_resumed)


def test_a_run_is_resumed_with_what_it_began_with(numbers):
    with pytest.raises(UsageError, match="--max-length 7: the run to resume has 100"):
        train(dataclasses.replace(numbers, max_length=7, resume=True))


@pytest.mark.full
def test_resume_is_bit_exact(tmp_path):
    whole = dataclasses.replace(
        number_words.config(tmp_path), run=tmp_path / "whole", epochs=2.0, schedule="constant", dropout=0.2,
        recurrent_dropout=0.1, scheduled_sampling=0.5, average=0.9, accumulate=2, test_fraction=0.0,
    )  # fmt: skip
    half = dataclasses.replace(whole, run=tmp_path / "half", epochs=1.0)
    train(whole)
    train(half)
    train(dataclasses.replace(half, epochs=2.0, resume=True))
    checkpoints.assert_same(whole.run, half.run)


@pytest.mark.parametrize("kind", ["few", pytest.param("config", marks=pytest.mark.full)])
def test_the_best_checkpoint_by_bleu(kind, tmp_path, request, often_validated):
    if kind == "few":
        request.getfixturevalue("eagerly")
        config = number_words.few(tmp_path, best="bleu", epochs=2.0, batch_size=24)
    else:
        config = number_words.config(tmp_path, best="bleu")
    train(config)
    figures = [line["validation_bleu"] for line in Log(config.run).read() if "validation_bleu" in line]
    best = json.loads((config.run / "figures.json").read_text())["validation"]
    assert best == max(figures) and len(figures) > 1


def test_two_vocabularies_and_half_precision(tmp_path, eagerly):
    config = number_words.few(
        tmp_path, joint=False, tokens="char", tied=False, cell="lstm", precision="mixed_bfloat16", max_length=8,
        batch_tokens=200, batch_size=None, score="general", lowercase=True, validation_fraction=0.0,
    )  # fmt: skip
    train(config)
    ((text,),) = predict(Predict(run=config.run, sentence="One", beam=2, max_length=2))
    assert len(text) <= 2


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


@pytest.mark.parametrize("words", [20, pytest.param(10_000, marks=pytest.mark.full)])
def test_messy_files_lose_nothing_that_was_saved(words, tmp_path, capsys, eagerly):
    config = number_words.few(tmp_path, max_length=10)
    with config.pairs[0].open("a", encoding="utf-8") as file:
        file.write("no tab\n\tzwei\nthree\t\n" + "one " * 10_000 + "\teins\n")
    train(config)
    said = " ".join(capsys.readouterr())
    assert said.count("left out") >= 2, said
    assert predict(Predict(run=config.run, sentence="one " * words, beam=1))

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
