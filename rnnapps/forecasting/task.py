"""What forecasting does: train, tune, evaluate, predict, export."""

from pathlib import Path
from typing import Any

import keras
import pandas as pd

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.data.panel import Panel, has_times
from rnnapps.data.share import Share
from rnnapps.forecasting import prediction
from rnnapps.forecasting.build import DATA, learnt, prepare, resolved, seasons_of
from rnnapps.forecasting.config import Config, Evaluate, Export, Predict, Tune
from rnnapps.forecasting.goal import Goal, goal_of
from rnnapps.forecasting.sizes import described, fitted, sizes_of
from rnnapps.serving.export import export_servables
from rnnapps.training import tuning
from rnnapps.training.console import Console
from rnnapps.training.distribution import Distribution, distribution
from rnnapps.training.lock import one_process
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.optimizers import optimizer, put_weights
from rnnapps.training.run import Run
from rnnapps.training.series_evaluation import mean_loss, there
from rnnapps.training.window_trainer import WindowTrainer

_VALIDATION_WINDOWS = 20_000  # at most, so that a validation takes seconds
_VALIDATION_BATCH = 256
_LOCAL = ("csv",)  # says nothing elsewhere
# What the series in a run's folder, and the order of their windows, depend on.
_FIXED = (
    "dataset", "source", "csv", "target", "label", "time", "series", "past", "future", "static", "categorical",
    "missing", "date_format", "decimal", "thousands", "frequency", "resample", "aggregate", "validation_fraction",
    "test_fraction", "history", "horizon", "stride", "batch_size", "seed",
)  # fmt: skip


@one_process
def train(config: Config) -> keras.Model:
    """Trains a model in the folder `config.run`.

    Returns:
        The best model, in float32.

    Raises:
        UsageError: The options, the series or the folder are not usable.
        RunError: The loss exploded, or something could not be saved.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    runtime.check_gpu(config.check_gpu)
    runtime.seed_everything(config.seed)
    asked = config
    run, spread = Run(config.run, DATA), distribution(config.strategy, config.replicas)
    with spread.chief_first():
        if asked.resume:
            run.check_resumable(_as_begun(run, asked), _FIXED)
        elif spread.is_chief:
            _begin(run, asked)
    config = _as_begun(run, asked)
    goal = goal_of(config, Panel.open(run.data_path))
    console = Console(goal.metric, quiet=not spread.is_chief)
    if not config.resume:
        for line in [*_described(config, goal.panel), *described(asked, config)]:
            console.say(line)
    loop = _loop(run, goal, console, spread)

    def batches(position: int, share: Share) -> Any:
        order = {"seed": config.seed, "position": position, "epochs": None}
        return goal.windows("train", config.batch_size, share=share, **order)

    run.carry_out(loop, config, batches, f"{learnt(config)}, {config.preset}")
    model = run.load_model()
    if spread.is_chief:
        for line in goal.complete(run, model):
            console.say(line)
    run.stop_if_interrupted(loop)
    with spread.chief_first():  # the others stay, as a process that left would be missed
        if spread.is_chief:
            _finish(run, goal, model, console)
    return model


def _as_begun(run: Run, asked: Config) -> Config:
    """The config resolved, with the sizes that the run chose where none is asked for."""
    before = run.load_config(Config)
    chosen = [name for name in ("history", "horizon", "validation_fraction") if getattr(asked, name) is None]
    return resolved(configs.replace(asked, **{name: getattr(before, name) for name in chosen}))


def _begin(run: Run, asked: Config) -> None:
    config = resolved(asked)
    with run.new_folder(config.overwrite) as scratch:
        panel = prepare(config, scratch)
        fit = fitted(asked, config, panel, max([1, *seasons_of(config, panel)[:1]]))
        if fit.validation_fraction != config.validation_fraction:
            (scratch / "again").mkdir()
            panel = prepare(fit, scratch / "again")
        config = resolved(fit)
        for part in ("train", "validation", "test"):
            if part == "train" or getattr(config, f"{part}_fraction"):
                # Asked before an older run is given up: the series may be too short.
                goal_of(config, panel).count(part)
        run.begin(config, panel.folder)


def _described(config: Config, panel: Panel) -> list[str]:
    rows = sum(one.length for one in panel.series)
    of = f"{len(panel.series)} series" if len(panel.series) > 1 else "one series"
    steps = f"steps of {panel.grid.frequency}" if has_times(panel) else "rows"
    return [*panel.notes, *_left_out(config, panel), f"{learnt(config)}: {rows:,} {steps} of {of}, {_counted(panel)}"]


def _left_out(config: Config, panel: Panel) -> list[str]:
    """A sentence for series that are too short to learn from."""
    wanted = sum(sizes_of(config))
    short = [one.name for one in panel.series if one.train_end < wanted] if config.label is None else []
    if not short:
        return []
    named = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
    return [
        f"{len(short)} of {len(panel.series)} series have fewer than the {wanted} steps of a window in their training "
        f"part, and nothing is learnt of them: {named}"
    ]


def _counted(panel: Panel) -> str:
    kinds = {"target": "targets", "past column": "past", "future column": "future", "static column": "static"}
    counts = {kind: len(getattr(panel.layout, name)) for kind, name in kinds.items()}
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)


def _loop(run: Run, goal: Goal, console: Console, spread: Distribution) -> Loop:
    config = goal.config
    model = goal.network()
    if not config.resume:
        goal.start(model)
    with spread.scope():
        learner = goal.network(config.precision)
        trainer = WindowTrainer(learner, goal.loss, config.clip, config.clip_at, lambda inputs, targets: there(targets))
        updates = optimizer(config.optimizer, config.learning_rate, config.weight_decay, config.average)
        spread.compile(trainer, updates, jit_compile=runtime.jit_compile())
    # The model has the same weights in float32: it is what is kept and validated.
    learner.set_weights(model.get_weights())
    loss = mean_loss(lambda inputs, targets: goal.loss(model, inputs, targets), runtime.jit_compile())
    every = max(1, goal.count("validation") // _VALIDATION_WINDOWS) if config.validation_fraction else 1

    def validate() -> float | None:
        put_weights(model, learner, updates)
        if not config.validation_fraction:
            return None
        return loss(goal.windows("validation", _VALIDATION_BATCH, every=every))

    # The first batch, or all where it holds no value.
    learnt_from = goal.windows("train", config.batch_size, seed=config.seed)
    start = loss(learnt_from.take(1))
    plan = _plan(goal, (loss(learnt_from) if start is None else start) or 0.0)

    def keep() -> None:
        run.save_model(model)

    log = Log(run.folder)
    return Loop(trainer, plan, run.checkpoints, log, console, validate, keep, lambda: "", spread)


def _plan(goal: Goal, start_loss: float) -> Plan:
    config, per_epoch = goal.config, -(-goal.count("train") // goal.config.batch_size)
    return Plan.of(
        config,
        per_epoch,
        start_loss=start_loss,
        explosion=start_loss + 10 * abs(start_loss) + 10,
        loss_scale=1,
        counted_per_step=config.batch_size,
    )


def _finish(run: Run, goal: Goal, model: keras.Model, console: Console) -> None:
    """Scores the best model on the part that training never saw."""
    if goal.config.test_fraction:
        figures, sentence = goal.judged(run, model)
        run.save_figures(**{f"test_{name}": value for name, value in figures.items()})
        console.say(f"test: {sentence}")
    console.say(f"model: {run.model_path}; in full: python -m rnnapps.forecasting evaluate --run {run.folder}")


def tune(options: Tune) -> Any:
    """Trains with options from a space; prints and returns a table of the trials, the best first."""
    return tuning.tune("forecasting", Config, train, options)


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Prints and returns the scores of a run beside those of the simple answers that it has to beat."""
    run = Run(options.run, DATA)
    config = run.load_config(Config)
    return goal_of(config, Panel.open(run.data_path)).evaluate(run, options)


def predict(options: Predict) -> pd.DataFrame:
    """Prints and returns what follows the end of each series, a row for each series, step and target."""
    return prediction.predict(options)


def export(options: Export) -> Path:
    """Writes the run's model as a SavedModel; prints and returns its folder; prints that of the XLA form too."""
    run = Run(options.run, DATA)
    config, panel = run.load_config(Config), Panel.open(run.data_path)
    goal, layout = goal_of(config, panel), panel.layout
    manifest = {
        **run.manifest("forecasting", config, _LOCAL),
        "data": {
            "learnt": learnt(config), "series": len(panel.series), "frequency": panel.grid.frequency,
            "time_form": panel.time_form.to_dict(), "steps": sum(one.length for one in panel.series),
        },
        "layout": layout.to_dict(),
        **goal.manifest(),
    }  # fmt: skip
    name = options.name or Path(learnt(config)).stem
    paths = export_servables(lambda xla: goal.endpoints(run, xla), options.output, name, manifest, options.xla)
    print(*paths, sep="\n")
    return paths[0]
