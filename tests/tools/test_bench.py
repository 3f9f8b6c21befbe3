"""The benchmark's order, medians and table with made-up contenders, and one real run of a small model."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnapps.errors import UsageError
from rnnapps.training.run import Run

sys.path.extend(str(Path(__file__).parents[2] / folder) for folder in ("tools", "tests"))  # neither is a package
import bench
import bench_translation
import torch_text
from reference import lstm_step

NETWORKS = {"one-hot": {}, "embedding": {"embedding": 5}, "tied": {"embedding": 6, "tied": True}}
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is in the bench extra")


class Machine:
    """A clock that only contenders move, by the seconds that are due; it remembers who did what."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def contender(self, name, setup, seconds, work=1.0):
        due = iter(seconds)

        def spend(what, amount):
            self.log.append((what, name))
            self.now += amount

        return bench.Contender(name, lambda: spend("setup", setup), lambda: spend("run", next(due)), work)

    def clock(self):
        return self.now


def test_contenders_take_turns_and_setup_is_timed_apart():
    machine = Machine()
    contenders = [
        machine.contender("a", 100, [1, 50, 3], work=6),
        machine.contender("b", 0, [2, 2, 2]),
        machine.contender("c", 7, [9, 5, 4]),
    ]
    a, b, c = bench.interleave(contenders, 3, machine.clock)
    assert machine.log == [("setup", n) for n in "abc"] + [("run", n) for n in "abc"] * 3
    assert a == bench.Result("a", 100, (1, 50, 3), 3, 2.0)  # the median, where a mean would be 18
    assert b == bench.Result("b", 0, (2, 2, 2), 2, 0.5)
    assert c.seconds == (9, 5, 4) and c.median_seconds == 5


def test_median_of_an_even_number_of_rounds_is_between():
    machine = Machine()
    (result,) = bench.interleave([machine.contender("a", 0, [1, 3, 8, 2])], 4, machine.clock)
    assert result.median_seconds == 2.5


def test_warm_runs_are_not_measured_and_the_check_comes_before_all_rounds():
    machine = Machine()
    contenders = [machine.contender("a", 5, [70, 80, 1, 90, 90, 3]), machine.contender("b", 5, [60, 50, 2, 50, 50, 6])]
    a, b = bench.interleave(contenders, 2, machine.clock, warm=2, check=lambda: machine.log.append("check"))
    runs = [("run", "a")] * 3 + [("run", "b")] * 3
    assert machine.log == [("setup", "a"), ("setup", "b"), "check", *runs, *runs]
    assert a.seconds == (1, 3) and b.seconds == (2, 6) and a.setup_seconds == 5


def test_a_failed_check_times_nothing():
    machine = Machine()
    with pytest.raises(ZeroDivisionError):
        bench.interleave([machine.contender("a", 0, [1])], 1, machine.clock, check=lambda: 1 // 0)
    assert machine.log == [("setup", "a")]


@pytest.mark.parametrize(("names", "rounds"), [("ab", 0), ("aa", 1), ("", 1)])
def test_what_cannot_be_compared(names, rounds):
    machine = Machine()
    with pytest.raises(ValueError, match="at least one round, and different names"):
        bench.interleave([machine.contender(name, 0, [1]) for name in names], rounds, machine.clock)
    assert not machine.log


def test_table_compares_ours_with_the_fastest_other():
    results = [bench.Result(n, 0.5, (s,), s, 10 / s) for n, s in (("ours", 2.0), ("slow", 20.0), ("fast", 5.0))]
    printed, ratio = bench.table(results, "tokens/s", "ours")
    assert ratio == 2.5
    assert [line.split()[0] for line in printed.splitlines()[1:4]] == ["ours", "slow", "fast"]
    assert "5.0" in printed.splitlines()[1].split()  # tokens per second
    assert "ours is 2.50 times as fast as fast" in printed
    assert bench.table(results[:1], "tokens/s", "ours")[1] is None


@pytest.fixture
def networks():
    from rnnapps.models.text_generator import text_generator

    return lambda kind, cell="lstm", **more: text_generator(
        9, cell, 6, 2, dropout=0.1, seed=3, **NETWORKS[kind], **more
    )


def logits_of(network, tokens):
    states = {name: np.zeros((1, 6), np.float32) for name in network.input if name != "tokens"}
    return network({"tokens": np.array([tokens], np.int32), **states})["logits"][0].numpy()


@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_are_told_apart(networks, kind):
    network, tokens, rows = networks(kind), [0, 3, 8, 1], []
    weights = torch_text.lstm_weights(network.variables)
    states = [(np.zeros(6), np.zeros(6)) for _ in weights.layers]
    for token in tokens:
        x = weights.embedding[token]
        for i, layer in enumerate(weights.layers):
            states[i] = lstm_step(x, *states[i], *layer)
            x = states[i][0]
        rows.append(x @ weights.kernel + weights.bias)
    np.testing.assert_allclose(rows, logits_of(network, tokens), atol=1e-5)


def test_only_lstm_layers_are_compared(networks):
    with pytest.raises(UsageError, match="not of LSTM layers"):
        torch_text.lstm_weights(networks("one-hot", "simple_rnn").variables)


@needs_torch
@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_pytorch_loop_is_the_same_model(networks, kind, cells):
    network, tokens = networks(kind), np.array([0, 3, 8, 1])
    loop = torch_text.TorchLoop(torch_text.lstm_weights(network.variables), cells)
    np.testing.assert_allclose(loop.logits(tokens), logits_of(network, tokens), atol=1e-5)
    drawn = loop.generate(40, 1.0)
    assert len(drawn) == 40 and set(drawn) <= set(range(9)) and len(set(drawn)) > 3


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs `generate` in this process, whose threads are set already; returns exit status and figures."""
    monkeypatch.setattr("rnnapps.runtime.configure", lambda threads: None)

    def run(*arguments):
        path = tmp_path / "figures.json"
        status = bench.main(["generate", "--tokens", "20", "--rounds", "2", "--json", str(path), *arguments])
        return status, json.loads(path.read_text()) if path.exists() else None

    return run


SMALL = ("--units", "8", "--layers", "1", "--vocabulary", "5")


def test_generate_without_pytorch_times_ours_alone(run, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    status, figures = run(*SMALL)
    assert status == 0
    printed = capsys.readouterr()
    assert "pip install -e '.[bench]'" in printed.err and "rnnapps" in printed.out
    assert [result["name"] for result in figures["results"]] == ["rnnapps"]
    (result,) = figures["results"]
    assert len(result["seconds"]) == 2 and result["rate"] == pytest.approx(20 / result["median_seconds"])
    assert figures["ratio"] is None and figures["rounds"] == 2
    assert {"cpus", "tensorflow"} <= set(figures["machine"])
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@needs_torch
def test_generate_with_pytorch(run):
    status, figures = run(*SMALL, "--threads", "1")
    assert status == 0 and figures["logits_difference"] < 1e-5
    assert [result["name"] for result in figures["results"]] == [
        "rnnapps", "PyTorch nn.LSTM, 1 thread", "PyTorch nn.LSTMCell, 1 thread",
    ]  # fmt: skip
    assert figures["ratio"] == pytest.approx(
        figures["results"][0]["rate"] / max(result["rate"] for result in figures["results"][1:])
    )


@needs_torch
def test_generate_refuses_another_model(run, monkeypatch, capsys):
    cold = torch_text.TorchLoop.logits
    monkeypatch.setattr(torch_text.TorchLoop, "logits", lambda self, tokens: cold(self, tokens) + 0.01)
    status, figures = run(*SMALL)
    assert status == 1 and figures is None
    assert "logits of the same weights differ by 1.0e-02: wanted 0.001 at most" in capsys.readouterr().err


def test_generate_reads_an_exported_model(run, text_run, text_export, monkeypatch):
    network, path = Run(text_run).load_model(), text_export
    model, weights, described = read = bench._saved_model(path)
    assert described.endswith(f"sums/1, 2 x 16, vocabulary of {model.vocabulary.size}")
    for ours, theirs in zip(weights.layers, torch_text.lstm_weights(network.variables).layers, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    asked = []
    monkeypatch.setattr(bench, "_saved_model", lambda path: asked.append(path) or read)
    status, figures = run("--model", str(path))
    assert status == 0 and figures["model"] == described and asked == [path]


def test_missing_model_is_one_sentence(run, capsys, tmp_path):
    status, figures = run("--model", str(tmp_path / "nowhere"))
    assert status == 2 and figures is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: ") and "nowhere" in line


@pytest.mark.parametrize("option", ["--rounds", "--tokens", "--units", "--temperature"])
def test_numbers_must_be_positive(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        bench.main(["generate", option, "0"])
    assert f"argument {option}: wanted " in capsys.readouterr().err


SIZES = ["--vocabulary", "30", "--units", "8", "--batch", "4", "--steps", "5", "--sentences", "2", "--beam", "2"]


@pytest.mark.usefixtures("one_step_a_turn")
def test_translations_of_rnnapps_and_of_keras_are_the_same_network(monkeypatch, capsys, tmp_path):
    """All but the work that is timed."""

    def pretended(contenders, rounds):
        return [bench.Result(one.name, 1.0, (2.0,) * rounds, 2.0, one.work / 2) for one in contenders]

    monkeypatch.setattr("rnnapps.runtime.configure", lambda threads: None)
    monkeypatch.setattr(bench_translation, "interleave", pretended)
    assert bench.main(["translation", "--rounds", "1", *SIZES, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    tokens, sentences = 4 * 5 / 2, 2 / 2
    assert figures["training"]["rates"] == dict.fromkeys(["rnnapps, input feeding", "rnnapps", "keras.layers"], tokens)
    assert figures["search"]["rates"] == dict.fromkeys(["rnnapps", "step by step from Python"], sentences)
    assert figures["training"]["ratio_without_feeding"] == 1 == figures["search"]["ratio"]
    assert "logits of the same weights differ by" in capsys.readouterr().out


@pytest.mark.full
def test_translation_times_ours_beside_the_same_network_of_keras(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("rnnapps.runtime.configure", lambda threads: None)
    assert bench.main(["translation", "--rounds", "1", *SIZES, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["training"]["rates"]) == {"rnnapps, input feeding", "rnnapps", "keras.layers"}
    assert set(figures["search"]["rates"]) == {"rnnapps", "step by step from Python"}
    assert figures["training"]["ratio_without_feeding"] > 0 < figures["search"]["ratio"]
    assert "logits of the same weights differ by" in capsys.readouterr().out
