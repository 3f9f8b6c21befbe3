"""What a forecast has to beat: the last value, the last season, the line through the window, a linear model."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

Baseline = Callable[[np.ndarray, int], np.ndarray]

_DAY, _WEEK, _YEAR = 86_400, 7 * 86_400, 31_556_952  # seconds; of a mean Gregorian year
_LONGEST = 20_000  # steps of a season that is looked back: of minutes, a week


def seasons(step_seconds: int | None, period: str | None, steps: int) -> tuple[int, ...]:
    """The usual seasons of a time grid in steps, the shortest first, of those that a series holds twice.

    A day and a week of shorter steps, a week and a year of days, a year of weeks, of months and of quarters.

    Args:
        step_seconds: Of a step, None where steps differ in length or have no times.
        period: "B", "M", "Q" or "Y" for steps that differ in length.
        steps: Of the training part.
    """
    if step_seconds is None:
        found = [{"B": 5, "W": 52, "M": 12, "Q": 4}.get(period or "", 1)]
    else:
        found = [cycle // step_seconds for cycle in (_DAY, _WEEK) if cycle % step_seconds == 0]
        if step_seconds >= _DAY:
            found.append(round(_YEAR / step_seconds))
    return tuple(season for season in found if 1 < season <= min(steps // 2, _LONGEST))


def filled(history: np.ndarray) -> np.ndarray:
    """`(windows, steps, targets)` with each missing value replaced by the one before it, at the start by the one after,
    and by 0 where a whole window is missing."""
    found = _forward(history)
    found = _forward(found[:, ::-1])[:, ::-1]
    return np.where(np.isnan(found), 0.0, found)


def _forward(x: np.ndarray) -> np.ndarray:
    steps = np.where(np.isnan(x), 0, np.arange(x.shape[1])[None, :, None])
    return np.take_along_axis(x, np.maximum.accumulate(steps, axis=1), axis=1)


def persistence(history: np.ndarray, horizon: int) -> np.ndarray:
    """The last value."""
    return np.repeat(filled(history)[:, -1:], horizon, axis=1)


def seasonal_naive(length: int) -> Baseline:
    """The value one season of `length` steps before; the last season is repeated."""

    def forecast(history: np.ndarray, horizon: int) -> np.ndarray:
        last = filled(history)[:, -length:]
        return last[:, np.arange(horizon) % last.shape[1]]

    return forecast


def drift(history: np.ndarray, horizon: int) -> np.ndarray:
    """The line through the window's first and last value."""
    known = filled(history)
    slope = (known[:, -1:] - known[:, :1]) / max(known.shape[1] - 1, 1)
    return known[:, -1:] + slope * np.arange(1, horizon + 1)[None, :, None]


def least_squares(pairs: Iterable[tuple[np.ndarray, np.ndarray]], ridge: float = 1e-3) -> np.ndarray:
    """One linear map from windows to horizons, the same for all targets: y_h = sum_t w_{th} x_t + b_h.

    Args:
        pairs: `x (windows, steps, targets)` and `y (windows, horizon, targets)`. Where a step of y is missing, the
            target of the window is left out.
        ridge: Times the mean square of the inputs.

    Returns:
        `(steps + 1, horizon)`: the weights, and last the offsets.
    """
    moments: Any = None
    for x, y in pairs:
        rows, wanted = (np.moveaxis(part, 1, 2).reshape(-1, part.shape[1]).astype(np.float64) for part in (x, y))
        whole = ~np.isnan(wanted).any(1)
        rows, wanted = np.append(rows[whole], np.ones((whole.sum(), 1)), 1), wanted[whole]
        found = rows.T @ rows, rows.T @ wanted
        moments = found if moments is None else tuple(a + b for a, b in zip(moments, found, strict=True))
    if moments is None:
        raise ValueError("least_squares got no window")
    square, cross = moments
    return np.linalg.solve(square + ridge * np.trace(square) / len(square) * np.eye(len(square)), cross)


class Linear:
    """One linear map from the window, less its last value, to the horizon: the same for all series and targets.

        y_h - last = sum_t w_{ht} (x_t - last) + b_h

    NLinear of Zeng et al., 2022 (https://arxiv.org/abs/2205.13504), fitted by least squares with a small ridge, which
    is exact where gradient descent is not.

    Args:
        ridge: Times the mean square of the inputs.
    """

    def __init__(self, ridge: float = 1e-3):
        self.ridge = ridge

    def fit(self, windows: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> "Linear":
        """Reads `(history, targets, unit)` of all windows once. A window with a missing target is left out."""

        def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for history, targets, unit in windows:
                known = filled(history)
                yield (known - known[:, -1:]) / unit[:, None], (targets - known[:, -1:]) / unit[:, None]

        self.weights = least_squares(pairs(), self.ridge)
        return self

    def __call__(self, history: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """The forecast of windows, as `fit` takes them."""
        known = filled(history)
        x = (known - known[:, -1:]) / unit[:, None]
        y = np.moveaxis(x, 1, 2) @ self.weights[:-1] + self.weights[-1]
        return known[:, -1:] + unit[:, None] * np.moveaxis(y, 2, 1)
