"""The picture of a comparison: how far back gradients reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.files import write_whole
from rnnapps.inspect.comparison import Measured

# Colours that differ for colour-blind readers too.
_BLUE, _ORANGE, _GREY, _GREEN = "#0072b2", "#d55e00", "0.55", "#009e73"
_VERDICTS = {"vanishes": _BLUE, "explodes": _ORANGE, "carries": _GREEN}
_DECADES = 12  # on either side of 1; what is beyond is lost in float32 sums anyway


def draw(measured: Sequence[Measured], clip: float, title: str, path: Path) -> None:
    """Draws |dL/dh_t| and the terms of dL/dW against the lag T - t, one column for each cell, and writes the file.

    Args:
        measured: What `compare` measured.
        clip: Norm to which the gradient is clipped; 0: no clipping is shown.
        title: Above the picture.
        path: The file, in a format that matplotlib takes from its suffix.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(measured) + 0.6, 7), layout="constrained")
    figure.suptitle(title, fontsize=11)
    rows: Any = figure.subplots(2, len(measured), sharex=True, sharey="row", squeeze=False)
    for column, one in enumerate(measured):
        _draw_flow(rows[0][column], one)
        _draw_terms(rows[1][column], one, clip)
    labels = "part of the gradient that arrives", "what one step adds to the gradient (norm)"
    for row, label in zip(rows, labels, strict=True):
        row[0].set_ylabel(label)
        _set_limits(row)
    for axes in rows[1]:
        axes.set_xlabel("steps back from the loss")
    lines = {line.get_label(): line for axes in rows.flat for line in axes.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), fontsize=9)
    write_whole(path, lambda file: figure.savefig(file, dpi=130))


def _draw_flow(axes: Any, one: Measured) -> None:
    lags = np.arange(len(one.flow.jacobians))
    axes.plot(
        lags, _drawable(one.flow.jacobians), color=_GREY, linewidth=1.2,
        label=r"$\|\partial h_T/\partial h_t\|_2$ (spectral norm)",
    )  # fmt: skip
    styles: dict[str, dict[str, Any]] = {"h": {"linewidth": 2}, "c": {"linewidth": 1.2, "linestyle": ":"}}
    for (name, style), norms in zip(styles.items(), one.flow.d_states, strict=False):
        label = rf"$\|\partial L/\partial {name}_t\|$"
        axes.plot(lags, _drawable(norms[::-1]), color=_BLUE, label=label, **style)
    axes.set_title(one.cell, fontsize=12, fontweight="bold", pad=22)
    axes.text(
        0.5, 1.03, f"{one.verdict}: × {one.factor:.3g} a step", transform=axes.transAxes, ha="center", fontsize=10,
        color=_VERDICTS[one.verdict],
    )  # fmt: skip
    _finish(axes)


def _draw_terms(axes: Any, one: Measured, clip: float) -> None:
    lags, norms = np.arange(len(one.flow.terms)), _drawable(one.flow.term_norms[::-1])
    part = one.clipped(clip)
    axes.plot(lags, norms, color=_GREEN, linewidth=2, label=r"terms of $\partial L/\partial W$")
    if part < 1:
        axes.plot(lags, part * norms, color=_ORANGE, linewidth=1.6, linestyle="--", label=f"clipped to norm {clip:g}")
    says = f"{one.flow.weight.rpartition('/')[2]}: norm {one.flow.gradient_norm:.2g}"
    if clip:
        says += f", clipping × {part:.2g}" if part < 1 else ", not clipped"
    axes.set_title(says, fontsize=9, color="0.25")
    _finish(axes)


def _finish(axes: Any) -> None:
    axes.set_yscale("log")
    axes.grid(alpha=0.3)


def _drawable(norms: np.ndarray) -> np.ndarray:
    """Gaps for zeros, which a logarithmic axis has no place for, and for what matplotlib cannot scale."""
    return np.where((norms > 1e-100) & (norms < 1e100), norms, np.nan)


def _set_limits(row: Any) -> None:
    """Whole decades around all lines, and no more than `_DECADES` on either side of 1."""
    drawn = np.concatenate([line.get_ydata() for axes in row for line in axes.get_lines()])
    decades = np.log10(drawn[np.isfinite(drawn)]) if np.isfinite(drawn).any() else np.zeros(1)
    low, high = max(np.floor(decades.min()), -_DECADES), min(np.ceil(decades.max()), _DECADES)
    row[0].set_ylim(10.0 ** (low - 0.3), 10.0 ** (max(high, low + 1) + 0.3))
