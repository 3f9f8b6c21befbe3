"""The command line: help, options, errors in one sentence, exit status."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from combinations import combinations

from rnnapps import __version__, cli
from rnnapps import config as configs
from rnnapps.errors import UsageError
from rnnapps.text_generation import config as text_options
from rnnapps.text_generation.config import PRESETS, Config, Predict

ROOT = Path(__file__).parents[1]
TASK = "rnnapps.text_generation"

TOY_CONFIG = '''
"""Options of a toy."""
import dataclasses
from pathlib import Path

@dataclasses.dataclass(frozen=True)
class Config:
    """Train a toy."""
    preset: str = "tiny"
    run: Path = Path("runs/toy")
    resume: bool = False
    threads: int = 0

@dataclasses.dataclass(frozen=True)
class Predict:
    """Ask a toy."""
    raises: str = ""

PRESETS = {"tiny": Config()}
DEFAULT_PRESET = "tiny"
EXAMPLES = (("train", "a"), ("predict", "b"), ("predict --raises value", "c"))
'''
TOY_TASK = """
import os
from rnnapps.errors import RunError, UsageError

os.write(2, b"chatter of an import\\n")
seen = []

def train(config):
    seen.append(config)

def predict(options):
    print("half a result")
    raised = {
        "usage": UsageError("file 'a' is empty: wanted text"),
        "run": RunError("the loss is not a number\\n  after 3 updates"),
        "interrupt": KeyboardInterrupt(),
        "disk": OSError(28, "No space left on device", "runs/toy/model.keras"),
        "defect": ZeroDivisionError("division by zero\\nmore"),
        "exit": SystemExit(7),
    }
    if options.raises:
        raise raised[options.raises]
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A task package named `toy`, and a `rnnapps.runtime` that only remembers its threads."""
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text('"""A toy task."""\n')
    (package / "config.py").write_text(TOY_CONFIG)
    (package / "task.py").write_text(TOY_TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    runtime = ModuleType("rnnapps.runtime")
    runtime.threads = []  # type: ignore[attr-defined]
    runtime.configure = runtime.threads.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rnnapps.runtime", runtime)
    for name in ("toy", "toy.config", "toy.task"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for variable in ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"):  # what a verb sets is put back
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    return "toy"


def _parse(verb: str, command: str) -> Any:
    return cli.parse(text_options, verb, shlex.split(command), "prog")


# --- help ---


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_a_task_without_a_verb_shows_three_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(TASK, arguments) == 0
    out = capsys.readouterr().out
    assert len(text_options.EXAMPLES) == 3
    for command, purpose in text_options.EXAMPLES:
        assert f"python -m {TASK} {command}\n" in out and purpose in out
    assert all(f"\n  {verb} " in out for verb in ("train", "tune", "evaluate", "predict", "export", "serve"))


@pytest.mark.parametrize("example", [command for command, _ in text_options.EXAMPLES])
def test_the_examples_are_accepted(example: str) -> None:
    verb, *arguments = shlex.split(example)
    assert cli.parse(text_options, verb, arguments, "prog") is not None


@pytest.mark.parametrize("verb", ["train", "tune", "evaluate", "predict", "export", "serve"])
def test_the_help_of_a_verb_names_every_option(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(TASK, [verb, "--help"]) == 0
    out = capsys.readouterr().out
    fields = dataclasses.fields(getattr(text_options, {**cli.VERBS, "serve": "Serve"}[verb]))
    assert [field.name for field in fields if f"{configs.option(field.name)} " not in out.replace(",", " ")] == []
    assert "--debug" in out and f"python -m {TASK} {verb}" in out


def test_the_help_shows_the_values_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(TASK, ["train", "--help", "--preset", "min-char-rnn"]) == 0
    assert "(default: simple_rnn)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "verb",
    ["", "train", *(pytest.param(verb, marks=pytest.mark.full) for verb in ("evaluate", "predict", "export", "serve"))],
)
def test_help_does_not_import_tensorflow(verb: str) -> None:
    arguments = [verb, "--help"] if verb else []
    code = (
        f"import sys\nfrom rnnapps import cli\nassert cli.main({TASK!r}, {arguments!r}) == 0\n"
        "assert cli.overview([]) == 0\nassert cli.overview(['serve', '--help']) == 0\n"
        "sys.exit(str({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip() == "set()" and done.stdout


def test_the_overview_lists_tasks_and_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "shakespeare" / "2"
    model.mkdir(parents=True)
    (model / "saved_model.pb").touch()
    monkeypatch.setattr(configs, "_shipped_folder", lambda: tmp_path)
    assert cli.overview([]) == 0
    out = capsys.readouterr().out
    assert "python -m rnnapps.text_generation\n" in out and re.search(rf"shakespeare +{model}\n", out)
    assert cli.overview(["train"]) == 2
    assert capsys.readouterr().err == (
        "error: python -m rnnapps train: wanted a task's own command, as in python -m rnnapps.captioning, "
        "or a command, known: serve, verify\n"
    )


@pytest.mark.parametrize("module", ["rnnapps", "rnnapps.text_generation"])
def test_the_package_and_the_task_run_as_modules(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rnnapps {__version__}\n", "")


# --- options ---


def test_options_start_from_the_preset() -> None:
    assert _parse("train", "") == PRESETS["quick"]
    assert _parse("train", "--preset char-rnn") == PRESETS["char-rnn"]
    changed = _parse("train", "--preset=base --units 64 --learning_rate 0.1 --text a.txt 'b c.txt'")
    files = (Path("a.txt"), Path("b c.txt"))
    assert changed == configs.replace(PRESETS["base"], units=64, learning_rate=0.1, text=files)


@pytest.mark.parametrize(
    ("command", "minutes", "epochs"),
    [
        ("", 3.0, None),
        ("--epochs 2", None, 2.0),
        ("--epochs=2", None, 2.0),
        ("--minutes 5", 5.0, None),
        ("--minutes 5 --epochs 2", 5.0, 2.0),
        ("--preset char-rnn --minutes 1", 1.0, None),
    ],
)
def test_one_budget_given_replaces_the_preset_s(command: str, minutes: float | None, epochs: float | None) -> None:
    config = _parse("train", command)
    assert (config.minutes, config.epochs) == (minutes, epochs)


def test_flags_are_plain() -> None:
    options = _parse("predict", "--greedy --prompt=--x --seed 3 --show-neurons a.html --units 4 5")
    assert (options.greedy, options.prompt, options.seed, options.units) == (True, "--x", 3, (4, 5))
    assert _parse("predict", "--prompt '- one\n- two'").prompt == "- one\n- two"
    assert _parse("predict", "") == Predict()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "predic",
            f"python -m {TASK} predic: wanted a verb, did you mean predict? known: train, tune, evaluate, predict, ",
        ),
        ("--prompt x", f"python -m {TASK} --prompt: wanted a verb, known: train, "),
        ("train --preset larg", "--preset larg: did you mean large? known: quick, min-char-rnn, char-rnn, small, "),
        ("train --preset", "--preset : known: quick"),
        ("train --layers 7", "--layers 7: wanted 1 to 4"),
        ("train --units 3.5", "--units 3.5: wanted a whole number"),
        ("train --cell lstn", "--cell lstn: wanted one of lstm, gru, simple_rnn"),
        ("train --cell", "--cell without a value (--cell=VALUE allows one that starts with dashes): wanted one of "),
        ("train --unts 3", "unknown option --unts: did you mean --units?"),
        ("train --zzzz=3", f"unknown option --zzzz: see python -m {TASK} train --help"),
        ("train more", "unexpected argument 'more': wanted --option VALUE, see "),
        ("train --text a --dataset b", "--dataset and --text were given together: wanted only one of them"),
        ("train --minutes soon", "--minutes soon: wanted a number"),
        ("predict --top-p 0", "--top-p 0.0: wanted more than 0 and at most 1"),
        ("predict --show-neurons a.html --units 1 x", "--units 1: wanted a list, each item a whole number"),
        ("predict --greedy yes", "unexpected argument 'yes': wanted --option VALUE"),
        ("predict --prompt --foo", "--prompt without a value (--prompt=VALUE allows one that starts with dashes): "),
        ("evaluate --split dev", "--split dev: wanted one of train, validation, test"),
        ("export --name a/b", "--name 'a/b': wanted a plain folder name"),
    ],
)
def test_bad_usage_is_one_sentence(command: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(TASK, shlex.split(command)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {sentence}") and captured.err.count("\n") == 1


BOXES = (True, "30", "utf-8"), (False, "80", "ascii")


@pytest.mark.parametrize(
    ("terminal", "columns", "encoding"),
    combinations(lambda *box: box in BOXES, [False, True], ["30", "80"], ["utf-8", "ascii"]),
)
def test_tyro_s_box_is_read_in_every_form(terminal: bool, columns: str, encoding: str) -> None:
    ours, theirs = pty.openpty() if terminal else os.pipe()  # its colours and frames depend on standard output
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": columns, "TERM": "xterm"}
    command = [sys.executable, "-m", TASK, "train", "--learning-rate", "high"]
    try:
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stderr) == (2, "error: --learning-rate high: wanted a number\n")


# --- serve ---


@pytest.mark.parametrize("task", cli.tasks())
def test_every_task_serves_its_shipped_model(task: str, tmp_path: Path) -> None:
    module = importlib.import_module(f"rnnapps.{task}.config")
    options = cli.parse(module, "serve", ["--model", str(tmp_path), "--grpc-port", "-1", "--batching"], "prog")
    assert (options.path(), options.grpc_port, options.batching, options.host) == (tmp_path, -1, True, "127.0.0.1")
    shipped = cli.parse(module, "serve", [], "prog").path()
    assert shipped.name == module.SHIPPED_MODEL and shipped in {
        path.parent for path in configs.shipped_models().values()
    }
    with pytest.raises(UsageError, match="--model .* is no folder: wanted NAME or NAME/VERSION that export wrote"):
        cli.parse(module, "serve", ["--model", str(tmp_path / "nowhere")], "prog").path()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("serve --models no", "--models no is no folder: wanted one that holds NAME/VERSION, as export writes"),
        ("serve --rest-port 70000", "--rest-port 70000: wanted 0 to 65535"),
        ("serve --grpc-port -2", "--grpc-port -2: wanted -1 to 65535"),
        ("serve --host=", "--host '': wanted an address, such as 127.0.0.1"),
        ("serve --request-timeout 0", "--request-timeout 0.0: wanted more than 0"),
        ("serve --max-queue 0", "--max-queue 0: wanted 1 to 2147483647"),
        ("serve --modles x", "unknown option --modles: did you mean --models?"),
        ("serv", "python -m rnnapps serv: wanted a task's own command, as in python -m rnnapps.captioning, "
                 "or a command, did you mean serve? known: serve, verify"),
    ],
)  # fmt: skip
def test_bad_usage_of_serve_is_one_sentence(command: str, sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.overview(shlex.split(command)) == 2
    assert capfd.readouterr() == ("", f"error: {sentence}\n")


def test_a_command_of_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "rnnapps", "serve", "--rest-port", "70000"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: --rest-port 70000: wanted 0 to 65535\n")


def test_the_help_of_serve_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.overview(["serve", "--help"]) == 0
    assert "a development stand-in for TensorFlow Serving, not TensorFlow Serving" in capsys.readouterr().out
    assert cli.overview([]) == 0
    assert "python -m rnnapps serve\n" in capsys.readouterr().out


# --- resume ---


@pytest.fixture
def run(tmp_path: Path) -> Path:
    config = configs.replace(PRESETS["base"], units=17, run=Path("somewhere/else"), resume=True)
    configs.save(config, tmp_path / "config.json")
    return tmp_path


def test_resume_goes_on_with_the_run_s_own_options(run: Path) -> None:
    saved = configs.load(Config, run / "config.json")
    expected = configs.replace(saved, run=run, resume=True)
    assert _parse("train", f"--resume --run {run}") == expected
    assert _parse("train", f"--run={run} --resume --preset base") == expected
    assert _parse("train", f"--run {run} --resume --epochs 9") == configs.replace(expected, minutes=None, epochs=9.0)


def test_resume_refuses_another_preset_and_a_folder_that_is_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--preset large: the run to resume in .* has --preset base"):
        _parse("train", f"--resume --run {run} --preset large")
    with pytest.raises(UsageError, match="config.json does not exist: wanted a config.json that a run wrote"):
        _parse("train", f"--resume --run {tmp_path / 'none'}")
    (run / "config.json").write_text('{"units": 17')
    with pytest.raises(UsageError, match="config.json is not readable as JSON"):
        _parse("train", f"--resume --run {run}")


# --- running a verb ---


def test_a_verb_gets_its_options_and_the_runtime_its_threads(toy: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(toy, ["train", "--threads", "3", "--run", "there"]) == 0
    task = importlib.import_module("toy.task")
    config = importlib.import_module("toy.config")
    assert task.seen == [config.Config(threads=3, run=Path("there"))]
    assert importlib.import_module("rnnapps.runtime").threads == [3]
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert capfd.readouterr() == ("", "")


def test_help_and_verbs_come_from_what_the_task_has(toy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(toy, []) == 0
    out = capsys.readouterr().out
    assert "A toy task." in out and "Ask a toy." in out and "export" not in out
    assert cli.main(toy, ["export"]) == 2


@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        ("usage", 2, "error: file 'a' is empty: wanted text"),
        ("run", 1, "error: the loss is not a number after 3 updates"),
        ("interrupt", 130, "interrupted"),
        ("disk", 1, "error: runs/toy/model.keras: No space left on device"),
        ("defect", 1, "error: ZeroDivisionError: division by zero (--debug shows where)"),
    ],
)
def test_a_failure_is_one_sentence_and_a_status(
    toy: str, kind: str, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(toy, ["predict", "--raises", kind]) == status
    assert capsys.readouterr() == ("half a result\n", sentence + "\n")
    assert cli.main(toy, ["--debug", "predict", "--raises", kind]) == status
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and "in predict" in err and err.endswith(sentence + "\n")


def test_a_task_s_own_exit_is_not_taken_for_help(toy: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(toy, ["predict", "--raises", "exit"])
    assert caught.value.code == 7


def test_what_an_import_says_is_shown_when_it_fails_or_with_debug(
    toy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(toy, ["predict", "--debug"]) == 0
    assert capfd.readouterr().err == "chatter of an import\n"
    (tmp_path / "toy" / "task.py").write_text(TOY_TASK + "\nimport no_such_module\n")
    del sys.modules["toy.task"]
    importlib.invalidate_caches()
    assert cli.main(toy, ["predict"]) == 1
    assert capfd.readouterr().err == (
        "chatter of an import\nerror: ModuleNotFoundError: No module named 'no_such_module' (--debug shows where)\n"
    )


def test_legacy_keras_is_refused(toy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    assert cli.main(toy, ["train"]) == 2
    assert capsys.readouterr().err == (
        "error: TF_USE_LEGACY_KERAS=1 asks for Keras 2: rnnapps works with Keras 3, so unset it\n"
    )


@pytest.mark.parametrize("arguments", [["predict", "--help"], pytest.param(["--help"], marks=pytest.mark.full)])
def test_a_reader_that_goes_away_ends_it_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", TASK, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (cli.BROKEN_PIPE, "")


def test_tyro_s_own_words_are_kept_where_they_are_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of tyro may say something else: it must still arrive, as one sentence."""

    def grumble(*_: object, **__: object) -> Callable[[], None]:
        print("╭─ New error ─╮\n│ Something   │\n│ is off.     │\n│ ─────────── │\n│ help │\n╰──────╯", file=sys.stderr)
        raise SystemExit(2)

    monkeypatch.setattr("tyro.cli", grumble)
    with pytest.raises(UsageError, match=r"^Something is off\., see prog --help$"):
        _parse("train", "")
