"""Captioning from the command line's point of view: train, evaluate, predict, export on pictures of two colours."""

import dataclasses
import json

import colour_pictures
import pytest
from colour_pictures import COLOURS, picture

from rnnapps import cli
from rnnapps.captioning import PRESETS, Config, Evaluate, Predict, evaluate, predict, train
from rnnapps.errors import UsageError

pytestmark = pytest.mark.usefixtures("eagerly", "loaded_once")
TINY = PRESETS["tiny"]


def test_it_describes_what_it_has_not_seen(colours, decoded_plainly, capsys, tmp_path):
    found = evaluate(Evaluate(run=colours.run, output=tmp_path / "out.tsv"))
    printed = capsys.readouterr().out
    assert found["pictures, test"]["exact"] > 0.9 > found["baseline commonest caption"]["exact"]
    assert "BLEU-4" not in printed and "bleu-4" in printed and "chrf: nrefs:1" in printed
    lines = [line.split("\t") for line in (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 20 and all(name.endswith(".png") and " above " in text for name, text in lines)


@pytest.mark.full  # those of text are quick
def test_figures_of_a_run_are_those_of_its_evaluation(colours, decoded_plainly, capsys):
    found = evaluate(Evaluate(run=colours.run, json=True))
    assert json.loads(capsys.readouterr().out) == found
    figures = json.loads((colours.run / "figures.json").read_text())
    for name, value in found["pictures, test"].items():
        assert figures[f"test_{name}"] == value, name


def test_pictures_from_everywhere(colours, tmp_path, capsys):
    for top in COLOURS:
        (tmp_path / f"{top}.jpg").write_bytes(picture(top, "blue", kind="JPEG"))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    one = tmp_path / "red.jpg"
    assert predict(Predict(run=colours.run, image=(one,))) == [["red above blue"]]
    assert capsys.readouterr().out == "red above blue\n"
    wanted = [[f"{name} above blue"] for name in sorted(COLOURS)]
    assert predict(Predict(run=colours.run, image=(tmp_path,), batch_size=3)) == wanted
    captured = capsys.readouterr()
    assert f"{one}\tred above blue\n" in captured.out and "broken.jpg" in captured.err
    with pytest.raises(UsageError, match=r"broken\.jpg"):
        predict(Predict(run=colours.run, image=(tmp_path / "broken.jpg",)))


def test_a_pattern_of_names_and_the_begin_of_a_caption(colours, tmp_path):
    for top in ("green", "blue", "red"):
        (tmp_path / f"{top}.jpg").write_bytes(picture(top, "blue", kind="JPEG"))
    found = predict(Predict(run=colours.run, image=(tmp_path / "*e*n.jpg", tmp_path / "r*"), prefix="green"))
    assert found == [["green above blue"], ["green above blue"]]


def test_several_captions_with_scores_and_where_they_looked(colours, tmp_path, capsys):
    path = tmp_path / "one.png"
    path.write_bytes(picture("green", "yellow"))
    options = Predict(run=colours.run, image=(path,), nbest=3, json=True, show_attention=tmp_path / "look.png")
    predict(options)
    found = json.loads(capsys.readouterr().out)
    assert found["caption"] == "green above yellow" == found["captions"][0]["caption"]
    scores = [one["score"] for one in found["captions"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3 and max(scores) < 0
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")


def test_drawn_captions_are_of_their_seed(colours):
    drawn = {"num_samples": 8, "temperature": 3.0, "seed": 1, "max_length": 6}
    options = Predict(run=colours.run, image=(colours.images / "0.png",), **drawn)
    assert predict(options) == predict(options) != predict(dataclasses.replace(options, seed=100))


def test_what_an_export_says_of_itself(exported):
    manifest = json.loads((exported / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["figures"]["test_exact"] > 0.9 and manifest["grid"] == [4, 4]
    assert "images" not in manifest["config"] and "run" not in manifest["config"]


def test_an_export_answers_as_the_run_does(answered_elsewhere):
    assert answered_elsewhere == ["red above yellow", "blue above yellow", "green above yellow"]


def test_an_export_in_the_place_of_a_run(exported, drawings):
    found = predict(Predict(model=exported, image=drawings))
    assert found == [["red above yellow"], ["blue above yellow"], ["green above yellow"]]
    with pytest.raises(UsageError, match="without --images"):
        evaluate(Evaluate(model=exported))


def test_an_export_is_scored_on_other_pictures(exported, tmp_path):
    new = colour_pictures.folder(tmp_path, 20, seed=9)
    assert evaluate(Evaluate(model=exported, **new))["pictures"]["exact"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--images", "x"], "--images without --captions"),
        (["train", "--weight-decay", "0.1"], "--weight-decay with --optimizer adam"),
        (["train", "--even-attention", "1", "--attention", "merge"], "--even-attention with --attention merge"),
        (["predict", "--image", "x", "--nbest", "9"], "--nbest 9 with --beam 5"),
        (["predict", "--image", "x", "--show-attention", "a.gif"], "--show-attention a.gif"),
    ],
)
def test_bad_options_are_said_in_a_sentence(arguments, said, capsys):
    assert cli.main("rnnapps.captioning", arguments) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


def test_what_is_not_there_is_said_in_a_sentence(colours, tmp_path):
    new = dataclasses.replace(TINY, run=tmp_path / "run")
    both = {"images": colours.images, "captions": colours.captions}
    cases = {
        "none.tsv": lambda: train(dataclasses.replace(new, images=colours.images, captions=tmp_path / "none.tsv")),
        "flickr9k": lambda: train(dataclasses.replace(new, dataset="flickr9k")),
        "--encoder eyes": lambda: train(dataclasses.replace(new, **both, encoder="eyes")),
        "nowhere": lambda: predict(Predict(run=tmp_path / "nowhere", image=(colours.captions,))),
        "--image is missing": lambda: predict(Predict(run=colours.run)),
        "some.png does not exist": lambda: predict(Predict(run=colours.run, image=(tmp_path / "some.png",))),
        "holds no SavedModel": lambda: predict(Predict(model=tmp_path, image=(colours.captions,))),
        "--resume": lambda: train(colours),
    }
    for said, run in cases.items():
        with pytest.raises(UsageError, match=said) as raised:
            run()
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_one_bad_picture_ends_no_run(decoded_plainly, tmp_path, capsys):
    config = colour_pictures.few(tmp_path, tokens="subword", layers=2)
    (config.images / "3.png").write_bytes(b"a text")
    (config.images / "4.png").write_bytes((config.images / "4.png").read_bytes()[:60])
    with config.captions.open("a", encoding="utf-8") as file:
        file.write("absent.png\tno picture\n5.png\t\nno tab\n")
    train(config)
    said = " ".join(capsys.readouterr())
    for name in ("3.png", "4.png", "absent.png"):
        assert name in said, said
    before = (config.run / "model.keras").read_bytes()
    (tmp_path / "bad.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bad\.tsv"):
        train(dataclasses.replace(config, captions=tmp_path / "bad.tsv", overwrite=True))
    assert (config.run / "model.keras").read_bytes() == before


def test_defaults_of_the_config():
    assert Config().dataset is None and set(PRESETS) >= {"quick", "base", "tiny"}
    for name, preset in PRESETS.items():
        assert preset.preset == name
