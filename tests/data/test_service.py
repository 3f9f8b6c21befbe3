"""Batches that a tf.data service sends: one in this process, and (full) in processes of its own."""

import contextlib
import dataclasses
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from rnnapps.cli import INTERRUPTED
from rnnapps.data import service
from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.pair_files import Pair
from rnnapps.data.pair_sources import Splits
from rnnapps.data.pairs import batches, batches_per_epoch
from rnnapps.data.service import Service, served
from rnnapps.data_service import main
from rnnapps.errors import UsageError
from rnnapps.text_generation.config import PRESETS
from rnnapps.text_generation.task import train
from rnnapps.training import loop
from rnnapps.training.distribution import Distribution
from rnnapps.training.log import Log
from rnnapps.training.run import Run

LINES = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(60))


@contextlib.contextmanager
def in_a_process(workers, *before):
    """`python -m rnnapps.data_service` behind other words, and its address; ends on Ctrl-C, and else is killed."""
    command = [sys.executable, "-m", "rnnapps.data_service", "--all-interfaces", "--port", "0"]
    process = subprocess.Popen(
        [*before, *command, "--workers", str(workers)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        assert address, process.communicate()[1]
        yield process, address
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == INTERRUPTED, said
    finally:
        process.kill()
        process.communicate()  # reaps it and closes its pipes


@pytest.fixture(scope="module", params=["here", pytest.param("processes", marks=pytest.mark.full)])
def services(request):
    """The addresses of one with one worker, and of one with two."""
    if request.param == "here":
        running = [Service(workers=workers) for workers in (1, 2)]
        yield [one.address for one in running]
        gc.collect()  # an iterator that still reads from one would make it wait
        return
    with in_a_process(1) as (_, one), in_a_process(2) as (_, two):
        yield [one, two]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(0)

    def encode(sentences):
        return [rng.integers(3, 99, len(sentence)).astype("int32") for sentence in sentences]

    pairs = [Pair("x" * source, "y" * target) for source, target in rng.integers(1, 20, (150, 2)).tolist()]
    parts = (functools.partial(iter, some) for some in (pairs, pairs[:3], ()))
    return PairCorpus.prepare(Splits(*parts), tmp_path_factory.mktemp("pairs"), encode, encode, 30)


def plain(dataset):
    """Each batch as bytes with its shapes."""
    return [
        [(part.dtype, part.shape, part.tobytes()) for part in tf.nest.flatten(batch)]
        for batch in dataset.as_numpy_iterator()
    ]


def test_the_batches_are_those_without_the_service_from_any_position(services, corpus, tmp_path):
    count = batches_per_epoch(corpus, "train", 4)

    def source():
        return batches(corpus, "train", 4, seed=1, epochs=None)

    wanted = plain(source().take(count))
    assert len({batch[0][1] for batch in wanted}) > 1 and count > 33, "of several shapes, in several files"
    whole = served(services[0], tmp_path / "epoch", source, count, 0)
    assert whole.element_spec == source().element_spec
    assert plain(whole.take(2 * count)) == wanted * 2
    later = served(services[0], tmp_path / "epoch", source, count, count + 3)
    assert plain(later.take(count)) == wanted[3:] + wanted[:3]


def test_what_workers_are_sent_needs_no_python(services, corpus, tmp_path, monkeypatch):
    """A worker in another process has no function of this one's Python, which a worker in this one would find."""
    sent, distribute = [], tf.data.experimental.service.distribute

    def noted(**options):
        return lambda dataset: sent.append(dataset) or distribute(**options)(dataset)

    monkeypatch.setattr(tf.data.experimental.service, "distribute", noted)
    served(services[0], tmp_path / "epoch", lambda: batches(corpus, "train", 4), 2, 0)
    graph = tf.compat.v1.GraphDef.FromString(
        tf.raw_ops.DatasetToGraphV2(input_dataset=tf.data.experimental.to_variant(sent[0])).numpy()
    )
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert {"TFRecordDataset", "ParseTensor"} <= {node.op for node in nodes}
    assert not [node.op for node in nodes if "PyFunc" in node.op or "Generator" in node.op]


def test_two_workers_send_each_batch_once_an_epoch(services, corpus, tmp_path):
    count = batches_per_epoch(corpus, "train", 1)
    found = plain(served(services[1], tmp_path / "epoch", lambda: batches(corpus, "train", 1), count, 0).take(count))
    assert sorted(map(repr, found)) == sorted(map(repr, plain(batches(corpus, "train", 1))))


def test_a_run_goes_on_with_the_batches_at_which_it_stands(services, corpus, tmp_path):
    count, found = batches_per_epoch(corpus, "train", 32), []

    def source(position, share):
        return batches(corpus, "train", 32, seed=1, position=position, epochs=None)

    for name, address in (("plain", None), ("served", services[0])):
        standing = SimpleNamespace(
            state=SimpleNamespace(step=count + 2),
            plan=SimpleNamespace(per_epoch=count),
            distribution=SimpleNamespace(spread=Distribution().spread, is_chief=False),
            run=lambda dataset: found.append(plain(dataset.take(count - 2))),
        )
        Run(tmp_path / name).carry_out(standing, SimpleNamespace(resume=False, data_service=address), source, "")
    wanted = plain(source(0, None).take(count))[2:]
    assert found[1] == wanted != found[0], "the service sends the first epoch again and again"


@pytest.mark.full
def test_a_training_has_the_losses_of_one_without_the_service(services, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    (tmp_path / "text.txt").write_text(LINES, encoding="utf-8")
    config = dataclasses.replace(
        PRESETS["tiny"], text=(tmp_path / "text.txt",), minutes=None, epochs=2.5, validate_every=1e9, sample_every=0,
        schedule="constant", cell="simple_rnn",
    )  # fmt: skip
    for name, address in (("plain", None), ("served", services[0])):
        half = dataclasses.replace(config, run=tmp_path / name, epochs=1.5, data_service=address)
        train(half)
        train(dataclasses.replace(half, epochs=2.5, resume=True))
    losses = [[line["loss"] for line in Log(tmp_path / name).read() if "loss" in line] for name in ("plain", "served")]
    assert losses[0] == losses[1] and len(losses[0]) > 20
    saved = [np.load(tmp_path / name / "checkpoints" / "last.npz") for name in ("plain", "served")]
    assert all(np.array_equal(saved[0][key], saved[1][key]) for key in saved[0].files if key != "state.json")


def test_an_address_where_nobody_answers_is_said_at_once(tmp_path, capsys):
    for address, sentence in (("localhost:1", "wanted grpc://HOST:PORT"), ("grpc://localhost:1", "nobody answers")):
        with pytest.raises(UsageError, match=f"--data-service {address}: {sentence}"):
            served(address, tmp_path / "epoch", lambda: tf.data.Dataset.range(3), 3, 0)
    assert main(["--workers", "0"]) == 2 and "--workers 0: wanted 1 to 64" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "firewall" in capsys.readouterr().out


@pytest.fixture
def sigint_is_ignored():
    """As a shell without job control has it for what runs behind; main thread's handler comes back."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_command_also_where_it_is_ignored(sigint_is_ignored, monkeypatch, capsys):
    class Interrupted(Service):
        def wait(self):
            signal.raise_signal(signal.SIGINT)
            super().wait()

    monkeypatch.setattr(service, "Service", Interrupted)
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: pytest.fail("it goes on waiting"))
    assert main(["--all-interfaces", "--port", "0"]) == INTERRUPTED
    out, err = capsys.readouterr()
    assert out.startswith("grpc://localhost:") and err.endswith("interrupted\n")


@pytest.mark.full
@pytest.mark.parametrize("trap", ["-", "''"], ids=["heeded", "ignored"])
def test_ctrl_c_ends_the_process(trap):
    """Within seconds, also where SIGINT is ignored at its start; `in_a_process` looks."""
    with in_a_process(1, "sh", "-c", f'trap {trap} INT; exec "$@"', "sh"):
        pass
