"""Small tables of series, and runs that learn them in seconds, for the tests of forecasting."""

import contextlib
import dataclasses
import datetime
import functools

import numpy as np
import pytest
import small_runs

from rnnapps.forecasting import PRESETS, Config, Export, export, train
from rnnapps.forecasting.build import DATA
from rnnapps.training import class_evaluation
from rnnapps.training.run import Run

TINY = PRESETS["tiny"]
CLASSES = dataclasses.replace(TINY, label="kind", history=8, segment=2)


def sales(path, shops=("a", "b"), days=160, gaps=True):
    """Sales that rise and fall with the week, and a price that is known ahead."""
    rng, lines = np.random.default_rng(0), ["day,shop,sales,price,kind"]
    for s, shop in enumerate(shops):
        for i in range(days):
            day = datetime.date(2021, 1, 1) + datetime.timedelta(days=i)
            value = 50 * (s + 1) + 10 * np.sin(2 * np.pi * i / 7) + rng.normal()
            written = "" if gaps and i % 29 == 0 else f"{value:.2f}"
            lines.append(f"{day},{shop},{written},{1 + i % 3},{'xy'[i % 2]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def wave(path, days=200, size=1.0, base=0.0):
    """A sine of twelve rows, with a little noise."""
    rng = np.random.default_rng(0)
    values = base + size * (np.sin(2 * np.pi * np.arange(days) / 12) + 0.05 * rng.normal(size=days))
    path.write_text("y\n" + "\n".join(f"{value:.6f}" for value in values) + "\n")
    return path


def slopes(path, count=120, label=True, seed=0):
    """Series of 8 rows that rise or fall, whatever their height, with a colour that says nothing."""
    rng, lines = np.random.default_rng(seed), ["t,name,x,colour" + (",kind" if label else "")]
    for s in range(count):
        rises, height = s % 3 == 0, rng.normal(0, 2)
        for i in range(8):
            x = height + (1 if rises else -1) * i + rng.normal(0, 0.3)
            kind = f",{'up' if rises else 'down'}" if i == 7 else ","
            lines.append(f"2020-01-0{i + 1},n{s},{x:.3f},{'rgb'[rng.integers(3)]}" + (kind if label else ""))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config_of_sales(folder, **changes):
    """Of a run on two shops in `folder/run`, which begins with random weights."""
    options = {"csv": (sales(folder / "sales.csv"),), "target": ("sales",), "series": "shop", "run": folder / "run"}
    options |= {"linear": False, "epochs": 6.0, "learning_rate": 0.03, "units": 16, **changes}
    return dataclasses.replace(TINY, **options)


def config_of_slopes(folder, **changes):
    """Of a run on series that rise or fall in `folder/run`."""
    options = {"csv": (slopes(folder / "slopes.csv"),), "series": "name", "past": ("x", "colour"), "epochs": 15.0}
    options |= {"categorical": ("colour",), "run": folder / "run", "learning_rate": 0.03, "validation_fraction": 0.2}
    return dataclasses.replace(CLASSES, **{**options, **changes})


def few(folder, **changes):
    """Of a run of one update on a sine in `folder/run`."""
    options = {"csv": (wave(folder / "x.csv"),), "target": ("y",), "run": folder / "run", "epochs": 0.01}
    return dataclasses.replace(TINY, **{**options, "test_fraction": 0.0, **changes})


@contextlib.contextmanager
def short_regression():
    """The logistic regression that classes are compared with learns for twenty updates, not for a thousand."""
    short = functools.partial(class_evaluation.logistic_regression, updates=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_evaluation, "logistic_regression", short)
        yield


def learnt(kept, name):
    """The config of a run that has learnt `sales` or `slopes`."""
    make_config = {"sales": config_of_sales, "slopes": config_of_slopes}[name]

    def make(path):
        with small_runs.quickly(), short_regression():
            train(make_config(path))

    return Run(kept.folder(f"forecasting-{name}", make) / "run", DATA).load_config(Config)


def exported(kept, name):
    """The SavedModel of that run, that of sales tried in C++ too."""
    run = learnt(kept, name).run

    def make(path):
        with small_runs.quickly(cpp=name == "sales"):
            export(Export(run=run, output=path, name=name))

    return kept.folder(f"forecasting-{name}-export", make) / name / "1"
