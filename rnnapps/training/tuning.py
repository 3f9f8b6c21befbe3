"""The verb `tune` of every task: runs with options from a space, chosen by Keras Tuner."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import logging
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from typing import Any

from rnnapps import config as configs
from rnnapps.errors import RnnappsError, UsageError
from rnnapps.files import write_whole
from rnnapps.ops import execution
from rnnapps.space import Range, parsed

_STATE = "search"  # Keras Tuner's folder
_FIXED = ("space", "search", "search_seed")
_SCORE = "validation"  # what the keys of such figures begin with


def tune(task: str, cls: type, train: Callable[[Any], Any], options: Any) -> Any:
    """Trains with options from a space, each trial in a folder of its own; a trial that fails does not end the search.

    Args:
        task: Its name.
        cls: Its options of `train`.
        train: Its function.
        options: Those of `cls` for all trials, and of `rnnapps.space.SearchOptions`. With `resume` a search goes on.

    Returns:
        A `pandas.DataFrame` with a row for each trial, the best first; it is printed, too, with the command that trains
        the best.

    Raises:
        UsageError: The folder or the options are not usable, or Keras Tuner is missing.
        KeyboardInterrupt: Ctrl-C; with `resume` the trial goes on from its last checkpoint.
    """
    space = parsed(type(options), options.space)
    _check(options, space)
    search = _Search(cls, train, options, space)
    search.go()
    table = search.table()
    print(table.to_string(index=False))
    if search.best is not None:
        print(f"\nthe best: python -m rnnapps.{task} {shlex.join(_command(task, search.best))}")
    return table


def _check(options: Any, space: dict[str, Any]) -> None:
    if importlib.util.find_spec("keras_tuner") is None:
        raise UsageError("tune wants the extra: pip install 'rnnapps[tune]'")
    if options.search == "bayesian" and None in map(importlib.util.find_spec, ("scipy", "sklearn")):
        raise UsageError("--search bayesian wants more: pip install 'keras-tuner[bayesian]'")
    if not space:
        raise UsageError("tune without --space: wanted what to search, as in --space units=64,128")
    if options.strategy == "multiworker":
        raise UsageError("tune with --strategy multiworker: wanted none or mirrored")
    config = options.run / "config.json"
    if options.resume:
        before = configs.load(type(options), config)
        for name in _FIXED:
            ours, theirs = getattr(options, name), getattr(before, name)
            if ours != theirs:
                raise UsageError(f"{configs.option(name)} {ours}: the search to resume has {theirs}")
    elif config.exists() and not options.overwrite:
        raise UsageError(
            f"--run {options.run} holds a search or a run already: wanted --resume, --overwrite or another"
        )
    elif not config.exists() and options.run.is_dir() and any(options.run.iterdir()):
        raise UsageError(f"--run {options.run} holds something that is no search: wanted a new or an empty folder")


class _Search:
    """Trials and what became of them, in `trials.json`."""

    def __init__(self, cls: type, train: Callable[[Any], Any], options: Any, space: dict[str, Any]):
        self.cls, self.train, self.options, self.space = cls, train, options, space
        # So far only `best`, of translation and captioning, names scores of which more is better.
        self.more_is_better = getattr(options, "best", "loss") != "loss"
        self.path = options.run / "trials.json"
        self.trials: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.trials = json.loads(self.path.read_text(encoding="utf-8"))
        if not options.resume:
            for name in self.trials:
                shutil.rmtree(options.run / f"trial_{name}", ignore_errors=True)
            self.trials = {}

    def go(self) -> None:
        """Runs what is left of the trials."""
        configs.save(configs.replace(self.options, resume=False, overwrite=False), self.options.run / "config.json")
        # One process trains many networks, which TensorFlow takes for one that is traced again and again.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # Keras Tuner asks Python for a thread's name by an old spelling.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="keras_tuner")
            _tuner(self).search(verbose=0)

    def run(self, name: str, values: dict[str, Any]) -> float:
        """One trial's figure.

        Raises:
            RnnappsError: It failed.
        """
        self.trials[name] = {"status": "started", **values}
        self._save()
        execution.forget_traced()
        try:
            figure = self._figure(self.config(name, values))
        except RnnappsError as error:
            self.trials[name] |= {"status": "failed", "because": str(error)}
            self._save()
            print(f"trial {name} failed: {error}", file=sys.stderr)
            raise
        self.trials[name] |= {"status": "done", _SCORE: figure}
        self._save()
        return figure

    def _figure(self, config: Any) -> float:
        self.train(config)
        figures = json.loads((config.run / "figures.json").read_text(encoding="utf-8"))
        figure = next((value for key, value in figures.items() if key.startswith(_SCORE)), None)
        if figure is None:
            raise UsageError("nothing is held out to judge a trial by: wanted more than 0 as --validation-fraction")
        return float(figure)

    def config(self, name: str, values: dict[str, Any]) -> Any:
        """The options of a trial, of class `cls`; one that was interrupted goes on."""
        base = {field.name: getattr(self.options, field.name) for field in dataclasses.fields(self.cls)}
        for group in getattr(self.cls, "ALTERNATIVES", ()):
            if any(name in values for name in group):
                base |= dict.fromkeys(group)
        run = self.options.run / f"trial_{name}"
        found = self.cls(**{**base, "resume": False, "overwrite": True, **values, "run": run})
        started = (run / "checkpoints" / "last.npz").exists() and (run / "config.json").exists()
        return configs.replace(found, resume=self.options.resume and started)

    def _save(self) -> None:
        content = json.dumps(self.trials, indent=2, default=str) + "\n"
        write_whole(self.path, lambda path: path.write_text(content, encoding="utf-8"))

    def _ranked(self) -> list[str]:
        done = [name for name, trial in self.trials.items() if trial["status"] == "done"]
        return sorted(done, key=lambda name: self.trials[name][_SCORE], reverse=self.more_is_better)

    @property
    def best(self) -> Any:
        """The options of the best trial; None where all failed."""
        for name in self._ranked():
            values = {key: value for key, value in self.trials[name].items() if key in self.space}
            return self.config(name, values)
        return None

    def table(self) -> Any:
        """A row for each trial, the best first, then those that failed."""
        import pandas as pd

        ranked = self._ranked()
        names = ranked + [name for name in self.trials if name not in ranked]
        columns = ["trial", _SCORE, *self.space, "status"]
        rows = [{"trial": f"trial_{name}", **self.trials[name]} for name in names]
        return pd.DataFrame([{column: row.get(column) for column in columns} for row in rows], columns=columns)


def _tuner(search: _Search) -> Any:
    """Keras Tuner's, with its state in the search's folder."""
    keras_tuner: Any = importlib.import_module("keras_tuner")
    with contextlib.suppress(ImportError):  # else it prints the traceback of each trial that fails
        importlib.import_module("keras_tuner.src.config").DEBUG = False  # type: ignore[attr-defined]
    kinds = keras_tuner.oracles
    parameters = keras_tuner.HyperParameters()
    choices = {name: values for name, values in search.space.items() if not isinstance(values, Range)}
    for name, values in search.space.items():
        if isinstance(values, Range):
            sampling = "log" if values.by_factors else "linear"
            draw = parameters.Int if values.is_whole else parameters.Float
            draw(name, values.low, values.high, sampling=sampling)
        else:  # by place, since a choice may be None, a path or a list
            parameters.Choice(name, list(range(len(values))), ordered=_are_numbers(values))

    class Tuner(keras_tuner.Tuner):
        def run_trial(self, trial: Any, **_: Any) -> float:
            drawn = {name: trial.hyperparameters.get(name) for name in search.space}
            values = {name: choices[name][value] if name in choices else value for name, value in drawn.items()}
            try:
                return search.run(trial.trial_id, values)
            except RnnappsError as error:
                raise keras_tuner.errors.FailedTrialError(str(error)) from error
            except Exception as error:  # a defect, which Keras Tuner would note and go on
                raise keras_tuner.errors.FatalError(f"{type(error).__name__}: {error}") from error

    oracle = {"random": kinds.RandomSearchOracle, "bayesian": kinds.BayesianOptimizationOracle}[search.options.search]
    # A seed of 0 is none for Keras Tuner.
    direction = "max" if search.more_is_better else "min"
    return Tuner(
        oracle=oracle(
            objective=keras_tuner.Objective(_SCORE, direction),
            max_trials=search.options.trials, hyperparameters=parameters, tune_new_entries=False,
            seed=search.options.search_seed + 1, max_consecutive_failed_trials=search.options.trials + 1,
        ),
        directory=str(search.options.run.resolve()), project_name=_STATE, overwrite=not search.options.resume,
    )  # fmt: skip


def _are_numbers(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _command(task: str, config: Any) -> list[str]:
    """The options of `train` that make a config, as a person types them, in a folder of its own."""
    module = importlib.import_module(f"rnnapps.{task}.config")
    preset, words = module.PRESETS[config.preset], ["train", "--preset", config.preset]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("preset", "run", "resume", "overwrite") or value == getattr(preset, field.name):
            continue
        words += _words(field.name, value)
    return [*words, "--run", f"runs/{task}_best"]


def _words(name: str, value: Any) -> list[str]:
    option = configs.option(name)
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    items = value if isinstance(value, tuple) else [value]
    return [option, *(str(item) for item in items)]
