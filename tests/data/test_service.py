"""Batches that a tf.data service in another process sends."""

import dataclasses
import os
import signal
import subprocess
import sys

import number_words
import numpy as np
import pytest
import tensorflow as tf

from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.pairs import batches, batches_per_epoch
from rnnapps.data.service import served
from rnnapps.data_service import main
from rnnapps.errors import UsageError
from rnnapps.text_generation.config import PRESETS
from rnnapps.text_generation.task import train
from rnnapps.training import loop
from rnnapps.training.log import Log
from rnnapps.translation import build
from rnnapps.translation.config import PRESETS as TRANSLATION

LINES = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(60))


def start(workers):
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnapps.data_service", "--all-interfaces", "--port", "0", "--workers", str(workers)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, process.stdout.readline().strip()


@pytest.fixture(scope="module")
def services():
    """One with one worker, and one with two; their addresses."""
    started = [start(1), start(2)]
    yield [address for _, address in started]
    for process, _ in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    config = dataclasses.replace(TRANSLATION["tiny"], pairs=(number_words.pairs(folder / "few.tsv", 150),))
    return PairCorpus.open(build.prepare(config, folder).folder)


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


def test_two_workers_send_each_batch_once_an_epoch(services, corpus, tmp_path):
    count = batches_per_epoch(corpus, "train", 1)
    found = plain(served(services[1], tmp_path / "epoch", lambda: batches(corpus, "train", 1), count, 0).take(count))
    assert sorted(map(repr, found)) == sorted(map(repr, plain(batches(corpus, "train", 1))))


def test_a_training_has_the_losses_of_one_without_the_service(services, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    (tmp_path / "text.txt").write_text(LINES, encoding="utf-8")
    config = dataclasses.replace(
        PRESETS["tiny"], text=(tmp_path / "text.txt",), minutes=None, epochs=2.5, validate_every=1e9, sample_every=0,
        schedule="constant",
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
