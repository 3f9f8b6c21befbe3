"""Forecasts of the steps after the end of series, from a run or from an exported model."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnnapps import config as configs
from rnnapps.data.horizon import Ends, ends
from rnnapps.data.panel import Layout, Panel, has_times
from rnnapps.data.series_sources import DATASETS, Dataset
from rnnapps.data.time_form import TimeForm
from rnnapps.errors import UsageError
from rnnapps.files import write_whole
from rnnapps.forecasting.build import DATA, dataset, prepare
from rnnapps.forecasting.chart import draw
from rnnapps.forecasting.classification import class_table
from rnnapps.forecasting.config import RUN, SHIPPED_MODEL, Config, Predict
from rnnapps.forecasting.goal import goal_of
from rnnapps.forecasting.sizes import sizes_of
from rnnapps.ops.heads import LEVELS
from rnnapps.serving.saved_model import as_arrays, load_endpoints, read_manifest, version_folder
from rnnapps.serving.shipped import run_or_model
from rnnapps.training.run import Run


@dataclass(frozen=True)
class _Source:
    """What forecasts: a run's model or an export.

    Attributes:
        config: That it was trained with.
        layout: Of the columns that it learnt.
        frequency: Of its steps.
        time_form: How its tables write times.
        endpoints: As `rnnapps.serving.series_endpoints` names them.
        known: The data set that it learnt; None for the user's own files.
        panel: The series that it learnt; an export has none.
    """

    config: Config
    layout: Layout
    frequency: str
    time_form: TimeForm
    endpoints: dict[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]]
    known: Dataset | None
    panel: Panel | None = None

    @classmethod
    def of(cls, options: Predict) -> "_Source":
        folder, is_run = run_or_model(options.run, options.model, RUN, SHIPPED_MODEL)
        if is_run:
            run = Run(folder, DATA)
            config, panel = run.load_config(Config), Panel.open(run.data_path)
            functions = goal_of(config, panel).endpoints(run).endpoints()
            asked = {name: as_arrays(function) for name, function in functions.items()}
            return cls(
                config, panel.layout, panel.grid.frequency, panel.time_form, asked, dataset(config), panel
            )  # fmt: skip
        path = version_folder(folder)
        manifest = read_manifest(path, "forecasting")
        try:
            config = configs.from_dict(Config, manifest["config"], f"{path}/manifest.json")
            layout, frequency = Layout.from_dict(manifest["layout"]), manifest["data"]["frequency"]
            form = TimeForm.from_dict(manifest["data"].get("time_form"))
            known = DATASETS.get(manifest["data"]["learnt"])  # the config of an export names no files
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"--model {path} has a manifest.json without {error}: wanted an export as it was"
            ) from error
        functions = load_endpoints(path, "serving_default")
        asked = {name: as_arrays(function) for name, function in functions.items()}
        return cls(config, layout, frequency, form, asked, known)


def predict(options: Predict) -> pd.DataFrame:
    """Prints and returns the forecasts after the end of each series: a row for each series, step and target."""
    source = _Source.of(options)
    if source.config.label is not None:
        return _classes(source, options)
    if options.samples and "paths" not in source.endpoints:
        raise UsageError(
            f"--samples {options.samples}: wanted a model of --kind autoregressive, which alone draws paths"
        )
    with _panel(source, options) as panel:
        last = ends(panel, source.layout, *sizes_of(source.config))
        with_times = has_times(panel)
        times = [text for one in last.times for text in panel.written(one)]
    asked = {**last.inputs, "series": np.array(last.names, object)}
    found = source.endpoints["serving_default"](asked)
    targets = source.layout.targets
    table = _table(last, targets, found, times)
    if options.samples:
        table = _paths_table(last, targets, _paths(source, asked, options), times)
    _print(table, options)
    if options.plot is not None:
        draw(options.plot, last, targets, found["mean"], found.get("quantiles"), with_times)
        print(f"wrote {options.plot}", file=sys.stderr)
    return table


@contextlib.contextmanager
def _panel(source: _Source, options: Predict) -> Iterator[Panel]:
    """The series to go on from: the user's files, or those that the run learnt."""
    if not options.csv and source.panel is None:
        columns = ", ".join(source.layout.varying if source.config.label is None else source.layout.past)
        raise UsageError(
            f"no --csv: wanted a file with the columns {columns}, from whose end an exported model goes on"
        )
    with tempfile.TemporaryDirectory() as scratch:
        panel = _panel_of(options, source, Path(scratch)) if options.csv else source.panel
        assert panel is not None
        for note in panel.notes if options.csv else ():
            print(note, file=sys.stderr)
        yield panel


def _classes(source: _Source, options: Predict) -> pd.DataFrame:
    """Prints and returns the class of the last window of each series, and the probability of each class."""
    for name, value in (("samples", options.samples), ("plot", options.plot)):
        if value:
            raise UsageError(f"--{name} {value}: wanted a model that forecasts, and this one names classes")
    with _panel(source, options) as panel:
        table = class_table(panel, source.layout, sizes_of(source.config)[0], source.endpoints["serving_default"])
    if options.json:
        for row in table.to_dict("records"):
            print(json.dumps(row))
    else:
        _print(table, options)
    return table


def _panel_of(options: Predict, source: _Source, scratch: Path) -> Panel:
    """The user's files in the layout that the model learnt."""
    config, layout, known = source.config, source.layout, source.known
    target = () if config.label else layout.targets
    asked = configs.replace(
        config, csv=options.csv, dataset=None, source=None, target=target, past=layout.past, future=layout.future,
        static=layout.static, categorical=tuple(layout.categories or ()), frequency=source.frequency,
        validation_fraction=0.0, test_fraction=0.0, date_format=options.date_format,
    )  # fmt: skip
    if known is not None:
        asked = configs.replace(
            asked, time=asked.time or known.columns.time, series=asked.series or known.columns.series
        )
    return prepare(asked, scratch, may_lack_label=True, learnt=source.time_form)


def _paths(source: _Source, asked: dict[str, np.ndarray], options: Predict) -> np.ndarray:
    """`(series, samples, horizon, targets)`: as many calls as it takes, each with a seed of its own."""
    drawn: list[np.ndarray] = []
    while sum(part.shape[1] for part in drawn) < options.samples:
        seed = np.full(len(asked["series"]), options.seed + len(drawn), np.int32)
        drawn.append(source.endpoints["paths"]({**asked, "seed": seed})["paths"])
    return np.concatenate(drawn, axis=1)[:, : options.samples]


def _print(table: pd.DataFrame, options: Predict) -> None:
    if options.json:
        for name, rows in table.groupby("series", sort=False):
            print(json.dumps({"series": name, "forecast": rows.drop(columns="series").to_dict("records")}, default=str))
    elif options.output is not None:
        write_whole(options.output, lambda path: table.to_csv(path, index=False))
        print(f"wrote {options.output}", file=sys.stderr)
    else:
        print(table.to_csv(index=False), end="")


def _table(last: Ends, targets: tuple[str, ...], found: dict[str, np.ndarray], times: list[Any]) -> pd.DataFrame:
    """A row for each series, step and target, with its mean and quantiles."""
    rows = _rows(last, targets, times)
    rows["mean"] = found["mean"].reshape(-1)
    if "quantiles" in found:
        for level, values in zip(LEVELS, found["quantiles"].reshape(-1, len(LEVELS)).T, strict=True):
            rows[f"q{level:g}"] = values
    return rows


def _paths_table(last: Ends, targets: tuple[str, ...], drawn: np.ndarray, times: list[Any]) -> pd.DataFrame:
    """A row for each series, step and target, with a column for each path."""
    rows, count = _rows(last, targets, times), drawn.shape[1]
    columns = np.moveaxis(drawn, 1, 0).reshape(count, -1)
    return pd.concat([rows, pd.DataFrame(columns.T, columns=[f"path{i + 1}" for i in range(count)])], axis=1)


def _rows(last: Ends, targets: tuple[str, ...], times: list[Any]) -> pd.DataFrame:
    """A row for each series, step and target; times are those of the steps, series after series."""
    horizon = last.times.shape[1]
    names = np.repeat(np.array(last.names, object), horizon * len(targets))
    steps = [time for time in times for _ in targets]
    return pd.DataFrame({"series": names, "time": steps, "target": list(targets) * len(times)})
