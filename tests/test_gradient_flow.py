"""The command `python -m rnnapps.gradient_flow`: what it measures, says and draws."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rnnapps import gradient_flow as command
from rnnapps.inspect import GradientFlow, chart
from rnnapps.inspect import comparison as comparing
from rnnapps.inspect.comparison import Measured, Settings, compare

ROOT = Path(__file__).parents[1]
CELLS = ["SimpleRNN", "GRU", "LSTM", "minGRU"]
SMALL = Settings(units=6, steps=12, rows=2, spectral_radius=1.0, gate_bias=4.0, input_scale=1.0, seed=0)


def measured(norms, terms=((3.0, 4.0),)):
    norms = np.array(norms, "float64")
    return Measured("cell", GradientFlow("layer", 0.0, norms[None], np.ones(len(norms)), "a/kernel", np.array(terms)))


def comparison(**changes):
    return {one.cell: one for one in compare(dataclasses.replace(SMALL, **changes))}


def one_cell(name, **changes):
    """What the comparison holds of a cell, without the time for the others."""
    return comparing._measure(name, dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize(
    ("factor", "word"),
    [(0.5, "vanishes"), (0.94, "vanishes"), (0.96, "carries"), (1.04, "carries"), (1.06, "explodes"), (2, "explodes")],
)
def test_the_word_is_that_of_the_factor(factor, word):
    one = measured([*(0.2 * factor ** np.arange(8.0, -1, -1)), 1.0])  # the loss is at the end; the last step is no part
    np.testing.assert_allclose(one.factor, factor)
    assert one.verdict == word


def test_a_gradient_that_is_lost_vanishes():
    assert measured([0.0, 0.0, 0.0, 1.0]).verdict == "vanishes"
    np.testing.assert_allclose(measured([0.0, 0.25, 0.5, 1.0]).factor, 0.5)


def test_clipping_is_that_of_the_norm():
    one = measured([1.0, 1.0], [[3.0, 0.0], [0.0, 4.0]])
    assert one.flow.gradient_norm == 5 and one.clipped(2) == 0.4 and one.clipped(6) == one.clipped(0) == 1


@pytest.mark.parametrize("radius", [0.9, 1.1])
def test_near_zero_a_plain_network_is_linear(radius):
    one = one_cell("SimpleRNN", spectral_radius=radius, input_scale=1e-9)
    np.testing.assert_allclose(one.flow.jacobians, radius ** np.arange(SMALL.steps), rtol=1e-6)
    np.testing.assert_allclose(one.factor, radius, rtol=1e-6)


@pytest.mark.parametrize("bias", [2.0, pytest.param(0.0, marks=pytest.mark.full)])
def test_the_bias_is_that_of_the_gate_that_keeps(bias):
    """Without recurrent matrices and inputs, the gate is all that lies between two states."""
    kept = 1 / (1 + np.exp(-bias))
    for cell, state in (("GRU", 0), ("LSTM", 1), ("minGRU", 0)):
        found = one_cell(cell, spectral_radius=0.0, input_scale=0.0, gate_bias=bias, steps=5)
        norms = found.flow.d_states[state][::-1]
        np.testing.assert_allclose(norms[1:] / norms[:-1], kept, rtol=1e-6)


@pytest.fixture(scope="module")
def found():
    return comparison()


def test_cells_share_inputs_and_loss_and_differ_in_what_they_carry(found):
    assert list(found) == CELLS
    words = [one.verdict for one in found.values()]
    assert words == ["vanishes", "carries", "carries", "carries"]
    for one in found.values():
        np.testing.assert_allclose(one.flow.d_hidden[-1], 1)
    assert one_cell("SimpleRNN", spectral_radius=3.0).verdict == "explodes"


def test_a_seed_fixes_the_comparison():
    first, again, other = (one_cell("minGRU", seed=seed, steps=5).flow.terms for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("radius", "word"), [("1e30", "explodes"), pytest.param("0", "vanishes", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("cells", [["SimpleRNN"], pytest.param(CELLS, marks=pytest.mark.full)], ids=len)
def test_extremes_are_drawn_too(radius, word, cells, tmp_path, capfd, monkeypatch):
    """More than a float holds, nothing at all, and inputs that leave the gradient of every weight at zero."""
    monkeypatch.setattr(comparing, "_CELLS", {name: comparing._CELLS[name] for name in cells})
    arguments = ["--units", "2", "--steps", "13", "--rows", "1", "--spectral-radius", radius, "--input-scale", "0"]
    assert command.main([*arguments, "--output", str(tmp_path / "a.png")]) == 0
    assert capfd.readouterr().out.splitlines()[1].endswith(f"  {word}")
    check_png(tmp_path / "a.png", 400 * len(cells))


def check_png(path, width):
    with Image.open(path) as image:
        assert image.format == "PNG" and image.width > width and len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_the_picture_shows_clipping_where_it_changes_something():
    axes = Figure().subplots(1, 3)
    one = measured([0.5, 1.0], [[3.0, 0.0], [0.0, 4.0]])
    for panel, limit in zip(axes, (1.0, 6.0, 0.0), strict=True):
        chart._draw_terms(panel, one, limit)
    assert [len(panel.get_lines()) for panel in axes] == [2, 1, 1]
    assert [panel.get_title() for panel in axes] == [
        "kernel: norm 5, clipping × 0.2",
        "kernel: norm 5, not clipped",
        "kernel: norm 5",
    ]
    np.testing.assert_allclose(axes[0].get_lines()[1].get_ydata(), [0.8, 0.6])  # the last step first
    assert axes[0].get_yscale() == "log"


def test_a_picture_of_extremes_can_be_drawn(tmp_path):
    extremes = [measured([1e-200, 0.0, 1.0], [[0.0]] * 3), measured([np.inf, 1e100, 1.0], [[1e100], [1.0], [0.0]])]
    assert [one.verdict for one in extremes] == ["vanishes", "explodes"]
    chart.draw(extremes, 1.0, "title", tmp_path / "new" / "a.svg")
    assert (tmp_path / "new" / "a.svg").read_text().startswith("<?xml")


def test_the_command_prints_a_table_and_says_where_the_picture_is(found, tmp_path, capfd, monkeypatch):
    path, asked, drawn, found = tmp_path / "flow.png", [], [], list(found.values())
    monkeypatch.setattr(comparing, "compare", lambda settings: asked.append(settings) or found)
    monkeypatch.setattr(chart, "draw", lambda *arguments: drawn.append(arguments))
    arguments = ["--units", "4", "--steps", "10", "--rows", "2", "--gate-bias", "3", "--output", str(path)]
    assert command.main(arguments) == 0
    out, err = capfd.readouterr()
    head, *lines = out.splitlines()
    assert head.split("  ")[0] == "cell" and [line.split()[0] for line in lines] == CELLS
    assert {line.split()[-1] for line in lines} <= {"vanishes", "explodes", "carries"}
    assert [(one.units, one.steps, one.rows, one.gate_bias) for one in asked] == [(4, 10, 2, 3.0)]
    assert [line.split()[1] for line in lines] == [f"{one.factor:.3g}" for one in found]
    ((measured, clip, title, place),) = drawn
    assert (measured, clip, place) == (found, command.Options().clip, path) and "4 units" in title
    assert err.strip() == str(path)


@pytest.mark.full
def test_the_command_writes_a_picture(tmp_path, capfd):
    arguments = ["--units", "4", "--steps", "10", "--rows", "2", "--gate-bias", "3"]
    assert command.main([*arguments, "--output", str(tmp_path / "a.png")]) == 0
    lines = capfd.readouterr().out.splitlines()[1:]
    found = comparison(units=4, steps=10, gate_bias=3.0)
    assert [line.split()[1] for line in lines] == [f"{one.factor:.3g}" for one in found.values()]
    check_png(tmp_path / "a.png", 1500)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--units", "0"], "--units 0: wanted 1 to 512"),
        (["--units", "x"], "--units x: wanted a whole number"),
        (["--spectral-radius", "-1"], "--spectral-radius -1.0: wanted 0 or more"),
        (["--output", "a.gif"], "--output a.gif: wanted a name that ends with one of .png, .svg, .pdf"),
        (["--unit", "3"], "unknown option --unit: did you mean --units?"),
    ],
)
def test_bad_usage_is_one_sentence_and_status_2(arguments, sentence, capsys):
    assert command.main(arguments) == 2
    assert capsys.readouterr() == ("", f"error: {sentence}\n")


def test_help_names_every_option_and_does_not_import_tensorflow():
    code = (
        "import sys\nfrom rnnapps import gradient_flow\nassert gradient_flow.main(['--help']) == 0\n"
        "sys.exit(str({'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip() == "set()"
    names = [field.name.replace("_", "-") for field in dataclasses.fields(command.Options)]
    assert [name for name in names if f"--{name} " not in done.stdout] == [] and "%%" not in done.stdout
    assert "python -m rnnapps.gradient_flow" in done.stdout and "--debug" in done.stdout
