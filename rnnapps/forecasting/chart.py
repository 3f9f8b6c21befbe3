"""A picture of forecasts: history, median and bands."""

from pathlib import Path

import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from rnnapps.data.horizon import Ends
from rnnapps.files import write_whole
from rnnapps.ops.heads import LEVELS

_MOST = 6  # panels of a picture
_BANDS = ((0.05, 0.95, 0.2), (0.25, 0.75, 0.35))  # levels, and how dark


def draw(
    path: Path, last: Ends, targets: tuple[str, ...], mean: np.ndarray, quantiles: np.ndarray | None, with_times: bool
) -> None:
    """Draws the first series and targets, one below the other.

    Args:
        path: Of the picture; its suffix says the format.
        last: What was forecast from.
        targets: Names.
        mean: `(series, horizon, targets)`.
        quantiles: `(series, horizon, targets, levels)`, or None.
        with_times: Whether steps have times.
    """
    shown = [(i, j) for i in range(len(last.names)) for j in range(len(targets))][:_MOST]
    figure = Figure(figsize=(9, 2.2 * len(shown) + 0.8), layout="constrained")
    for axes, (i, j) in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        before, after = (_axis(times[i], with_times) for times in (last.known_times, last.times))
        axes.plot(before, last.inputs["history"][i, :, j], color="0.4", linewidth=1, label="known")
        if quantiles is None:
            axes.plot(after, mean[i, :, j], color="C0", label="forecast")
        else:
            for low, high, dark in _BANDS:
                ends = (quantiles[i, :, j, LEVELS.index(level)] for level in (low, high))
                axes.fill_between(after, *ends, color="C0", alpha=dark, linewidth=0, label=f"{high - low:.0%} of cases")
            axes.plot(after, quantiles[i, :, j, LEVELS.index(0.5)], color="C0", label="median")
        axes.set_ylabel(" ".join(part for part in (last.names[i], targets[j]) if part))
        axes.grid(alpha=0.3)
        if with_times:
            axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    figure.axes[0].legend(loc="upper left", fontsize="small", ncols=4)
    write_whole(path, lambda file: figure.savefig(file, dpi=120))


def _axis(times: np.ndarray, with_times: bool) -> np.ndarray:
    return times.astype("datetime64[us]") if with_times else times
