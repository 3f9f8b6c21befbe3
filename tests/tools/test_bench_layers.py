"""`bench.py train`, `infer` and `linear`: all ways compute the same, a wrong one is refused, and the table."""

import argparse
import importlib.util
import json
import sys

import bench
import bench_layers
import numpy as np
import pytest
from bench_layers import Row, Way
from contenders import Result
from torch_text import TorchStack

from rnnapps.errors import RunError

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is in the bench extra")
SMALL = Row(3, 6, 2, 5, 2)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command in this process, whose threads are set already; returns exit status and figures."""
    seen = []
    monkeypatch.setattr("rnnapps.runtime.configure", seen.append)

    def run(command, *arguments):
        path = tmp_path / "figures.json"
        status = bench.main([command, "--rounds", "2", "--json", str(path), *arguments])
        return status, json.loads(path.read_text()) if path.exists() else None

    run.threads = seen
    return run


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


def test_rows_are_five_whole_numbers():
    assert Row.parse("64,100, 512,256,2") == Row(64, 100, 512, 256, 2)
    assert str(Row(64, 100, 512, 256, 2)) == "64,100,512,256,2"
    assert Row(64, 100, 512, 256, 3).inputs_of_layers() == [512, 256, 256]
    for text in ("64,100,512,256", "64,100,512,256,0", "a,1,1,1,1", "1,1,1,1,-1", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="wanted batch,steps,input,units,layers"):
            Row.parse(text)


def test_bad_rows_on_the_command_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        bench.main(["train", "--rows", "1,2,3"])
    assert (
        "argument --rows: wanted batch,steps,input,units,layers as whole numbers, not '1,2,3'"
        in capsys.readouterr().err
    )


# === The same work ===


def way(name, values, model="model"):
    found = Way(name, lambda: [np.array(v, float) for v in values], lambda tensors: tensors, model)
    found.setup()
    return found


def test_results_are_compared_by_their_largest_value():
    ways = [
        way("a", [[100, 0], [1e-6]]),
        way("b", [[100, 0.05], [1e-6]]),
        way("other", [[7]], "x"),
        way("none", [], ""),
    ]
    assert bench_layers.compare(ways, 1e-3) == pytest.approx(5e-4)
    assert all(w.found is None for w in ways)  # the memory is free before the rounds


@pytest.mark.parametrize("wrong", [[[100, 0.2], [1e-6]], [[100, 0], [1.01e-6]], [[100, 0], [np.nan]]], ids=str)
def test_another_result_is_refused(wrong):
    with pytest.raises(RunError, match="result . of b differs from that of a by .*: wanted 0.001 at most"):
        bench_layers.compare([way("a", [[100, 0], [1e-6]]), way("b", wrong)], 1e-3)


def test_a_missing_gradient_is_no_match():
    with pytest.raises(ValueError, match="longer"):
        bench_layers.compare([way("a", [[1], [1]]), way("b", [[1]])], 1e-3)


@needs_torch
@pytest.mark.parametrize("cell", bench_layers.GATES)
@pytest.mark.parametrize("train", [True, False])
def test_pytorch_computes_what_keras_does(cell, train):
    import keras

    weights, x = bench_layers.random_layers(SMALL, cell), bench_layers.random_inputs(SMALL)
    make = getattr(keras.layers, bench_layers.KERAS_NAMES[cell])
    stack = bench_layers.keras_stack(lambda: make(SMALL.units, return_sequences=True), SMALL, weights)
    theirs = bench_layers.torch_way(cell, weights, x, train, None)
    ours = bench_layers.keras_way("Keras", stack, x, train, False)
    found, wanted = theirs.arrays(theirs.compute()), ours.arrays(ours.compute())
    assert len(wanted) == (1 + 3 * SMALL.layers if train else 1)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def test_products_are_those_of_the_work():
    """A forward pass has two products a layer, a step's gradient two more for each, but not that of the inputs."""
    for train, shapes in (
        (False, [(18, 20)] * 4),
        (True, [(18, 20)] * 4 + [(2, 20)] + [(5, 20)] * 3 + [(18, 5)] * 3),
    ):
        found = bench_layers.products_way(SMALL, "lstm", train, "float32").compute()
        assert [tuple(tensor.shape) for tensor in found] == shapes
    (first, *_) = bench_layers.products_way(SMALL, "lstm", True, "bfloat16").compute()
    assert first.dtype == "bfloat16"


# === The commands ===

TENSORFLOW = ["rnnapps", "rnnapps, XLA", "Keras", "Keras, XLA"]


@needs_torch
@pytest.mark.parametrize(("command", "cell"), [("train", "gru"), ("infer", "lstm")])
def test_all_take_part(run, capsys, command, cell):
    status, figures = run(command, "--cell", cell, "--rows", "3,6,2,5,2", "--rows", "2,7,4,5,1", "--threads", "2")
    assert status == 0 and run.threads == [2]
    assert (figures["benchmark"], figures["cell"], figures["threads"], figures["warm"]) == (command, cell, 2, 0)
    assert [row["row"] for row in figures["rows"]] == ["3,6,2,5,2", "2,7,4,5,1"]
    for row in figures["rows"]:
        assert [result["name"] for result in row["results"]] == [*TENSORFLOW, "PyTorch", "matrix products"]
        assert all(len(result["seconds"]) == 2 for result in row["results"])
        assert 0 < row["difference"] < 1e-4
    assert figures["machine"]["torch"] and figures["machine"]["processor"]
    printed = capsys.readouterr().out
    assert "batch 3, 6 steps, input 2, 5 units, layers 2; 2 threads; results differ by" in printed
    assert printed.count("x PyTorch") == 2


def test_without_pytorch(run, without_torch, capsys):
    status, figures = run("infer", "--rows", "3,2,2,5,1", "--cell", "simple_rnn", "--warm", "1")
    assert status == 0 and run.threads == []  # TensorFlow's own
    assert [result["name"] for result in figures["rows"][0]["results"]] == [*TENSORFLOW, "matrix products"]
    assert figures["threads"] is None and figures["warm"] == 1
    printed = capsys.readouterr()
    assert "pip install -e '.[bench]'" in printed.err
    assert "x Keras" in printed.out and "PyTorch" not in printed.out and "default threads" in printed.out


@pytest.mark.parametrize("command", ["infer", pytest.param("train", marks=pytest.mark.full)])
def test_half_precision_is_that_of_rnnapps_alone(run, without_torch, capsys, command):
    sizes = ["--rows", "3,2,2,5,1", "--cell", "simple_rnn"]
    status, figures = run(command, *sizes, "--precision", "mixed_bfloat16")
    assert status == 0 and 1e-4 < figures["rows"][0]["difference"] < 0.1
    assert "rnnapps and products: mixed_bfloat16, others: float32" in capsys.readouterr().out


def test_work_that_differs_is_not_timed(run, without_torch, monkeypatch, capsys):
    same = bench_layers.keras_stack
    monkeypatch.setattr(bench_layers, "keras_stack", lambda make, row, weights: same(make, row, None))  # each its own
    status, figures = run("infer", "--rows", "3,2,2,5,1", "--cell", "simple_rnn")
    assert status == 1 and figures is None
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench: ")]
    assert "result 0 of rnnapps, XLA differs from that of rnnapps by" in line


LINEAR = ["MinGRU", "MinGRU, XLA", "LSTM", "LSTM, XLA"]


def test_linear_is_beside_the_lstm(run, monkeypatch):
    """All but what XLA compiles, and the time."""
    asked = []
    monkeypatch.setattr(bench_layers, "measure", lambda *arguments: asked.append(arguments) or {})
    assert run("linear", "--rows", "2,2,3,4,1")[0] == 0
    ((_, what, (row,), ways, rivals),) = asked
    assert (what, str(row), rivals) == ("MinGRU and LSTM, training step", "2,2,3,4,1", ("LSTM",))
    found = ways(row)
    assert [(one.name, one.model) for one in found] == [(name, name.partition(",")[0]) for name in LINEAR]
    loss, *gradients = found[0].arrays(found[0].compute())
    assert loss.shape == () and len(gradients) >= 2 and all(gradient.any() for gradient in gradients)


@pytest.mark.full
def test_linear_times_the_lstm_too(run, capsys):
    status, figures = run("linear", "--rows", "2,2,3,4,1")
    assert status == 0
    assert [result["name"] for result in figures["rows"][0]["results"]] == LINEAR
    assert "x LSTM" in capsys.readouterr().out


def test_linear_wants_its_cell(run, monkeypatch, capsys):
    import rnnapps.cells

    monkeypatch.delattr(rnnapps.cells, "MinGRUCell", raising=False)
    assert run("linear") == (2, None)
    assert "rnnapps.cells.MinGRUCell" in capsys.readouterr().err


def test_table_gives_ratios_to_the_faster_form_of_each_rival():
    seconds = {"rnnapps": 0.2, "Keras": 0.6, "Keras, XLA": 0.4, "PyTorch": 0.3, "matrix products": 0.1}
    results = [Result(name, 1.5, (s, 2 * s, s), s, 1 / s) for name, s in seconds.items()]
    lines = bench_layers.table(results, ("Keras", "PyTorch")).splitlines()
    assert lines[0].split("setup s")[1].split() == ["x", "Keras", "x", "PyTorch"]
    rows = [line.rsplit(maxsplit=6) for line in lines[1:]]
    assert rows[0] == ["rnnapps", "200.00", "200.00", "400.00", "1.50", "2.00", "1.50"]
    assert rows[2][0] == "Keras, XLA" and rows[2][-2:] == ["1.00", "0.75"]
    assert rows[4][-2:] == ["4.00", "3.00"]
    assert "PyTorch" not in bench_layers.table(results[:3], ("Keras", "PyTorch"))


@needs_torch
def test_gradients_come_in_the_gate_order_of_keras():
    """Weights that differ by gate, so that a swapped gate shows."""
    weights = bench_layers.random_layers(Row(1, 1, 2, 3, 1), "gru")
    stack = TorchStack("gru", weights)
    (_, kernel, recurrent, bias) = stack.arrays([np_tensor(0), *stack._layers.parameters()])
    for one, other in zip((kernel, recurrent, bias), weights[0], strict=True):
        np.testing.assert_array_equal(one, other)


def np_tensor(value):
    import torch

    return torch.tensor(value)


# === fit ===


@pytest.mark.full
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_fit_times_the_same_training(run, capsys, cell):
    status, figures = run("fit", "--rows", "3,6,2,5,2", "--cell", cell)
    assert status == 0
    (row,) = figures["rows"]
    assert [result["name"] for result in row["results"]] == ["rnnapps", "rnnapps, XLA", "Keras", "Keras, XLA"]
    assert 0 <= row["difference"] < 1e-4
    assert f"{cell}, fit of 4 batches" in capsys.readouterr().out
