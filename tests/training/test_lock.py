"""One process in a run's folder, and nothing left of those that were killed."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from filelock import FileLock

from rnnapps.errors import UsageError
from rnnapps.training.lock import locked, one_process
from rnnapps.training.run import Run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "mine"


@pytest.mark.full
def test_a_second_process_is_told_of_the_first(folder):
    code = f"""
import sys
from pathlib import Path
from rnnapps.training.lock import locked
with locked(Path({str(folder)!r})):
    print("locked", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(UsageError, match=f"--run {re.escape(str(folder))} is being written by process {process.pid}: "):
        one_process(lambda config: None)(SimpleNamespace(run=folder, strategy="none"))
    process.kill()  # -9: it lets go of nothing itself
    process.communicate(timeout=60)
    assert (folder / ".lock").exists()
    with locked(folder):
        assert (folder / ".lock").read_text() == str(os.getpid())
    assert not folder.exists()


def test_a_folder_that_is_taken_is_refused_and_kept(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    refused = pytest.raises(UsageError, match="is being written by another process")
    with FileLock(folder / ".lock"), refused, locked(folder):
        raise AssertionError("two processes write one folder")
    assert (folder / "config.json").read_text() == "{}"


def test_what_killed_processes_left_is_cleared_and_the_folder_is_free(folder):
    (folder / ".new-abc" / "corpus").mkdir(parents=True)
    (folder / ".new-abc" / "corpus" / "tokens.bin").write_bytes(bytes(1000))
    with locked(folder), Run(folder).new_folder(overwrite=False) as scratch:
        assert sorted(path.name for path in folder.iterdir()) == [".lock", scratch.name]
    assert not folder.exists()


def test_half_written_files_of_a_run_are_cleared_and_the_run_is_kept(folder):
    (folder / "checkpoints").mkdir(parents=True)
    kept = {"config.json", "model.keras", ".hidden", "checkpoints", "checkpoints/last.npz"}
    for name in (*(kept - {"checkpoints"}), ".4711.model.keras", "checkpoints/.4711.last.npz"):
        (folder / name).write_text(name)
    with locked(folder):
        pass
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == kept


def test_in_a_folder_of_something_else_nothing_is_touched(folder):
    folder.mkdir(parents=True)
    names = {"thesis.txt", ".1.draft", ".new-chapter"}
    for name in names:
        (folder / name).write_text("years of work")
    refused = pytest.raises(UsageError, match="holds something that is no run")
    with refused, locked(folder), Run(folder).new_folder(overwrite=True):
        raise AssertionError("this is somebody's folder")
    assert {path.name for path in folder.iterdir()} == names
    with pytest.raises(UsageError, match=r"thesis\.txt is a file: wanted a folder"), locked(folder / "thesis.txt"):
        raise AssertionError("no folder")


def test_of_several_workers_the_first_locks(folder, monkeypatch):
    told = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": %d}}'
    seen = one_process(lambda config: (folder / ".lock").exists())
    for index, is_locked in ((0, True), (1, False)):
        monkeypatch.setenv("TF_CONFIG", told % index)
        assert seen(SimpleNamespace(run=folder, strategy="multiworker")) is is_locked
