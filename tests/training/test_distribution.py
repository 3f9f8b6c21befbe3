"""Trainings that several replicas share, in one process and in two, against the same training in one."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnapps import config as configs
from rnnapps.data.share import Share
from rnnapps.errors import UsageError
from rnnapps.forecasting.config import PRESETS as FORECASTING
from rnnapps.text_generation.config import PRESETS as TEXT
from rnnapps.training.distribution import distribution
from rnnapps.translation.config import PRESETS as TRANSLATION

WORKER = Path(__file__).with_name("worker.py")
LINES = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(150))
NOTHING, KILLED, CTRL_C = {}, {"update": 6, "signal": int(signal.SIGKILL)}, {"update": 6, "signal": int(signal.SIGINT)}
COMPILED = {"xla": True}
UPDATES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(LINES, encoding="utf-8")
    return folder


def text(folder, run, strategy, **changes):
    """A run of 24 updates of text whose states go on from window to window."""
    same = {
        "text": [str(folder / "text.txt")], "minutes": None, "epochs": 0.6, "validate_every": 1e9, "sample_every": 0,
        "schedule": "constant", "validation_fraction": 0.1, "clip_at": 0.3,
    }  # fmt: skip
    same |= {"run": str(folder / run), "strategy": strategy, "replicas": 2 if strategy == "mirrored" else 0}
    return "text_generation", {**same, **changes}


def series(folder, run, strategy):
    """A run of few updates of windows, the last of which shares a window less than there are rows."""
    same = {"minutes": None, "epochs": 0.3, "dropout": 0.0, "validate_every": 1e9, "batch_size": 27, "average": 0.9}
    return "forecasting", {**same, "run": str(folder / run), "strategy": strategy}


def start(folder, runs, **environment):
    """A process that does the runs."""
    file = folder / f"{len(list(folder.glob('*.json')))}.json"
    file.write_text(json.dumps(runs), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(file)], env={**os.environ, **environment}, text=True, stderr=subprocess.PIPE
    )


def start_two(folder, *runs):
    """Two processes that share each run; the second gets the signal."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{free.getsockname()[1]}" for free in (one, other)]
    found = []
    for index in (0, 1):
        told = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        mine = [(task, changes, signal if index else NOTHING) for (task, changes), signal in runs]
        found.append(start(folder, mine, TF_CONFIG=json.dumps(told)))
    return found


def ended(*processes):
    """Status and standard error of each."""
    errors = [process.communicate(timeout=240)[1] for process in processes]
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return np.array([[line["loss"], line["gradient_norm"]] for line in lines if "loss" in line])


@pytest.fixture(scope="module")
def runs(folder):
    """One process alone, beside two that share runs; the second of the two is killed in the last of them."""
    alone = [
        text(folder, "mirrored", "mirrored", epochs=0.3), text(folder, "one", "none"),
        text(folder, "mirrored", "none", resume=True), series(folder, "one_series", "none"),
    ]  # fmt: skip
    one = start(folder, [(*run, COMPILED if run[1]["strategy"] == "mirrored" else NOTHING) for run in alone])
    killed = text(folder, "killed", "multiworker", validate_every=1e-9)
    two = start_two(
        folder,
        (text(folder, "two", "multiworker"), NOTHING),
        (series(folder, "two_series", "multiworker"), NOTHING),
        (killed, KILLED),
    )
    (status, error), *others = ended(one, *two)
    assert status == 0, error
    return others


def test_two_processes_have_the_losses_of_one(runs, folder):
    for name, count in (("one", UPDATES), ("one_series", None)):
        other = losses(folder / name.replace("one", "two"))
        np.testing.assert_allclose(losses(folder / name), other, rtol=1e-4, err_msg=name)
        assert count in (None, len(other))
    figures = [json.loads((folder / name / "figures.json").read_text()) for name in ("one", "two")]
    assert figures[0]["test_nats"] == pytest.approx(figures[1]["test_nats"], rel=1e-4)
    assert figures[0]["validation_nats"] == pytest.approx(figures[1]["validation_nats"], rel=1e-4)


def test_two_devices_have_the_losses_of_one_which_goes_on_from_their_checkpoint(runs, folder):
    """Also where XLA compiles the step of each."""
    np.testing.assert_allclose(losses(folder / "mirrored"), losses(folder / "one"), rtol=1e-4)


def test_after_a_worker_was_killed_all_go_on_from_the_last_checkpoint(runs, folder):
    (chief, said), (other, _) = runs
    assert other == -signal.SIGKILL
    assert chief == 1 and "another worker is gone, so training stopped" in said, said
    before = losses(folder / "killed")
    assert 6 <= len(before) < UPDATES
    timed = {"minutes": 0.02, "epochs": None, "validate_every": 0.3}
    two = start_two(
        folder,
        (text(folder, "killed", "multiworker", resume=True), NOTHING),
        (text(folder, "interrupted", "multiworker", epochs=100.0), CTRL_C),
        (text(folder, "timed", "multiworker", **timed), NOTHING),
    )
    (chief, said), (other, others_said) = ended(*two)
    assert chief == other == 0, said + others_said
    np.testing.assert_allclose(losses(folder / "killed"), losses(folder / "one"), rtol=1e-4)
    # Ctrl-C in one process: both end after the update in which the others heard of it, and everything is saved.
    assert "interrupted" in said and "interrupted" in others_said
    assert "epochs" not in others_said and "update" not in others_said, "only the first process shows anything"
    state = json.loads(bytes(np.load(folder / "interrupted" / "checkpoints" / "last.npz")["state.json"]))
    assert state["step"] == 7
    assert (folder / "timed" / "model.keras").exists()


def test_a_share_is_all_rows_once():
    for count in range(8):
        for of in (1, 2, 3, 5):
            parts = [list(range(count))[Share(number, of).rows(count)] for number in range(of)]
            assert sum(parts, []) == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("", "without the environment variable TF_CONFIG"),
        ("{", "names no worker"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "names no worker"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "names no worker"),
    ],
    ids=["missing", "no_json", "parameter_server", "too_few"],
)
def test_a_cluster_that_is_none_is_refused(monkeypatch, told, wanted):
    monkeypatch.setenv("TF_CONFIG", told)
    with pytest.raises(UsageError, match=wanted):
        distribution("multiworker")


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(UsageError, match="--replicas 2 with --strategy none: wanted --strategy mirrored"):
        configs.replace(FORECASTING["tiny"], replicas=2)
    with pytest.raises(UsageError, match="--accumulate 2 with --strategy mirrored: wanted 1"):
        configs.replace(TRANSLATION["tiny"], accumulate=2, strategy="mirrored")
    assert configs.replace(TEXT["tiny"], strategy="mirrored").replicas == 0
