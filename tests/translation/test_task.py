"""Translation from the command line's point of view: train, evaluate, predict, export on a small language."""

import dataclasses
import io
import json

import numpy as np
import pytest
from number_words import SENTENCES, WORDS, pairs

from rnnapps import cli
from rnnapps.errors import UsageError
from rnnapps.translation import PRESETS, Config, Evaluate, Predict, evaluate, predict, train

pytestmark = pytest.mark.usefixtures("eagerly", "loaded_once")
TINY = PRESETS["tiny"]


def test_it_learns_what_it_has_not_seen(numbers, capsys, tmp_path):
    found = evaluate(Evaluate(run=numbers.run, by_length=True, output=tmp_path / "out.txt"))
    printed = capsys.readouterr().out
    assert found["numbers.tsv, test"]["exact"] > 0.9 > found["baseline copy"]["exact"]
    assert "BLEU" in printed and "nrefs:1" in printed and "0-5 words" in printed
    lines = (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50 and set(" ".join(lines).split()) <= set(WORDS.values())


def test_figures_of_a_run_are_those_of_its_evaluation(numbers, capsys):
    found = evaluate(Evaluate(run=numbers.run, json=True))
    assert json.loads(capsys.readouterr().out) == found
    figures = json.loads((numbers.run / "figures.json").read_text())
    for name, value in found["numbers.tsv, test"].items():
        assert figures[f"test_{name}"] == value, name


def test_own_files_are_scored(numbers, tmp_path, capsys):
    (tmp_path / "from.txt").write_text("one two\nthree\n", encoding="utf-8")
    (tmp_path / "to.txt").write_text("zwei eins\ndrei\n", encoding="utf-8")
    both = (tmp_path / "from.txt", tmp_path / "to.txt")
    assert evaluate(Evaluate(run=numbers.run, pairs=both, aligned=True))["from.txt"]["exact"] == 1
    assert "2" in capsys.readouterr().out


def test_sentences_from_everywhere(numbers, tmp_path, capsys, monkeypatch):
    assert predict(Predict(run=numbers.run, sentence="one two three")) == [["drei zwei eins"]]
    assert capsys.readouterr().out == "drei zwei eins\n"
    (tmp_path / "some.txt").write_text("\ufeffone two\r\n\r\nsix", encoding="utf-8")
    assert predict(Predict(run=numbers.run, file=tmp_path / "some.txt")) == [["zwei eins"], [""], ["sechs"]]
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("four one\n\nfive\n"))
    assert predict(Predict(run=numbers.run)) == [["eins vier"], [""], ["fünf"]]
    assert capsys.readouterr().out == "eins vier\n\nfünf\n"


def test_words_that_were_never_seen_are_copied(numbers):
    ((text,),) = predict(Predict(run=numbers.run, sentence="seven", prefix="sieben", max_length=2))
    assert text == "seven"


def test_several_translations_with_scores_and_alignments(numbers, tmp_path, capsys):
    predict(Predict(run=numbers.run, sentence="one two", nbest=3, json=True, plot_attention=tmp_path / "look.png"))
    found = json.loads(capsys.readouterr().out)
    assert found["translation"] == "zwei eins" and [one["translation"] for one in found["nbest"]][0] == "zwei eins"
    scores = [one["score"] for one in found["nbest"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3 and max(scores) < 0
    assert found["pieces"] == [" zwei", " eins"] and found["source_pieces"] == [" one", " two"]
    assert np.argmax(found["alignment"], axis=1).tolist() == [1, 0]
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")
    predict(Predict(run=numbers.run, sentence="one two", nbest=2))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_drawn_translations_are_of_their_seed(numbers):
    drawn = {"sample": True, "nbest": 8, "temperature": 3.0, "seed": 1, "max_length": 6}
    options = Predict(run=numbers.run, sentence="one two three four", **drawn)
    assert predict(options) == predict(options) != predict(dataclasses.replace(options, seed=100))


def test_what_an_export_says_of_itself(exported):
    manifest = json.loads((exported / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["figures"]["test_bleu"] > 50 and manifest["target_vocabulary"] is None
    assert "pairs" not in manifest["config"] and "run" not in manifest["config"]


def test_an_export_answers_as_the_run_does(answered_elsewhere):
    assert answered_elsewhere == list(SENTENCES.values())


@pytest.mark.parametrize("kind", [pytest.param("run", marks=pytest.mark.full), "model"])
def test_an_export_in_the_place_of_a_run(numbers, exported, kind, tmp_path):
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    place = {"run": numbers.run} if kind == "run" else {"model": exported}
    found = predict(Predict(file=tmp_path / "sentences.txt", **place))
    assert [texts[0] for texts in found] == list(SENTENCES.values())


def test_an_export_is_scored_on_other_pairs(exported, tmp_path):
    with pytest.raises(UsageError, match="without --pairs"):
        evaluate(Evaluate(model=exported))
    new = pairs(tmp_path / "new.tsv", 50, seed=9)
    assert evaluate(Evaluate(model=exported, pairs=(new,)))["new.tsv"]["exact"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--languages", "en"], "--languages en: wanted two, from and to"),
        (
            ["train", "--batch-size", "8", "--batch-tokens", "100"],
            "--batch-size and --batch-tokens were given together",
        ),
        (["train", "--score", "dot", "--coverage"], "--coverage with --score dot: wanted --score additive"),
        (["train", "--test", "a.tsv"], "--test without --pairs"),
        (["train", "--weight-decay", "0.1"], "--weight-decay with --optimizer adam"),
        (["predict", "--sentence", "x", "--nbest", "9"], "--nbest 9 with --beam 5"),
        (["predict", "--sentence", "x", "--file", "y"], "--sentence and --file were given together"),
        (["predict", "--sentence", "x", "--groups", "2"], "--groups 2 with --beam 5: wanted a divisor of it"),
        (["predict", "--sentence", "x", "--plot-attention", "a.gif"], "--plot-attention a.gif"),
    ],
)
def test_bad_options_are_said_in_a_sentence(arguments, said, capsys):
    assert cli.main("rnnapps.translation", arguments) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


def test_what_is_not_there_is_said_in_a_sentence(numbers, tmp_path):
    new = dataclasses.replace(TINY, run=tmp_path / "run")
    cases = {
        "none.tsv": lambda: train(dataclasses.replace(new, pairs=(tmp_path / "none.tsv",))),
        "--languages en es does not go with multi30k": lambda: train(
            dataclasses.replace(new, dataset="multi30k", languages=("en", "es"))
        ),
        "xx_YY": lambda: train(dataclasses.replace(new, languages=("en", "xx_YY"))),
        "tatoebas": lambda: train(dataclasses.replace(new, dataset="tatoebas")),
        "nowhere": lambda: predict(Predict(run=tmp_path / "nowhere", sentence="x")),
        "some.txt": lambda: predict(Predict(run=numbers.run, file=tmp_path / "some.txt")),
        "holds no SavedModel": lambda: predict(Predict(model=tmp_path, sentence="x")),
        "--resume": lambda: train(numbers),
    }
    for said, run in cases.items():
        with pytest.raises(UsageError, match=said) as raised:
            run()
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_defaults_of_the_config():
    assert Config().dataset is None and set(PRESETS) >= {"quick", "base", "tiny"}
    for name, preset in PRESETS.items():
        assert preset.preset == name
