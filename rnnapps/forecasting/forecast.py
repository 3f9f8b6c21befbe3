"""Forecasting as the goal of a run: loss, calibration, report, what is served."""

import json
import sys
from typing import Any

import keras

from rnnapps import forecasts
from rnnapps.data.panel import Panel, has_values
from rnnapps.data.series import WindowIndex, windows
from rnnapps.errors import UsageError
from rnnapps.forecasting.build import learnt, network, seasons_of
from rnnapps.forecasting.config import Config, Evaluate
from rnnapps.forecasting.sizes import sizes_of
from rnnapps.ops.heads import LEVELS, head
from rnnapps.serving.series_endpoints import SeriesEndpoints
from rnnapps.training.calibration import FEWEST, RANKED, calibrate
from rnnapps.training.metric import Metric
from rnnapps.training.run import Run
from rnnapps.training.series_evaluation import OURS, compare, forecaster, start_linear, verdict
from rnnapps.training.series_scores import Scores

_CALIBRATION = "calibration"  # the run's file of offsets
_CALIBRATION_WINDOWS = 4_000  # at most, so that their errors fit in memory
_JUDGED_WINDOWS = 50_000  # at most, after training; `evaluate` scores all
_LINEAR_WINDOWS = 200_000  # at most: more change nothing that shows
_BATCH = 256
_UNCALIBRATED = f"{OURS}, before calibration"


class Forecast:
    """The values of the next steps."""

    def __init__(self, config: Config, panel: Panel):
        self.config, self.panel, self.head = config, panel, head(config.head)
        name = self.head.loss_name
        self.metric = Metric(name, "window", f"{name}, in units of each series' deviation")
        self._sizes = sizes_of(config)

    def count(self, part: str) -> int:
        found = len(WindowIndex(self.panel, part, *self._sizes, self._every(part)))
        if not has_values(self.panel, part):
            raise UsageError(
                f"the {part} part has no value of {' or '.join(self.panel.layout.targets)}: wanted some, or another "
                "--validation-fraction or --test-fraction"
            )
        return found

    def windows(self, part: str, batch_size: int, **order: Any) -> Any:
        return windows(self.panel, part, *self._sizes, batch_size, **{"every": self._every(part), **order})

    def _every(self, part: str) -> int:
        return self.config.stride if part == "train" else 1

    def network(self, dtype: str = "float32") -> keras.Model:
        return network(self.config, self.panel, dtype)

    def start(self, network: keras.Model) -> None:
        if "linear" in {layer.name for layer in network.layers}:
            every = max(1, len(WindowIndex(self.panel, "train", *self._sizes)) // _LINEAR_WINDOWS)
            start_linear(network, self.windows("train", _BATCH, every=every))

    def loss(self, network: keras.Model, inputs: Any, targets: Any, training: bool = False) -> Any:
        return forecasts.loss(network, self.head, inputs, targets, training)

    def complete(self, run: Run, model: keras.Model) -> list[str]:
        if not (self.config.calibrate and self.config.validation_fraction):
            return []
        count = self.count("validation")
        every = max(1, count // _CALIBRATION_WINDOWS)
        offsets = calibrate(model, self.head, self.windows("validation", _BATCH, every=every))
        if offsets is None:
            bands = "stay as the network has them" if self.head.is_probabilistic else "are left out"
            return [
                f"the validation part has values in fewer than {FEWEST} windows for each target, so bands cannot be "
                f"calibrated and {bands}: wanted more steps, or a larger --validation-fraction"
            ]
        run.save_array(_CALIBRATION, offsets)
        if count >= RANKED:
            return []
        return [
            f"the validation part has {count} windows, fewer than the {RANKED} that calibration wants for each step: "
            "bands are made as wide as Student's t says for the errors of all steps together"
        ]

    def judged(self, run: Run, model: keras.Model) -> tuple[dict[str, Any], str]:
        found = self._compare(run, model, "test", max(1, self.count("test") // _JUDGED_WINDOWS))
        return next(iter(found.values())).figures(), verdict(found)

    def _compare(self, run: Run, model: keras.Model, part: str, every: int = 1) -> dict[str, Scores]:
        offsets = run.load_array(_CALIBRATION)
        ours = {OURS: forecaster(model, self.head, offsets)}
        if offsets is not None and self.head.is_probabilistic:
            ours[_UNCALIBRATED] = forecaster(model, self.head)
        return compare(ours, self.panel, part, *self._sizes, seasons_of(self.config, self.panel), every)

    def evaluate(self, run: Run, options: Evaluate) -> dict[str, Any]:
        if not getattr(self.config, f"{options.split}_fraction"):
            raise UsageError(f"--split {options.split}: the run {run.folder} holds nothing out for it")
        found = self._compare(run, run.load_model(), options.split, options.every)
        rows: dict[str, Any] = {name: scores.figures() for name, scores in found.items()}
        if options.json:
            print(json.dumps(rows))
            return rows
        print(_table(rows))
        if OURS in rows and "coverage_90" in rows[OURS]:
            print("\n" + _bands(rows))
        ours = found[OURS]
        if options.by_target:
            print("\n" + _table({name: ours.figures(target=name) for name in self.panel.layout.targets}))
        if options.by_step:
            print("\n" + _table(_by_step(ours, self._sizes[1])))
        print(f"\n{learnt(self.config)}, {options.split}: {verdict(found)}")
        if learnt(self.config) == "stocks":
            print("prices of stocks are close to a random walk: no forecast of them is worth money", file=sys.stderr)
        return rows

    def endpoints(self, run: Run, xla: bool = False) -> SeriesEndpoints:
        names = [one.name for one in self.panel.series]
        return SeriesEndpoints(run.load_model(), self.head, names, run.load_array(_CALIBRATION), xla)

    def manifest(self) -> dict[str, Any]:
        return {"levels": list(LEVELS)}


def _by_step(scores: Scores, horizon: int) -> dict[str, dict[str, float]]:
    return {f"step {step + 1}": scores.figures(slice(step, step + 1)) for step in range(horizon)}


_FIGURES = ("mse", "mae", "MAE", "RMSE", "MASE", "MAPE", "sMAPE", "CRPS")


def _table(rows: dict[str, dict[str, float]], names: tuple[str, ...] = _FIGURES) -> str:
    columns = [name for name in names if any(name in figures for figures in rows.values())]
    width = max(map(len, rows)) + 2
    lines = [f"{'':{width}}" + "".join(f"{name:>13}" for name in columns)]
    for name, figures in rows.items():
        cells = (f"{figures[column]:13.4f}" if column in figures else f"{'':13}" for column in columns)
        lines.append(f"{name:{width}}" + "".join(cells))
    return "\n".join(lines)


def _bands(rows: dict[str, dict[str, float]]) -> str:
    """How often the bands held, and how wide they were."""
    banded = {name: figures for name, figures in rows.items() if "coverage_90" in figures}
    names = [name for name in next(iter(banded.values())) if name.startswith(("coverage", "width"))]
    return _table(banded, tuple(names))
