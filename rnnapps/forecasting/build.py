"""A panel and a network, as a config says."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.data import gather, time_columns
from rnnapps.data.panel import Panel, has_times
from rnnapps.data.series_sources import DATASETS, DEFAULT_DATASET, Dataset, tables
from rnnapps.data.table import Columns, Table
from rnnapps.data.time_form import TimeForm
from rnnapps.errors import UsageError
from rnnapps.forecasting.config import Config
from rnnapps.forecasting.sizes import sizes_of
from rnnapps.layers.windows import CYCLES
from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.ops.heads import head
from rnnapps.training.series_baselines import seasons

DATA = "panel"


def learnt(config: Config) -> str:
    """The name of what a config learns."""
    return config.csv[0].name if config.csv else config.dataset or DEFAULT_DATASET


def dataset(config: Config) -> Dataset | None:
    """The named data set that a config means, if it means one; an unknown name is told later."""
    return None if config.csv else DATASETS.get(config.dataset or DEFAULT_DATASET)


def resolved(config: Config) -> Config:
    """The config with what its defaults stand for, so that a run's config says it."""
    known = dataset(config)
    usual = (0.1, 0.2) if known is None else (known.validation_fraction, known.test_fraction)
    given = (config.validation_fraction, config.test_fraction)
    label = config.label
    if known is not None and not config.target:
        label = label or known.columns.label
    past = config.past or (known.columns.past if known is not None else ())
    read = sizes_of(config) if label is None else sizes_of(config)[:1]
    alone = label is not None or not (past or config.layers > 1)  # what a forecast by segments wants
    fits = alone and not any(steps % config.segment for steps in read)
    fractions = [value if value is not None else default for value, default in zip(given, usual, strict=True)]
    return configs.replace(
        config,
        label=label,
        kind=("segment" if fits else "direct") if config.kind == "auto" else config.kind,
        validation_fraction=fractions[0],
        test_fraction=fractions[1],
        precision=runtime.precision(config.precision),
    )


def prepare(config: Config, scratch: Path, may_lack_label: bool = False, learnt: TimeForm | None = None) -> Panel:
    """The series of a config as a panel in a new folder under `scratch`.

    Args:
        config: The options.
        scratch: The folder.
        may_lack_label: As in `columns`.
        learnt: How the tables that a model learnt write times; None: nothing is learnt yet.
    """
    found = tables(
        config.dataset, config.source, config.csv, scratch / "data" if config.source else config.data_dir, scratch,
        config.missing, decimal=config.decimal, thousands=config.thousands,
    )  # fmt: skip
    known, folder = dataset(config), scratch / DATA
    folder.mkdir()
    assert config.validation_fraction is not None and config.test_fraction is not None
    learnt, notes = learnt or TimeForm(), list[str]()
    roles = columns(config, known, found[0], may_lack_label, learnt.columns, notes)
    reading = gather.Reading(
        frequency=config.frequency or (known.frequency if known else None),
        date_format=config.date_format, learnt=learnt, resample=config.resample, aggregate=config.aggregate,
    )  # fmt: skip
    fractions = config.validation_fraction, config.test_fraction
    return gather.prepare(found, roles, folder, None, *fractions, seed=config.seed, reading=reading, notes=notes)


def columns(
    config: Config, known: Dataset | None, table: Table, may_lack_label: bool = False, time: tuple[str, ...] = (),
    notes: list[str] | None = None,
) -> Columns:  # fmt: skip
    """The options' columns; where an option says nothing, those of the data set, and with a label all numbers.

    Args:
        config: The options.
        known: The data set.
        table: The first one.
        may_lack_label: Whether a table without the label is not amiss, since it is only to be answered.
        time: The columns that said when in the tables that were learnt.
        notes: Where to say what is amiss with the columns of times.
    """
    roles = ("time", "series", "past", "future", "static", "categorical")
    given: dict[str, Any] = {name: getattr(config, name) for name in roles}
    if known is not None:
        # Columns of a data set that is for another end than this config's are not its covariates.
        usual = roles if config.label == known.columns.label else ("time", "series")
        given |= {name: given[name] or getattr(known.columns, name) for name in usual}
    elif not given["time"] and config.frequency != "rows":
        given["time"] = time if set(time) <= set(table.columns) else ()
        if not given["time"]:
            named = (config.label, config.series, *config.target, *config.past, *config.future, *config.static)
            given["time"], note = time_columns.find(table.head(), [name for name in named if name])
            if note and notes is not None:
                notes.append(note)
    label = config.label
    if label is None:
        return Columns(config.target or (known.columns.targets if known else ()), **given)
    if not given["past"]:
        taken = {label, given["series"], *given["time"], *given["static"]}
        given["past"] = tuple(name for name in table.numeric_columns() if name not in taken)
    if not given["past"]:
        raise UsageError(f"{table.path} has no column of numbers to tell --label {label} by: wanted --past")
    targets = () if may_lack_label and label not in table.columns else (label,)
    given["categorical"] = (*(name for name in given["categorical"] if name != label), *targets)
    return Columns(targets, **given)


def seasons_of(config: Config, panel: Panel) -> tuple[int, ...]:
    """Steps of each season, the shortest first: as the config says, or the data set, or the time grid."""
    known = dataset(config)
    told = config.season or (known.season if known is not None else None)
    if told:
        return (told,)
    steps = max(one.train_end for one in panel.series)
    return seasons(panel.grid.seconds, panel.grid.period or panel.grid.frequency, steps)


def network(config: Config, panel: Panel, dtype: str = "float32") -> keras.Model:
    """The config's network for the windows of a panel, with the panel's scales in it."""
    layout = panel.layout

    def sizes(names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(len((layout.categories or {}).get(name, ())) for name in names)

    shape = Shape(
        *sizes_of(config), len(layout.targets), sizes(layout.past), sizes(layout.future),
        sizes(layout.static), len(panel.series), _cycles(panel) if config.calendar else (),
    )  # fmt: skip
    options = ("kind", "cell", "units", "layers", "segment", "dropout", "normalize", "seed")
    found, one = {name: getattr(config, name) for name in options}, head(config.head)
    locations = one.locations if config.linear and config.kind != "autoregressive" else ()
    network = forecaster(shape=shape, parameters=one.parameters, locations=locations, dtype=dtype, **found)
    _set_tables(network, panel)
    return network


def _cycles(panel: Panel) -> tuple[str, ...]:
    """The cycles of the calendar that can be learnt: of three steps or more, and seen twice in training."""
    if not has_times(panel):
        return ()
    longest = max(panel.series, key=lambda one: one.train_end)
    learnt = panel.times[longest.start : longest.start + max(longest.train_end, 2)]
    span, step = int(learnt[-1] - learnt[0]), float(np.median(np.diff(learnt[:1000])))
    return tuple(name for name, seconds in CYCLES.items() if 3 * step <= seconds and 2 * seconds <= span)


def _set_tables(network: keras.Model, panel: Panel) -> None:
    """Puts what was measured of the training part into the layers that scale."""
    layout, there = panel.layout, {layer.name for layer in network.layers}
    kinds = {"targets": layout.targets, "past_numbers": layout.past, "future_numbers": layout.future}
    for name, columns in kinds.items():
        places = [panel.column(column) for column in columns if not layout.is_categorical(column)]
        if places and name in there:  # not every kind of network reads every kind of column
            network.get_layer(name).set_tables(panel.center[:, places], panel.scale[:, places])
