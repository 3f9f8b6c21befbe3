"""What forecasting does: train, evaluate, predict, export."""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

import rnnapps
from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.data.horizon import Ends, ends
from rnnapps.data.panel import Layout, Panel, has_times
from rnnapps.data.series import WindowIndex, windows
from rnnapps.data.series_sources import DEFAULT_DATASET
from rnnapps.errors import UsageError
from rnnapps.files import write_whole
from rnnapps.forecasting.build import DATA, dataset, network, prepare
from rnnapps.forecasting.chart import draw
from rnnapps.forecasting.config import Config, Evaluate, Export, Predict
from rnnapps.ops.heads import LEVELS, head
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.series_endpoints import SeriesEndpoints
from rnnapps.training.console import Console
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.metric import Metric
from rnnapps.training.optimizers import optimizer
from rnnapps.training.run import Run
from rnnapps.training.series_evaluation import Forecaster, compare, verdict
from rnnapps.training.series_scores import Scores
from rnnapps.training.window_trainer import WindowTrainer

_VALIDATION_WINDOWS = 20_000  # at most, so that a validation takes seconds
_LOCAL = {"run", "resume", "overwrite", "source", "csv", "data_dir"}  # options that say nothing elsewhere
# What the series in a run's folder, and the order of their windows, depend on.
_FIXED = (
    "dataset", "source", "csv", "target", "time", "series", "past", "future", "static", "categorical", "missing",
    "frequency", "validation_fraction", "test_fraction", "history", "horizon", "batch_size", "seed",
)  # fmt: skip


def train(config: Config) -> keras.Model:
    """Trains a model in the folder `config.run`.

    Returns:
        The best model, in float32.

    Raises:
        UsageError: The options, the series or the folder are not usable.
        RunError: The loss exploded, or something could not be saved.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    runtime.seed_everything(config.seed)
    config = _resolve(config)
    run, console = Run(config.run, DATA), Console(_metric(config))
    panel = _resume(run, config) if config.resume else _begin(run, config, console)
    loop = _loop(run, config, panel, console)
    if config.resume:
        loop.resume()
        run.save_config(configs.replace(config, resume=False))  # only now: a refused --resume changes nothing
        console.say(f"resuming {run.folder} after {loop.state.step} updates")
    batches = windows(
        panel, "train", config.history, config.horizon, config.batch_size, config.seed, loop.state.step, epochs=None
    )
    state = loop.run(batches)
    loop.log.plot(run.folder / "learning_curve.png", f"{_learnt(config)}, {config.preset}", console.metric.label)
    run.save_figures(training_seconds=round(state.seconds, 1), updates=state.step, validation=state.best)
    if loop.interrupted:
        console.say(f"saved in {run.folder}; go on with --resume --run {run.folder}")
        raise KeyboardInterrupt
    return _finish(run, config, panel, console)


def _metric(config: Config) -> Metric:
    name = head(config.head).loss_name
    return Metric(name, "window", f"{name}, in units of each series' deviation")


def _resolve(config: Config) -> Config:
    """Puts in what a default stands for, so that the run's config says it."""
    known = dataset(config)
    usual = (0.1, 0.2) if known is None else (known.validation_fraction, known.test_fraction)
    given = (config.validation_fraction, config.test_fraction)
    fractions = [value if value is not None else default for value, default in zip(given, usual, strict=True)]
    return configs.replace(
        config,
        validation_fraction=fractions[0],
        test_fraction=fractions[1],
        precision=runtime.precision(config.precision),
    )


def _learnt(config: Config) -> str:
    return config.csv[0].name if config.csv else config.dataset or DEFAULT_DATASET


def _begin(run: Run, config: Config, console: Console) -> Panel:
    with run.new_folder(config.overwrite) as scratch:
        panel = prepare(config, scratch)
        for part in ("train", "validation", "test"):
            if part == "train" or getattr(config, f"{part}_fraction"):
                # Asked before an older run is given up: the series may be too short.
                WindowIndex(panel, part, config.history, config.horizon)
        run.begin(config, panel.folder)
    panel = Panel.open(run.data_path)
    for note in panel.notes:
        console.say(note)
    rows = sum(one.length for one in panel.series)
    of = f"{len(panel.series)} series" if len(panel.series) > 1 else "one series"
    steps = f"steps of {panel.grid.frequency}" if has_times(panel) else "rows"
    console.say(f"{_learnt(config)}: {rows:,} {steps} of {of}, {_counted(panel.layout)}")
    return panel


def _counted(layout: Layout) -> str:
    kinds = {name: len(getattr(layout, name)) for name in ("targets", "past", "future", "static")}
    return ", ".join(f"{count} {name}" for name, count in kinds.items() if count)


def _resume(run: Run, config: Config) -> Panel:
    run.check_resumable(config, _FIXED)
    return Panel.open(run.data_path)


def _loop(run: Run, config: Config, panel: Panel, console: Console) -> Loop:
    one = head(config.head)
    learner = network(config, panel, config.precision)
    trainer = WindowTrainer(learner, one, config.clip, config.clip_at)
    trainer.compile(optimizer(config.optimizer, config.learning_rate, config.weight_decay), jit_compile=False)
    # The same weights in float32: what is kept and validated.
    model = network(config, panel)
    judge = Forecaster(model, one)
    every = 1
    if config.validation_fraction:
        index = WindowIndex(panel, "validation", config.history, config.horizon)
        every = max(1, len(index) // _VALIDATION_WINDOWS)

    def validate() -> float | None:
        model.set_weights(learner.get_weights())
        if not config.validation_fraction:
            return None
        return judge.loss(panel, "validation", config.history, config.horizon, every)

    plan = _plan(config, panel, judge)
    log = Log(run.folder)
    return Loop(trainer, plan, run.checkpoints, log, console, validate, lambda: run.save_model(model), lambda: "")


def _plan(config: Config, panel: Panel, judge: Forecaster) -> Plan:
    per_epoch = -(-len(WindowIndex(panel, "train", config.history, config.horizon)) // config.batch_size)
    first = windows(panel, "train", config.history, config.horizon, config.batch_size, config.seed)
    inputs, targets = next(iter(first))
    start = float(judge._loss(inputs, targets))
    same = ("minutes", "warmup_steps", "schedule", "patience", "validate_every", "smoothing")
    return Plan(
        **{name: getattr(config, name) for name in same},
        steps=None if config.epochs is None else max(1, round(config.epochs * per_epoch)),
        peak=config.learning_rate,
        sample_every=0,
        start_loss=start,
        explosion=start + 10 * abs(start) + 10,
        loss_scale=1,
        counted_per_step=config.batch_size,
    )


def _finish(run: Run, config: Config, panel: Panel, console: Console) -> keras.Model:
    """Scores the best model on the part that training never saw."""
    model = run.load_model()
    if config.test_fraction:
        found = compare(Forecaster(model, head(config.head)), panel, "test", config.history, config.horizon)
        run.save_figures(**{f"test_{name}": value for name, value in next(iter(found.values())).figures().items()})
        console.say(f"test: {verdict(found)}")
    console.say(f"model: {run.model_path}; in full: python -m rnnapps.forecasting evaluate --run {run.folder}")
    return model


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Prints and returns the scores of a run's forecasts and of the simple ones that they have to beat."""
    run = Run(options.run, DATA)
    config, panel = run.load_config(Config), Panel.open(run.data_path)
    if not getattr(config, f"{options.split}_fraction"):
        raise UsageError(f"--split {options.split}: the run {run.folder} holds nothing out for it")
    one = Forecaster(run.load_model(), head(config.head))
    found = compare(one, panel, options.split, config.history, config.horizon, options.every)
    rows: dict[str, Any] = {name: scores.figures() for name, scores in found.items()}
    if options.json:
        print(json.dumps(rows))
        return rows
    print(_table(rows))
    ours = next(iter(found.values()))
    if options.by_target:
        print("\n" + _table({name: ours.figures(target=name) for name in panel.layout.targets}))
    if options.by_step:
        print("\n" + _table(_by_step(ours, config.horizon)))
    print(f"\n{_learnt(config)}, {options.split}: {verdict(found)}")
    if _learnt(config) == "stocks":
        print("prices of stocks are close to a random walk: no forecast of them is worth money", file=sys.stderr)
    return rows


def _by_step(scores: Scores, horizon: int) -> dict[str, dict[str, float]]:
    return {f"step {step + 1}": scores.figures(slice(step, step + 1)) for step in range(horizon)}


def _table(rows: dict[str, dict[str, float]]) -> str:
    columns = [name for name in next(iter(rows.values())) if not name.startswith("width") and name != "values"]
    width = max(map(len, rows)) + 2
    lines = [f"{'':{width}}" + "".join(f"{name:>13}" for name in columns)]
    for name, figures in rows.items():
        cells = (f"{figures[column]:13.4f}" if column in figures else f"{'':13}" for column in columns)
        lines.append(f"{name:{width}}" + "".join(cells))
    return "\n".join(lines)


def predict(options: Predict) -> pd.DataFrame:
    """Prints and returns the forecasts after the end of each series: a row for each series, step and target."""
    run = Run(options.run, DATA)
    config, learnt = run.load_config(Config), Panel.open(run.data_path)
    one = Forecaster(run.load_model(), head(config.head))
    with tempfile.TemporaryDirectory() as scratch:
        panel = learnt if not options.csv else _panel_of(options.csv, config, learnt, Path(scratch))
        last = ends(panel, learnt, config.history, config.horizon)
        with_times = has_times(panel)
    mean, quantiles = one.forecast(last.inputs)
    table = _forecasts(last, learnt.layout.targets, mean, quantiles, with_times)
    if options.json:
        for name, rows in table.groupby("series", sort=False):
            print(json.dumps({"series": name, "forecast": rows.drop(columns="series").to_dict("records")}, default=str))
    elif options.output is not None:
        write_whole(options.output, lambda path: table.to_csv(path, index=False))
        print(f"wrote {options.output}", file=sys.stderr)
    else:
        print(table.to_csv(index=False), end="")
    if options.plot is not None:
        draw(options.plot, last, learnt.layout.targets, mean, quantiles, with_times)
        print(f"wrote {options.plot}", file=sys.stderr)
    return table


def _panel_of(csv: tuple[Path, ...], config: Config, learnt: Panel, scratch: Path) -> Panel:
    """The user's files in the layout that the run learnt."""
    layout = learnt.layout
    asked = configs.replace(
        config, csv=csv, dataset=None, source=None, target=layout.targets, past=layout.past, future=layout.future,
        static=layout.static, categorical=tuple(layout.categories or ()), frequency=learnt.grid.frequency,
        validation_fraction=0.0, test_fraction=0.0,
    )  # fmt: skip
    known = dataset(config)
    if known is not None:
        asked = configs.replace(
            asked, time=asked.time or known.columns.time, series=asked.series or known.columns.series
        )
    return prepare(asked, scratch)


def _forecasts(
    last: Ends, targets: tuple[str, ...], mean: np.ndarray, quantiles: np.ndarray | None, with_times: bool
) -> pd.DataFrame:
    rows = []
    for i, name in enumerate(last.names):
        for step, time in enumerate(last.times[i]):
            when = str(np.datetime64(int(time), "s")).replace("T", " ") if with_times else int(time)
            for j, target in enumerate(targets):
                row = {"series": name, "time": when, "target": target, "mean": float(mean[i, step, j])}
                if quantiles is not None:
                    row |= {f"q{level:g}": float(quantiles[i, step, j, k]) for k, level in enumerate(LEVELS)}
                rows.append(row)
    return pd.DataFrame(rows)


def export(options: Export) -> Path:
    """Writes the run's model as a SavedModel; prints and returns its folder."""
    run = Run(options.run, DATA)
    config, panel = run.load_config(Config), Panel.open(run.data_path)
    names = [one.name for one in panel.series]
    endpoints = SeriesEndpoints(run.load_model(), head(config.head), names)
    layout = panel.layout
    manifest = {
        "task": "forecasting",
        "config": {name: value for name, value in configs.to_dict(config).items() if name not in _LOCAL},
        "data": {
            "learnt": _learnt(config), "series": len(names), "frequency": panel.grid.frequency,
            "steps": sum(one.length for one in panel.series),
        },
        "columns": {name: list(getattr(layout, name)) for name in ("targets", "past", "future", "static")},
        "categories": {name: list(found) for name, found in (layout.categories or {}).items()},
        "levels": list(LEVELS),
        "seed": config.seed,
        "figures": run.load_figures(),
        "versions": {"rnnapps": rnnapps.__version__, "tensorflow": version("tensorflow"), "keras": keras.__version__},
    }  # fmt: skip
    name = options.name or Path(_learnt(config)).stem
    path = write_saved_model(endpoints, options.output, name, manifest, endpoints.warmup())
    print(path)
    return path
