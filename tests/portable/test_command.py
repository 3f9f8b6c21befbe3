"""`python -m rnnapps.portable`: what it says, refuses and writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from portable_exports import loaded

from rnnapps.portable import __main__ as command
from rnnapps.portable import measure, quantized, table
from rnnapps.portable.convert import FORMATS, WEIGHTS
from rnnapps.portable.text import TextCore

ROOT = Path(__file__).parents[2]
EXPORT = "a folder NAME or NAME/VERSION that export wrote"
PACKAGES = [package for form in FORMATS.values() for package in form.packages]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    """The command may set the threads of its own process; here TensorFlow runs already."""
    from rnnapps import runtime

    monkeypatch.setattr(runtime, "configure", lambda threads=0: None)


def said(capfd, *arguments):
    status = command.main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return status, out, err


def test_help_lists_every_verb_and_waits_for_nothing(capfd):
    status, out, _ = said(capfd)
    assert status == 0 and all(f"\n  {verb} " in out for verb in command._VERBS)
    code = "import sys; from rnnapps.portable.__main__ import main; main(['onnx', '--help'])"
    code += "; print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert " SAVED_MODEL\n" in done.stdout and done.stdout.endswith("[]\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["pack"],
            "python -m rnnapps.portable pack: wanted a verb, known: onnx, litert, aot, quantize, measure, table",
        ),
        (
            ["onnx"],
            "python -m rnnapps.portable onnx wants a SAVED_MODEL: a folder NAME or NAME/VERSION that export wrote",
        ),
        (
            ["quantize", "nowhere"],
            "nowhere holds no SavedModel: wanted a folder NAME or NAME/VERSION that export wrote",
        ),
        (["litert", "x", "--weights", "int4"], "--weights int4: wanted one of float32, float16, int8"),
        (["aot", "x", "--steps", "0"], "--steps 0: wanted 1 to 65536"),
        (["measure", "x", "--test-fraction", "0"], "--test-fraction 0.0: wanted more than 0 and at most 1"),
        (["quantize", "x", "--name", "a/b"], "--name 'a/b': wanted a plain folder name"),
        (["onnx", "x", "--endpont", "step"], "unknown option --endpont: did you mean --endpoint?"),
    ],
)
def test_bad_usage_is_one_sentence(arguments, sentence, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said(capfd, *arguments) == (2, "", f"error: {sentence}\n")


def test_quantize_is_told_what_was_asked(text_export, tmp_path, capfd, monkeypatch):
    asked = []
    monkeypatch.setattr(quantized, "write_quantized", lambda *arguments: asked.append(arguments) or tmp_path / "1")
    assert said(capfd, "quantize", text_export, "--output", tmp_path, "--name", "small")[:2] == (
        0,
        f"{tmp_path / '1'}\n",
    )
    assert said(capfd, "quantize", text_export, "--weights", "float16")[0] == 0
    assert asked == [(text_export, tmp_path, "small", "int8"), (text_export, Path("saved_models"), None, "float16")]


@pytest.mark.full
def test_quantize_writes_the_next_version(text_export, tmp_path, capfd):
    for version in ("1", "2"):
        status, out, err = said(capfd, "quantize", text_export, "--output", tmp_path, "--name", "small")
        assert (status, out) == (0, f"{tmp_path / 'small' / version}\n"), err
    assert json.loads((tmp_path / "small" / "2" / "manifest.json").read_text("utf-8"))["weights"]["stored"] == "int8"


def test_convert_names_its_folder_after_the_model(text_export, tmp_path, capfd, monkeypatch):
    for package in PACKAGES:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    status, out, err = said(capfd, "litert", text_export, "--weights", "int8")
    assert status == 0 and re.fullmatch(r"portable/text/step_int8.tflite  0\.\d MB, off by \de-\d\d\n", out), err
    assert (tmp_path / "portable" / "text" / "step_int8.tflite").is_file()
    status, _, err = said(capfd, "onnx", text_export, "--endpoint", "score")
    assert (status, err.count("\n")) == (2, 1) and "does more with text than to look it up" in err


@pytest.mark.parametrize("weights", [WEIGHTS[:1], pytest.param(WEIGHTS, marks=pytest.mark.full)])
def test_the_table_has_a_row_for_each_endpoint(text_export, capfd, tmp_path, monkeypatch, weights):
    for package in PACKAGES:
        pytest.importorskip(package)
    monkeypatch.setattr(table, "WEIGHTS", weights)
    columns = 2 * len(weights)
    status, out, _ = said(capfd, "table", text_export.parents[1])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()]
    assert status == 0 and {len(row) for row in rows} == {3 + columns}
    found = {row[1]: row for row in rows[2:]}
    assert list(found) == ["`score`", "`serving_default`", "`step`"] and found["`step`"][0] == "text/1"
    assert all(re.fullmatch(r"0\.\d MB, \de-\d\d", cell) for cell in found["`step`"][3:])
    assert found["`serving_default`"][2:] == ["gives text (text)", *["no"] * columns]
    status, _, err = said(capfd, "table", tmp_path)
    assert status == 2 and err.endswith("holds no export: wanted a folder with NAME/VERSION in it\n")


def test_measure_of_tensorflow_and_of_steps_in_python(text, capfd, tmp_path, monkeypatch):
    """Without other run times: the step is asked in TensorFlow, and no copy with fewer bits is made."""

    def stepwise(path):
        writer = measure._Writer(text, text.core.ask)
        yield measure.Way("steps", "float32", 1_500_000, writer.seconds, writer.nats)

    for name, value in (("FORMATS", {}), ("STORED", ()), ("_stepwise", stepwise), ("_in_cpp", lambda *_: [])):
        monkeypatch.setattr(measure, name, value)
    monkeypatch.setattr(TextCore, "load", lambda path: text)
    (tmp_path / "text").write_text("abc é. bad f\n" * 5, encoding="utf-8")
    options = ["--text", tmp_path / "text", "--rounds", "1", "--chars", "10", "--limit", "5", "--test-fraction", "1"]
    status, out, err = said(capfd, "measure", text.path, *options)
    assert status == 0, err
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()][2:]
    assert [row[:2] for row in rows] == [["TensorFlow", "float32"], ["steps", "float32"]] and rows[1][2] == "1.5"
    score = loaded(text.path)["score"]({"text": tf.constant(["abc é"])})
    wanted = float(score["nats_per_char"][0])
    assert [float(row[4]) for row in rows] == pytest.approx([wanted] * 2, abs=1e-4)
    assert all(float(row[3].replace(",", "")) > 0 for row in rows)


@pytest.mark.full
def test_measure_has_a_row_for_each_way(text_export, capfd, tmp_path):
    for package in PACKAGES:
        pytest.importorskip(package)
    (tmp_path / "text").write_text("abc é. bad f\n" * 20, encoding="utf-8")
    options = ["--text", tmp_path / "text", "--rounds", "1", "--chars", "20", "--limit", "20"]
    status, out, err = said(capfd, "measure", text_export, *options)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()][2:]
    assert status == 0 and [row[1] for row in rows[:9]] == ["float32", "float16", "int8"] * 3, err
    nats = {(row[0], row[1]): float(row[4]) for row in rows[:9]}
    plain = nats["TensorFlow", "float32"]
    assert all(abs(value - plain) < (2e-4 if stored == "float32" else 0.3) for (_, stored), value in nats.items()), nats
    assert all(float(row[3].replace(",", "")) > 0 for row in rows)
