"""A panel and a network, as a config says."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from rnnapps.data import gather
from rnnapps.data.panel import Panel, has_times
from rnnapps.data.series_sources import DATASETS, DEFAULT_DATASET, Dataset, tables
from rnnapps.data.table import Columns, Table
from rnnapps.forecasting.config import Config
from rnnapps.layers.windows import CYCLES
from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.ops.heads import head

DATA = "panel"


def learnt(config: Config) -> str:
    """The name of what a config learns."""
    return config.csv[0].name if config.csv else config.dataset or DEFAULT_DATASET


def dataset(config: Config) -> Dataset | None:
    """The named data set that a config means, if it means one; an unknown name is told later."""
    return None if config.csv else DATASETS.get(config.dataset or DEFAULT_DATASET)


def prepare(config: Config, scratch: Path) -> Panel:
    """The series of a config as a panel in a new folder under `scratch`."""
    found = tables(
        config.dataset, config.source, config.csv, scratch / "data" if config.source else config.data_dir, scratch,
        config.missing,
    )  # fmt: skip
    known, folder = dataset(config), scratch / DATA
    folder.mkdir()
    frequency = config.frequency or (known.frequency if known else None)
    assert config.validation_fraction is not None and config.test_fraction is not None
    return gather.prepare(
        found, columns(config, known, found[0]), folder, frequency, config.validation_fraction, config.test_fraction
    )


def columns(config: Config, known: Dataset | None, table: Table) -> Columns:
    """The options' columns; where an option says nothing, those of the data set."""
    roles = ("time", "series", "past", "future", "static", "categorical")
    given: dict[str, Any] = {name: getattr(config, name) for name in roles}
    if known is not None:
        given = {name: value or getattr(known.columns, name) for name, value in given.items()}
        return Columns(config.target or known.columns.targets, **given)
    if not given["time"] and config.frequency != "rows":
        given["time"] = table.time_columns()
    return Columns(config.target, **given)


def network(config: Config, panel: Panel, dtype: str = "float32") -> keras.Model:
    """The config's network for the windows of a panel, with the panel's scales in it."""
    layout = panel.layout

    def sizes(names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(len((layout.categories or {}).get(name, ())) for name in names)

    shape = Shape(
        config.history, config.horizon, len(layout.targets), sizes(layout.past), sizes(layout.future),
        sizes(layout.static), len(panel.series), _cycles(panel) if config.calendar else (),
    )  # fmt: skip
    options = ("kind", "cell", "units", "layers", "segment", "dropout", "normalize", "seed")
    found = {name: getattr(config, name) for name in options}
    network = forecaster(shape=shape, parameters=head(config.head).parameters, dtype=dtype, **found)
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
    layout = panel.layout
    kinds = {"targets": layout.targets, "past_numbers": layout.past, "future_numbers": layout.future}
    for name, columns in kinds.items():
        places = [panel.column(column) for column in columns if not layout.is_categorical(column)]
        if places:
            network.get_layer(name).set_tables(panel.center[:, places], panel.scale[:, places])
