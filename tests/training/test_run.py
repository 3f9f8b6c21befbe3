"""A whole run: what it learns, what it leaves, how it goes on, and how it fails."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import checkpoints
import keras
import numpy as np
import pytest
import toy

from rnnapps.data.text import windows
from rnnapps.errors import RunError, UsageError
from rnnapps.text_generation.config import PRESETS, Config, replace
from rnnapps.text_generation.task import train
from rnnapps.training import loop as loops
from rnnapps.training.evaluation import baselines
from rnnapps.training.log import Log
from rnnapps.training.run import Run

pytestmark = pytest.mark.usefixtures("cheap_verbs")
TEXT = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(400))
OPTIMIZERS = ["adam", *(pytest.param(name, marks=pytest.mark.full) for name in ("adamw", "rmsprop", "adagrad"))]


def weights(model):
    return [np.array(w) for w in model.get_weights()]


def saved(run):
    """What must not be lost."""
    return [(run / name).read_bytes() for name in ("checkpoints/last.npz", "model.keras")]


def stop_after(monkeypatch, updates):
    """Sends the process a real Ctrl-C in the middle of a run."""
    after = loops.Loop.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        if self.state.step + 1 == updates:
            os.kill(os.getpid(), signal.SIGINT)
        after(self, batch, logs)

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(loops.Loop, "on_train_batch_end", on_train_batch_end)


# === What every task's training shares, on a network of few numbers ===


@pytest.fixture
def small(tmp_path) -> toy.Config:
    return toy.Config(tmp_path / "run")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run of an epoch, not to be changed."""
    folder = tmp_path_factory.mktemp("small") / "run"
    toy.train(toy.Config(folder))
    return folder


@pytest.fixture
def learnt(small_run, small) -> toy.Config:
    """Of a run that may be changed, which goes on after its first epoch."""
    shutil.copytree(small_run, small.run)
    return replace(small, resume=True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resume_is_bit_exact(small, tmp_path, monkeypatch, optimizer, capsys):
    """Stopped by Ctrl-C in the middle of an epoch and resumed, against the run that never stopped."""
    monkeypatch.setattr(loops, "_LOG_EVERY", 1)
    small = replace(small, epochs=2, optimizer=optimizer, average=0.8)
    whole = toy.train(replace(small, run=tmp_path / "whole"))
    capsys.readouterr()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 27)
        toy.train(small)
    assert f"saved in {small.run}; go on with --resume --run {small.run}\n" in capsys.readouterr().err
    assert len(Run(small.run).load_model().get_weights()) == 4 and not list(small.run.rglob(".*"))
    assert Run(small.run).load_figures()["updates"] == 27
    resumed = toy.train(replace(small, resume=True))
    assert f"resuming {small.run} after 27 updates" in capsys.readouterr().err
    for ours, theirs in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    checkpoints.assert_same(small.run, tmp_path / "whole")
    lines = [[{**line, "seconds": 0} for line in Log(run).read()] for run in (small.run, tmp_path / "whole")]
    last = lines[1].pop()  # the one validation, which the other run had when it was stopped, too
    lines = [[line for line in of_run if "loss" in line] for of_run in lines]
    assert lines[0] == lines[1] and len(lines[0]) == 40 and "validation_error" in last


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("adagrad", marks=pytest.mark.full)])
def test_an_exploding_loss_stops_with_one_sentence_and_the_last_good_checkpoint(learnt, optimizer):
    learnt = replace(learnt, optimizer=optimizer)
    if optimizer != "adam":
        toy.train(replace(learnt, resume=False, overwrite=True))
    good = saved(learnt.run)
    with pytest.raises(RunError, match=r"the loss .* training stopped.*last good checkpoint is .*last.npz"):
        toy.train(replace(learnt, epochs=50, learning_rate=1e6))
    assert saved(learnt.run) == good
    assert toy.train(replace(learnt, epochs=1.2)) is not None


def test_weights_that_are_no_numbers_are_never_saved(learnt, monkeypatch):
    good, before = saved(learnt.run), loops.Loop.on_train_batch_begin

    def poison(self, batch, logs=None):
        before(self, batch, logs)
        variable = self.trainer.network.trainable_variables[0]
        variable.assign(variable * np.nan)

    monkeypatch.setattr(loops.Loop, "on_train_batch_begin", poison)
    with pytest.raises(RunError, match="is not a number at update"):
        toy.train(replace(learnt, epochs=2, validate_every=1e-6))
    assert saved(learnt.run) == good


def test_a_checkpoint_that_is_truncated_or_of_another_model_is_refused_with_one_sentence(learnt):
    path = learnt.run / "checkpoints" / "last.npz"
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(RunError, match=r"last.npz is no whole checkpoint"):
            toy.train(replace(learnt, epochs=2))
    path.write_bytes(whole)
    with pytest.raises(RunError, match="belongs to a model of other weights"):
        toy.train(replace(learnt, epochs=2, units=4))
    path.unlink()
    with pytest.raises(RunError, match="last.npz does not exist"):
        toy.train(replace(learnt, epochs=2))


def test_patience_ends_a_run_that_no_longer_improves(small):
    toy.train(
        replace(small, epochs=None, minutes=5, learning_rate=1e-12, validate_every=1e-6, patience=3, warmup_steps=0)
    )
    checks = [line for line in Log(small.run).read() if "validation_error" in line]
    assert 4 <= len(checks) <= 20


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_full_disk_while_saving_keeps_what_was_saved(learnt):
    import resource

    good = saved(learnt.run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(map(len, good)) // 2, hard))  # a write past it fails
    try:
        with pytest.raises(RunError, match=r"could not be saved \(File too large\): what was there before is kept"):
            toy.train(replace(learnt, epochs=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert saved(learnt.run) == good and not list(learnt.run.rglob(".*"))
    toy.train(replace(learnt, epochs=1.2))


# === Text generation ===


@pytest.fixture
def config(tmp_path) -> Config:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return replace(
        PRESETS["tiny"], text=(path,), run=tmp_path / "run", minutes=None, epochs=1, dropout=0.2, layers=2,
        validate_every=1e9, sample_every=0, validation_fraction=0.1,
    )  # fmt: skip


@pytest.fixture
def begun(monkeypatch):
    """From options to the loop that `train` begins, and to what it would learn from."""

    def begin(config):
        found = []

        def run(self, batches):
            found.extend((self, batches))
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loops.Loop, "run", run)
            train(config)
        loop, batches = found
        loop._build()
        first = next(iter(batches))
        return loop, first

    return begin


def variables(loop):
    return [keras.ops.convert_to_numpy(variable) for variable in loop._variables()]


def same(some, others):
    """Whether nested arrays hold the same bits."""
    some, others = (keras.tree.flatten(arrays) for arrays in (some, others))
    return len(some) == len(others) and all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def test_a_run_leaves_what_it_promises(text_run):
    content = json.loads((text_run / "config.json").read_text())
    assert set(content) == {field.name for field in dataclasses.fields(Config)}
    files = {
        "config.json",
        "corpus",
        "checkpoints",
        "model.keras",
        "metrics.jsonl",
        "figures.json",
        "learning_curve.png",
    }
    assert files == {path.name for path in text_run.iterdir()} - {"tensorboard"}
    assert (text_run / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    lines = Log(text_run).read()
    assert lines[0]["step"] == 50
    assert {"loss", "smooth_loss", "gradient_norm", "clipped", "learning_rate"} <= set(lines[0])
    figures = Run(text_run).load_figures()
    assert figures["validation_nats"] == lines[-1]["validation_nats"] and lines[-1]["step"] == figures["updates"]
    assert figures["test_nats"] < 0.6 * baselines(Run(text_run).load_corpus(), "test")["unigram"]


@pytest.mark.full
def test_a_run_learns_and_leaves_what_it_promises(config, capfd):
    # With half the epochs this is 1.14 to 1.33, by the seed and by the last bit of a sum.
    model = train(replace(config, epochs=12, dropout=0, units=32))
    figures = Run(config.run).load_figures()
    assert figures["test_nats"] < 1.2  # its unigram costs 2.4
    kept = Run(config.run).load_model()
    for ours, saved in zip(weights(model), weights(kept), strict=True):
        np.testing.assert_array_equal(ours, saved)
    assert Run(config.run).load_config(Config) == replace(config, epochs=12.0, dropout=0.0, units=32)
    assert "validation" in capfd.readouterr().err


def test_resume_begins_with_what_the_checkpoint_holds(own_run, begun):
    """With the next window, and with every number of the trainer: also the states that the windows carry."""
    config, updates = Run(own_run).load_config(Config), Run(own_run).load_figures()["updates"]
    loop, first = begun(replace(config, run=own_run, resume=True, epochs=9))
    assert loop.state.step == updates
    archive = np.load(own_run / "checkpoints" / "last.npz")
    assert same(variables(loop), [archive[name] for name in archive.files if name != "state.json"])
    assert all(np.abs(state).min(axis=1).max() > 0 for state in loop.trainer.carried.values())
    corpus = Run(own_run).load_corpus()
    at = [next(iter(windows(corpus, "train", 8, 4, position=n))) for n in (updates, 0)]
    assert same(first, at[0]) and not same(first, at[1])


@pytest.mark.full
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "adagrad"])
def test_resume_of_text_generation_is_bit_exact(config, tmp_path, monkeypatch, optimizer):
    """Stopped after 37 updates in the middle of an epoch and resumed, against the run that never stopped."""
    config = replace(config, epochs=2, optimizer=optimizer)
    whole = train(replace(config, run=tmp_path / "whole"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 37)
        train(config)
    resumed = train(replace(config, resume=True))
    for ours, theirs in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    checkpoints.assert_same(config.run, tmp_path / "whole")
    steps = [[line["step"] for line in Log(run).read() if "loss" in line] for run in (config.run, tmp_path / "whole")]
    assert steps[0] == steps[1]


def test_a_seed_fixes_where_a_run_begins_and_another_one_changes_it(config, tmp_path, begun):
    """Weights, the numbers that dropout draws from, and the first window; an update draws from nothing else."""
    runs = [
        begun(replace(config, run=tmp_path / name, layers=1, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = ((variables(loop), batch) for loop, batch in runs)
    assert same(first, again)
    moved = [not np.array_equal(a, b) for a, b in zip(first[0], other[0], strict=True)]
    names = [variable.name for variable in runs[0][0]._variables()]
    assert {"kernel", "recurrent_kernel", "seed_generator_state"} <= {n for n, m in zip(names, moved, strict=True) if m}


@pytest.mark.full
def test_a_seed_fixes_everything_and_another_one_changes_it(config, tmp_path):
    first, again, other = (
        weights(train(replace(config, run=tmp_path / name, epochs=0.3, seed=seed)))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.full
@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_an_exploding_loss_of_text(config, optimizer):
    config = replace(config, optimizer=optimizer)
    train(replace(config, epochs=0.2))
    good = saved(config.run)
    with pytest.raises(RunError, match=r"the loss .* training stopped.*last good checkpoint is .*last.npz"):
        train(replace(config, resume=True, epochs=50, learning_rate=1e6, clip="none", schedule="constant"))
    assert saved(config.run) == good
    assert train(replace(config, resume=True, epochs=0.3)) is not None


def test_a_run_is_not_overwritten_by_accident(config, own_run, begun):
    config, before = replace(config, run=own_run, layers=1), saved(own_run)
    with pytest.raises(UsageError, match="holds a run already"):
        train(config)
    config.text[0].write_text("short")
    with pytest.raises(UsageError, match="shorter than one window"):
        train(replace(config, overwrite=True))
    config.text[0].write_text(TEXT)
    assert saved(own_run) == before, "an --overwrite that cannot begin leaves the old run"
    begun(replace(config, overwrite=True, seed=5))
    assert Run(own_run).load_config(Config).seed == 5
    assert {path.name for path in own_run.iterdir()} == {"config.json", "corpus"}


def test_a_folder_that_is_no_run(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("do not lose me")
    with pytest.raises(UsageError, match="holds something that is no run"):
        train(replace(config, overwrite=True))
    with pytest.raises(UsageError, match="config.json does not exist"):
        train(replace(config, resume=True))
    assert os.listdir(tmp_path / "run") == ["thesis.txt"]


def test_text_that_is_too_short_leaves_nothing(config, begun):
    config.text[0].write_text("short")
    with pytest.raises(UsageError, match="shorter than one window"):
        train(config)
    assert not config.run.exists()
    config.text[0].write_text(TEXT)
    begun(replace(config, layers=1))


@pytest.mark.parametrize(
    ("given", "dataset", "kept"), [(None, "tiny_shakespeare", 0.0), (0.05, "tiny_shakespeare", 0.05)]
)
def test_a_benchmark_text_keeps_its_usual_split(config, tmp_path, given, dataset, kept, begun):
    """Published figures of tiny_shakespeare are of models that learnt all of the first 90 %."""
    (tmp_path / "input.txt").write_text(TEXT)
    options = {"text": (), "dataset": dataset, "source": tmp_path, "validation_fraction": given, "layers": 1}
    loop, _ = begun(replace(config, **options))
    corpus = Run(config.run).load_corpus()
    assert corpus.tokens_in("train") == int(len(TEXT) * (0.9 - kept))
    assert corpus.tokens_in("test") == len(TEXT) - int(len(TEXT) * 0.9)
    assert Run(config.run).load_config(Config).validation_fraction == kept
    assert (loop.validate() is None) == (kept == 0)


def test_a_run_without_a_validation_part_keeps_its_model(small, monkeypatch):
    monkeypatch.setattr(toy, "held_out_loss", lambda *_: None)
    model = toy.train(small)
    assert Run(small.run).load_figures()["validation"] is None and len(model.get_weights()) == 4


_FULL_DISK = """
import resource, signal, sys
from rnnapps.text_generation.config import Config
from rnnapps.text_generation.task import train
from rnnapps.config import replace
from rnnapps.training.run import Run
from rnnapps.errors import RunError
from pathlib import Path
run = Path(sys.argv[1])
config = Run(run).load_config(Config)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))  # a write past it fails, as on a full disk
try:
    train(replace(config, resume=True, epochs=0.3))
except RunError as error:
    print(error)
"""


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_full_disk_while_a_process_saves(config):
    train(replace(config, epochs=0.1))
    good = saved(config.run)
    command = [sys.executable, "-c", _FULL_DISK, str(config.run)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "could not be saved (File too large): what was there before is kept" in answer.stdout
    assert saved(config.run) == good
    assert not list(config.run.rglob(".*"))
    train(replace(config, resume=True, epochs=0.3))
