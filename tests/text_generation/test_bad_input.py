"""Bad input: one sentence, the right exit status, and nothing lost that was saved."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnapps.data.corpus import Corpus
from rnnapps.data.sources import Document
from rnnapps.text_generation import task
from rnnapps.text_generation.config import Predict
from rnnapps.text_generation.task import predict
from rnnapps.training import loop
from rnnapps.training.run import Run

pytestmark = pytest.mark.usefixtures("cheap_verbs", "one_step_a_turn")
ROOT = Path(__file__).parents[2]


def refused(answer, status: int, *parts: str) -> None:
    """Nothing on standard output, one line on standard error, and no defect."""
    assert answer.status == status, answer
    assert answer.out == ""
    assert answer.err.count("\n") == 1 and answer.err.startswith("error: "), answer.err
    assert "--debug" not in answer.err, answer.err
    for part in parts:
        assert part in answer.err, answer.err


def can_be_used(run: Path) -> bool:
    """What `predict` does first."""
    return task._text_model(run, None).vocabulary.kind == "word"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def own_run(other_run, tmp_path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(other_run, tmp_path / "own"))


# --- the text ---


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        ("short.txt", b"short", "shorter than one window"),
        ("one.txt", b"x", "longer text is wanted"),
        ("latin.txt", b"caf\xe9 " * 500, "not UTF-8 text: byte 0xe9 at offset 3"),
        ("cut.txt", "caf\u00e9".encode()[:-1], "cut.txt is not UTF-8 text"),
        ("missing.txt", None, "missing.txt does not exist"),
        ("folder", None, "is a folder"),
    ],
)
@pytest.mark.parametrize("old_run", [False, True])
def test_a_text_that_cannot_be_learnt(name, data, sentence, old_run, command, tmp_path, request):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    elif name == "folder":
        path.mkdir()
    run = request.getfixturevalue("own_run") if old_run else tmp_path / "new"
    before = content(run)
    arguments = ["--overwrite"] if old_run else []
    refused(command("train --preset tiny --epochs 1 --text", path, "--run", run, arguments), 2, sentence)
    assert content(run) == before and run.exists() == old_run


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--dataset tiny_shakespear", "tiny_shakespeare"),
        ("--preset larg", "did you mean large?"),
        ("--dataset tiny_shakespeare --source /nowhere/at/all", "/nowhere/at/all does not exist"),
        ("--tied", "--tied with --embedding 0"),
        ("--steps 0", "--steps 0: wanted 1 or more"),
        ("--minutes 0", "--minutes 0"),
    ],
)
def test_training_options(options, sentence, command, tmp_path):
    refused(command("train", options, "--run", tmp_path / "run"), 2, sentence)
    assert not (tmp_path / "run").exists()


# --- runs and models ---


@pytest.mark.parametrize("verb", ["evaluate", "predict", "export", "train --resume"])
@pytest.mark.parametrize("kind", ["missing", "empty", "other", "file"])
def test_a_folder_that_is_no_run(verb, kind, command, tmp_path):
    folder = tmp_path / "folder"
    if kind == "file":
        folder.write_text("not a folder")
    elif kind != "missing":
        folder.mkdir()
    if kind == "other":
        (folder / "thesis.txt").write_text("do not lose me")
    before = content(tmp_path)
    output = ["--output", str(tmp_path / "models")] if verb == "export" else []
    refused(command(verb, "--run", folder, output), 2, str(folder), "that a run wrote")
    assert content(tmp_path) == before and not (tmp_path / "models").exists()


def test_scoring_a_text_wants_a_run_too(command, tmp_path):
    (tmp_path / "text.txt").write_text("some")
    refused(command("evaluate --run", tmp_path, "--text", tmp_path / "text.txt"), 2, "that a run wrote")


@pytest.mark.parametrize("part", ["model.keras", "corpus/tokens.bin", "corpus/vocabulary.json", "corpus/corpus.json"])
def test_a_truncated_run(part, command, own_run, tmp_path):
    path = own_run / part
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:size])
        for verb in ("predict", "evaluate"):
            refused(command(verb, "--run", own_run), 1, str(path.parent))
        refused(command("export --run", own_run, "--output", tmp_path / "models"), 1, str(path.parent))
    assert not (tmp_path / "models").exists()
    path.write_bytes(whole)
    assert can_be_used(own_run)


def test_a_truncated_checkpoint_leaves_the_model(command, own_run):
    path = own_run / "checkpoints" / "last.npz"
    path.write_bytes(path.read_bytes()[:-100])
    before = content(own_run)
    refused(command("train --resume --epochs 9 --run", own_run), 1, "last.npz is no whole checkpoint")
    assert content(own_run) == before and can_be_used(own_run)


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ("--units 24 --embedding 24", 1, "belongs to a model of other weights"),
        ("--cell gru", 1, "belongs to a model of other weights"),
        ("--tokens char", 2, "--tokens char"),
        ("--text other.txt", 2, "--text"),
        ("--steps 20", 2, "--steps 20"),
        ("--test-fraction 0.2", 2, "--test-fraction 0.2"),
    ],
)
def test_what_a_run_cannot_change_halfway(options, status, sentence, command, own_run):
    before = content(own_run)
    refused(command("train --resume --epochs 9", options, "--run", own_run), status, sentence)
    assert content(own_run) == before, "the next --resume, and an export, read the options that the run really has"


@pytest.mark.parametrize("name", ["figures.json", "metrics.jsonl", "config.json"])
def test_damaged_notes_of_a_run_are_named(name, command, own_run):
    path = own_run / name
    path.write_text(path.read_text()[:9] + "\n")
    answer = command("train --resume --epochs 2 --run", own_run)
    last = answer.err.splitlines()[-1]
    assert answer.status in (1, 2) and last.startswith("error: ") and str(path) in last and "--debug" not in last


@pytest.mark.parametrize(
    "part",
    [
        "saved_model.pb",
        "manifest.json",
        "variables/variables.index",
        pytest.param("variables/variables.data-00000-of-00001", marks=pytest.mark.full),
    ],
)
def test_a_truncated_export(part, other_exported, command, tmp_path):
    model = Path(shutil.copytree(other_exported, tmp_path / "sums" / "1"))
    whole = (model / part).read_bytes()
    (tmp_path / "text.txt").write_text("1 times")
    for size in (0, len(whole) // 2, len(whole) - 2):
        (model / part).write_bytes(whole[:size])
        answer = command("predict --model", model)
        refused(answer, 2 if part == "manifest.json" else 1, str(model))
    refused(command("evaluate --model", model, "--text", tmp_path / "text.txt"), answer.status, str(model))
    (model / part).unlink()
    answer = command("predict --model", model)
    refused(answer, answer.status, "sums")


def test_a_folder_that_is_no_export(command, tmp_path, run):
    for folder in (tmp_path, tmp_path / "none", run):
        refused(command("predict --model", folder), 2, f"--model {folder} holds no SavedModel")


def test_an_export_of_something_else(command, tmp_path, exported):
    model = Path(shutil.copytree(exported, tmp_path / "model"))
    manifest = json.loads((model / "manifest.json").read_text())
    del manifest["vocabulary"]
    (model / "manifest.json").write_text(json.dumps(manifest))
    refused(command("predict --model", model), 2, "is no export of text generation", "vocabulary")


def test_an_export_that_cannot_be_written(command, run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(command("export --run", run, "--output", tmp_path / "file"), 1, "file")
    assert content(tmp_path) == {"file": b"in the way"}


def test_no_part_to_score(own_run, command):
    shutil.rmtree(own_run / "corpus")
    document = Document("made up", lambda: iter([b"some words " * 9]))
    Corpus.prepare([document], own_run / "corpus", "word", test_fraction=0.0)
    refused(command("evaluate --run", own_run), 2, "--split test", "holds nothing out")
    refused(command("evaluate --model m"), 2, "--model m without --text")


# --- prompts ---


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--top-p 0", "--top-p 0.0: wanted more than 0 and at most 1"),
        ("--top-p 1.5", "--top-p 1.5"),
        ("--min-p -0.1", "--min-p -0.1"),
        ("--temperature nan", "--temperature nan"),
        ("--repetition-penalty 0", "--repetition-penalty 0.0"),
        ("--length 0", "--length 0: wanted 1 or more"),
        ("--num-samples 0", "--num-samples 0"),
        ("--stop ''", "--stop"),
        ("--units 3", "--show-neurons"),
        ("--stream --num-samples 2", "--stream"),
        ("--prompt a --file b", "--file"),
    ],
)
def test_options_of_writing(options, sentence, command, run):
    refused(command("predict --run", run, options), 2, sentence)


def test_a_run_and_a_model(command, run, exported):
    refused(command("predict --run", run, "--model", exported), 2, "--run and --model were given together")


@pytest.mark.parametrize("data", [b"", b"fine\n\xff\n", None, "folder"])
def test_a_file_of_prompts_that_cannot_be_read(data, command, run, tmp_path):
    path = tmp_path / "prompts.txt"
    if data == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    refused(command("predict --run", run, "--file", path), 2, f"--file {path}")


@pytest.mark.parametrize("data", [b"", b"1 times \xff", None])
def test_a_text_to_score_that_cannot_be_read(data, command, run, tmp_path):
    path = tmp_path / "text.txt"
    if data is not None:
        path.write_bytes(data)
    refused(command("evaluate --run", run, "--text", path), 2, str(path))


# --- what happens to a process ---


@pytest.mark.full
def test_an_export_says_one_line_and_a_damaged_one_too(run, tmp_path):
    """In processes of their own, where what the libraries log is not caught by anything."""
    command = [sys.executable, "-m", "rnnapps.text_generation"]
    options = {"capture_output": True, "text": True, "cwd": ROOT, "check": False}
    done = subprocess.run([*command, "export", "--run", run, "--output", tmp_path], **options)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'sums' / '1'}\n", "")
    data = tmp_path / "sums" / "1" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    done = subprocess.run([*command, "predict", "--model", tmp_path / "sums"], **options)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def _wait_for_tensorflow(process):
    """Until the process is importing TensorFlow: before that, Python itself may not be up yet."""
    libraries = Path(f"/proc/{process.pid}/maps")
    for _ in range(600):
        if not libraries.exists():
            return time.sleep(2)  # no Linux
        if "tensorflow" in libraries.read_text():
            return None
        time.sleep(0.05)
    raise AssertionError("TensorFlow was not imported within 30 seconds")


def test_ctrl_c_while_it_trains(own_run, command, monkeypatch):
    """In this process: the run is saved after the update that it came in, and can be used."""
    before, after = Run(own_run).load_figures()["updates"], loop.Loop.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        os.kill(os.getpid(), signal.SIGINT)
        after(self, batch, logs)

    monkeypatch.setattr(loop.Loop, "on_train_batch_end", on_train_batch_end)
    answer = command("train --resume --epochs 1000 --run", own_run)
    assert (answer.status, answer.out) == (130, "") and "Traceback" not in answer.err
    *_, said, last = answer.err.splitlines()
    assert said == f"saved in {own_run}; go on with --resume --run {own_run}" and last == "interrupted"
    assert Run(own_run).load_figures()["updates"] == before + 1
    assert can_be_used(own_run)
    assert not [name for name in os.listdir(own_run) if name.startswith(".")]


def test_ctrl_c_while_it_starts_leaves_nothing(run, command, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(task.windowed, "windows_per_epoch", interrupted)
    text = run.parent / "sums.txt"
    assert command("train --preset tiny --run", tmp_path / "new", "--text", text) == (130, "", "interrupted\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.full
@pytest.mark.parametrize("moment", ["while it trains", "while it starts"])
def test_ctrl_c_in_a_terminal(moment, run, tmp_path):
    """The run goes on from where it was, or nothing of it is there."""
    folder = tmp_path / "own"
    if moment == "while it trains":
        shutil.copytree(run, folder)
    text = run.parent / "sums.txt"
    arguments = ["--resume", "--epochs", "1000"] if folder.exists() else ["--preset", "tiny", "--text", text]
    command = [sys.executable, "-m", "rnnapps.text_generation", "train", "--run", folder, *arguments]
    model = (folder / "model.keras").read_bytes() if folder.exists() else None
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell's background job, such as a test run may be, ignores Ctrl-C and hands that on to its children.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=ROOT, preexec_fn=heed, **pipes)
    try:
        if moment == "while it trains":
            said = ""
            while "update" not in said.partition("resuming")[2].partition("updates")[2]:
                assert (line := process.stderr.readline()), said
                said += line
        else:
            _wait_for_tensorflow(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and out == "", err
    assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
    if model is None:
        assert not folder.exists() or not list(folder.iterdir()) or (folder / "config.json").exists()
        return
    assert "go on with --resume" in err
    state = Run(folder)
    assert state.load_figures()["updates"] > Run(run).load_figures()["updates"]
    assert len(predict(Predict(run=folder, length=5))[0]) == 5
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
