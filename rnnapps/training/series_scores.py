"""How good forecasts are: errors by step of the horizon, of points and of quantiles."""

from collections.abc import Sequence

import numpy as np

# Central intervals that are judged, as shares of probability.
INTERVALS = (0.5, 0.8, 0.9)


class Scores:
    """Sums over windows, from which every figure follows. What is missing is left out.

    Args:
        horizon: Steps of a forecast.
        targets: Names of what is forecast.
        levels: Of the quantiles; empty where there are none.
    """

    def __init__(self, horizon: int, targets: Sequence[str], levels: Sequence[float] = ()):
        self.targets, self.levels = tuple(targets), tuple(levels)
        shape = horizon, len(self.targets)
        names = (
            "count",
            "absolute",
            "squared",
            "scaled_absolute",
            "scaled_squared",
            "symmetric",
            "relative",
            "nonzero",
            "seasonal",
        )
        self._sums = {name: np.zeros(shape) for name in names}
        self._pinball = np.zeros((*shape, len(self.levels)))
        self._pairs = [pair for share in INTERVALS if (pair := self._ends(share)) is not None]
        self._covered = np.zeros((*shape, len(self._pairs)))
        self._width = np.zeros((*shape, len(self._pairs)))

    def _ends(self, share: float) -> tuple[float, int, int] | None:
        """An interval, and the places of its quantiles."""
        low, high = round((1 - share) / 2, 6), round((1 + share) / 2, 6)
        known = [round(level, 6) for level in self.levels]
        return (share, known.index(low), known.index(high)) if low in known and high in known else None

    def add(
        self,
        mean: np.ndarray,
        targets: np.ndarray,
        unit: np.ndarray,
        season_error: np.ndarray,
        quantiles: np.ndarray | None = None,
    ) -> None:
        """Adds windows.

        Args:
            mean: `(windows, horizon, targets)`.
            targets: What came, NaN where missing.
            unit: `(windows, targets)`: standard deviation of the series' training part.
            season_error: `(windows, targets)`: mean error of the seasonal naive forecast there.
            quantiles: `(windows, horizon, targets, levels)`.
        """
        there = ~np.isnan(targets)
        error = np.where(there, targets - mean, 0.0).astype(np.float64)
        scaled = error / unit[:, None]
        nonzero = there & (targets != 0)
        size = np.where(there, np.abs(targets) + np.abs(mean), 1.0)
        each = {
            "count": there, "absolute": np.abs(error), "squared": error**2, "scaled_absolute": np.abs(scaled),
            "scaled_squared": scaled**2, "symmetric": 200 * np.abs(error) / np.where(size == 0, 1.0, size),
            "relative": np.where(nonzero, 100 * np.abs(error) / np.where(nonzero, np.abs(targets), 1.0), 0.0),
            "nonzero": nonzero, "seasonal": np.abs(error) / season_error[:, None],
        }  # fmt: skip
        for name, values in each.items():
            self._sums[name] += values.sum(0)
        if quantiles is not None:
            self._add_quantiles(quantiles, targets, there)

    def _add_quantiles(self, quantiles: np.ndarray, targets: np.ndarray, there: np.ndarray) -> None:
        levels = np.array(self.levels)
        error = np.where(there, targets, 0.0)[..., None] - quantiles
        pinball = np.maximum(levels * error, (levels - 1) * error)
        self._pinball += np.where(there[..., None], pinball, 0.0).sum(0)
        for i, (_, low, high) in enumerate(self._pairs):
            inside = (quantiles[..., low] <= targets) & (targets <= quantiles[..., high]) & there
            self._covered[..., i] += inside.sum(0)
            self._width[..., i] += np.where(there, quantiles[..., high] - quantiles[..., low], 0.0).sum(0)

    def figures(self, steps: slice = slice(None), target: str | None = None) -> dict[str, float]:
        """All figures, over some steps of the horizon, of one target or of all.

        `mse` and `mae` are of values in units of the training part's standard deviation, as the literature has them;
        `MAE` and `RMSE` are in the series' own unit, and mean little over targets of different units; `MASE` is in
        units of the seasonal naive forecast's error in the training part (Hyndman and Koehler, 2006,
        https://doi.org/10.1016/j.ijforecast.2006.03.001); `MAPE`, over the values that are not 0, and
        `sMAPE` in percent; `CRPS` is twice the mean pinball loss of
        the quantiles, in the series' own unit; `coverage_90` is a share, `width_90` in the series' own unit. A
        figure of which no value is there is left out.
        """
        columns = slice(None) if target is None else slice(self.targets.index(target), self.targets.index(target) + 1)

        def total(sums: np.ndarray) -> float:
            return float(sums[steps, columns].sum())

        sums = {name: total(values) for name, values in self._sums.items()}
        count = sums["count"]
        if not count:
            return {"values": 0.0}
        found = {
            "mse": sums["scaled_squared"] / count, "mae": sums["scaled_absolute"] / count,
            "MAE": sums["absolute"] / count, "RMSE": (sums["squared"] / count) ** 0.5,
            "MASE": sums["seasonal"] / count, "MAPE": sums["relative"] / max(sums["nonzero"], 1.0),
            "sMAPE": sums["symmetric"] / count,
        }  # fmt: skip
        if not sums["nonzero"]:
            del found["MAPE"]
        if self.levels:
            found["CRPS"] = 2 * total(self._pinball.mean(-1)) / count
        for i, (share, _, _) in enumerate(self._pairs):
            found[f"coverage_{share:.0%}".rstrip("%")] = total(self._covered[..., i]) / count
            found[f"width_{share:.0%}".rstrip("%")] = total(self._width[..., i]) / count
        return found | {"values": sums["count"]}
