"""Trainings that several replicas share, in one process and in two, against the same training in one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import toy

from rnnapps import config as configs
from rnnapps.data.share import Share
from rnnapps.errors import RunError, UsageError
from rnnapps.forecasting.config import PRESETS as FORECASTING
from rnnapps.models.text_generator import text_generator
from rnnapps.text_generation.config import PRESETS as TEXT
from rnnapps.training import loop, window_trainer
from rnnapps.training import trainer as trainer_module
from rnnapps.training.distribution import Distribution, distribution
from rnnapps.training.trainer import CarriedStateTrainer
from rnnapps.translation.config import PRESETS as TRANSLATION

pytestmark = pytest.mark.usefixtures("cheap_verbs")
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


@pytest.mark.full
def test_two_processes_have_the_losses_of_one(runs, folder):
    for name, count in (("one", UPDATES), ("one_series", None)):
        other = losses(folder / name.replace("one", "two"))
        np.testing.assert_allclose(losses(folder / name), other, rtol=1e-4, err_msg=name)
        assert count in (None, len(other))
    figures = [json.loads((folder / name / "figures.json").read_text()) for name in ("one", "two")]
    assert figures[0]["test_nats"] == pytest.approx(figures[1]["test_nats"], rel=1e-4)
    assert figures[0]["validation_nats"] == pytest.approx(figures[1]["validation_nats"], rel=1e-4)


@pytest.mark.full
def test_two_devices_have_the_losses_of_one_which_goes_on_from_their_checkpoint(runs, folder):
    """Also where XLA compiles the step of each."""
    np.testing.assert_allclose(losses(folder / "mirrored"), losses(folder / "one"), rtol=1e-4)


@pytest.mark.full
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


# === In this process ===


@pytest.fixture
def one_device(monkeypatch):
    """A training that goes the way of several replicas, of which there is one."""
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    return Distribution(tf.distribute.MirroredStrategy(["CPU:0"]))


def test_one_replica_of_a_strategy_trains_as_none_which_goes_on_from_its_checkpoint(one_device, tmp_path):
    half, whole = toy.Config(tmp_path / "half", epochs=0.5), toy.Config(tmp_path / "whole")
    toy.train(half, one_device)
    toy.train(configs.replace(half, resume=True, epochs=1.0))
    toy.train(whole)
    assert len(losses(whole.run)) == toy.PER_EPOCH
    np.testing.assert_allclose(losses(half.run), losses(whole.run), rtol=1e-5)
    figures = [json.loads((run / "figures.json").read_text()) for run in (half.run, whole.run)]
    assert figures[0]["validation"] == pytest.approx(figures[1]["validation"], rel=1e-5)


def test_a_replica_goes_on_from_the_checkpoint_of_none(one_device, tmp_path, monkeypatch):
    config, found = toy.Config(tmp_path / "run", average=0.8), []
    toy.train(config)
    run = lambda self, _: found.extend(self.distribution.arrays(self._variables())) or self.state  # noqa: E731
    monkeypatch.setattr(loop.Loop, "run", run)
    toy.train(configs.replace(config, resume=True), one_device)
    archive = np.load(config.run / "checkpoints" / "last.npz")
    wanted = [archive[name] for name in archive.files if name != "state.json"]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_of_a_replica_are_saved_and_put_back(one_device):
    with one_device.scope():
        state, weight = keras.Variable(np.arange(6.0).reshape(3, 2)), keras.Variable([1.0, 2.0])
    values = one_device.arrays([state, weight], [state])
    assert one_device.shapes([state, weight], [state]) == [value.shape for value in values] == [(3, 2), (2,)]
    one_device.assign([state, weight], [value + 1 for value in values], [state])
    for one, other in zip(one_device.arrays([state, weight], [state]), values, strict=True):
        np.testing.assert_array_equal(one, other + 1)


def test_ctrl_c_is_heard_of_within_the_update(one_device, tmp_path, monkeypatch):
    """As of several processes, which all end after the update in which they tell each other."""
    begin = loop.Loop.on_train_batch_begin

    def on_train_batch_begin(self, batch, logs=None):
        begin(self, batch, logs)
        if self.state.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.Loop, "on_train_batch_begin", on_train_batch_begin)
    one_device.is_alone = False  # else its own process is not asked
    with pytest.raises(KeyboardInterrupt):
        toy.train(toy.Config(tmp_path / "run"), one_device)
    state = json.loads(bytes(np.load(tmp_path / "run" / "checkpoints" / "last.npz")["state.json"]))
    assert state["step"] == 6 == len(losses(tmp_path / "run"))


def test_a_worker_that_is_gone_is_one_sentence(one_device, tmp_path, monkeypatch):
    def gone(self, data):
        raise tf.errors.UnavailableError(None, None, "Socket closed\nCollective ops is aborted by: peer is down\nmore")

    monkeypatch.setattr(toy.WindowTrainer, "train_step", gone)
    with pytest.raises(RunError, match=r"another worker is gone, so training stopped.*--resume \(Collective ops is ab"):
        toy.train(toy.Config(tmp_path / "run"), one_device)


class Sums:
    """Adds up over two threads, as `total` does over replicas."""

    def __init__(self):
        self.given, self.barrier = {}, threading.Barrier(2, timeout=60)

    def __call__(self, tensors):
        self.given[threading.current_thread()] = tensors
        self.barrier.wait()
        found = [tf.add_n(both) for both in zip(*self.given.values(), strict=True)]
        self.barrier.wait()
        return found


def update_shared_by_two(make, batch, rows, monkeypatch):
    """An update of the whole batch by one trainer, and by two that share its rows: what each says, and its weights."""

    def compiled(trainer):
        trainer.compile(keras.optimizers.SGD(0.5))
        trainer.optimizer.build(trainer.network.trainable_variables)
        return trainer

    alone, sums = compiled(make(rows)), Sums()
    monkeypatch.setattr(trainer_module, "total", sums)
    monkeypatch.setattr(window_trainer, "total", sums)

    def share(number):
        replica = compiled(make(len(range(rows)[Share(number, 2).rows(rows)])))
        mine = tf.nest.map_structure(lambda part: part[Share(number, 2).rows(rows)], batch)
        return replica, replica._train_step_of_replica(mine)

    with ThreadPoolExecutor(2) as pool:
        found = [(alone, alone.train_step(batch)), *pool.map(share, (0, 1))]
    return [({k: float(v) for k, v in said.items()}, replica.network.get_weights()) for replica, said in found]


def text_trainer(rows):
    network = text_generator(7, "gru", 3, seed=1, weight_scale=1.0)
    return CarriedStateTrainer(network, rows, "global_norm", 0.05)


def toy_trainer(rows):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    count = lambda x, _: tf.cast(tf.shape(x)[0], tf.float32)  # noqa: E731
    return toy.WindowTrainer(network, toy._loss, "global_norm", 0.05, count)


@pytest.mark.parametrize("task", ["text", "windows of series"])
def test_two_that_share_a_batch_make_the_update_of_one(task, monkeypatch):
    """Gradients are added up before they are clipped, and a mean is over all rows, of which one has more."""
    if task == "text":
        make, rng = text_trainer, np.random.default_rng(0)
        tokens, targets = rng.integers(0, 7, (2, 4, 5)).astype("int32")
        weights = np.ones((4, 5), "float32")
        weights[0, 2:] = 0  # padding, so that the two have different numbers of tokens
        batch = ({"tokens": tokens, "reset": np.ones(4, bool)}, targets, weights)
        batch, rows = tf.nest.map_structure(tf.constant, batch), 4
    else:
        make, batch, rows = toy_trainer, tuple(part[:5] for part in toy.rows_of(3)), 5
    (said, weights), *replicas = update_shared_by_two(make, batch, rows, monkeypatch)
    assert said["clipped"] == 1
    for found, theirs in replicas:
        assert found == pytest.approx(said, rel=1e-5)
        for one, other in zip(theirs, weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


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
