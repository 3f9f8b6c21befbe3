"""Why gates: `python -m rnnapps.gradient_flow` draws how far back gradients reach in recurrent cells.

Nothing is trained. Each cell gets random weights and the same random inputs; the loss reads its last state, and the
picture shows which part of the gradient arrives t steps before. A plain network multiplies it by the Jacobian of each
step, so it vanishes or explodes (Bengio et al., 1994, https://doi.org/10.1109/72.279181; Pascanu et al., 2013,
https://arxiv.org/abs/1211.5063); a gate that keeps the state carries it. Clipping the norm of the gradient cures the
explosion of its size and nothing else: every step's part shrinks alike.

This module is the command line; `rnnapps.inspect` measures and draws.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnapps import cli
from rnnapps.config import check_range, check_types
from rnnapps.errors import UsageError

PROG = "python -m rnnapps.gradient_flow"
_FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Options:
    """Draw how far back the gradient reaches in SimpleRNN, GRU, LSTM and minGRU, and say which of them carries it."""

    output: Path = Path("gradient_flow.png")
    """The picture to write: .png, .svg or .pdf."""
    units: int = 32
    """Size of the hidden state."""
    steps: int = 60
    """Steps from the first input to the loss."""
    rows: int = 8
    """Sequences that are averaged over."""
    spectral_radius: float = 1.0
    """Size of the eigenvalues of the recurrent matrices, each an orthogonal matrix times this; try 3."""
    gate_bias: float = 4.0
    """Bias of the gate that keeps the state (f of the LSTM, z of the GRU): 0 keeps half of it, 4 keeps 98 %."""
    input_scale: float = 1.0
    """Standard deviation of the inputs; small ones leave tanh where it is steep."""
    clip: float = 1.0
    """Norm to which the gradient is clipped, to show what that changes; 0 shows none."""
    seed: int = 0
    """Seed of weights and inputs."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "units", 1, 512)
        check_range(self, "steps", 3, 2000)
        check_range(self, "rows", 1, 1024)
        check_range(self, "spectral_radius", 0)
        check_range(self, "input_scale", 0)
        check_range(self, "clip", 0)
        check_range(self, "seed", 0)
        if self.output.suffix.lower() not in _FORMATS:
            raise UsageError(f"--output {self.output}: wanted a name that ends with one of {', '.join(_FORMATS)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, as every command of rnnapps does (see `rnnapps.cli`)."""
    return cli.guarded(_command, argv)


def _command(arguments: list[str], debug: bool) -> None:
    options = cli.read(Options, arguments, PROG, Options())
    comparison, chart = cli.load("rnnapps.inspect.comparison", "rnnapps.inspect.chart", debug=debug)
    shared = {name: getattr(options, name) for name in comparison.Settings.__dataclass_fields__}
    measured = comparison.compare(comparison.Settings(**shared))
    print(_table(measured, options.clip))
    title = (
        f"{options.units} units, spectral radius {options.spectral_radius:g}, gate bias {options.gate_bias:g}, "
        f"inputs × {options.input_scale:g}: the loss reads the last of {options.steps} steps"
    )
    chart.draw(measured, options.clip, title, options.output)
    print(f"\n{options.output}", file=sys.stderr)


def _table(measured: Sequence[Any], clip: float) -> str:
    """One line for each cell."""
    last = len(measured[0].flow.d_hidden) - 1
    lines = [f"{'cell':<11}{'a step':>8}{f'{last} steps':>11}{'|gradient|':>12}{'clipped':>10}"]
    for one in measured:
        arrives = one.flow.d_hidden[0] / one.flow.d_hidden[-1]
        clipped = one.clipped(clip) * one.flow.gradient_norm
        figures = f"{one.factor:>8.3g}{arrives:>11.1e}{one.flow.gradient_norm:>12.2e}{clipped:>10.2e}"
        lines.append(f"{one.cell:<11}{figures}  {one.verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
