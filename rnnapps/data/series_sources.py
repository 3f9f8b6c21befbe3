"""Where series come from: tables that an installed package carries, benchmark tables, or the user's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnapps.data.table import Columns, Table
from rnnapps.errors import UsageError

DEFAULT_DATASET = "seattle_weather"


@dataclass(frozen=True)
class Dataset:
    """A table that has a name.

    Attributes:
        description: For a person.
        columns: What its columns are.
        file: Of the package vega_datasets, which carries it; empty for what is downloaded.
        frequency: Of its steps; None: as its times say.
        validation_fraction, test_fraction: The usual split.
        season: Steps of a season, where the times do not say.
        missing: What stands for a missing value.
        options: Of `pandas.read_csv`.
    """

    description: str
    columns: Columns
    file: str = ""
    frequency: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    season: int | None = None
    missing: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


_ETT = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
_WEATHER = (
    "p (mbar)", "T (degC)", "Tpot (K)", "Tdew (degC)", "rh (%)", "VPmax (mbar)", "VPact (mbar)", "VPdef (mbar)",
    "sh (g/kg)", "H2OC (mmol/mol)", "rho (g/m3)", "wv (m/s)", "max. wv (m/s)", "wd (deg)", "rain (mm)", "raining (s)",
    "SWDR", "PAR", "max. PAR", "Tlog (degC)", "OT",
)  # fmt: skip
# In the order of Lai et al., 2018, https://arxiv.org/abs/1703.07015; the file has no header and no dates.
_CURRENCIES = (
    "Australia", "United Kingdom", "Canada", "Switzerland", "China", "Japan", "New Zealand", "Singapore",
)  # fmt: skip


def _ett(name: str) -> Dataset:
    # The 12, 4 and 4 months of Zhou et al., 2021 (https://arxiv.org/abs/2012.07436); what follows them is not used.
    return Dataset(
        f"{name}: an electricity transformer, hourly, 2016 to 2018 (download, or --source DIR)",
        Columns(_ETT, ("date",)),
        validation_fraction=0.2,
        test_fraction=0.2,
        options={"nrows": 14_400},
    )


DATASETS: dict[str, Dataset] = {
    "seattle_temperatures": Dataset(
        "temperature in Seattle, hourly, 2010 (needs no network)", Columns(("temp",), ("date",)), "seattle-temps.csv"
    ),
    "seattle_weather": Dataset(
        "weather in Seattle, daily, 2012 to 2015 (needs no network)",
        Columns(
            ("temp_max", "temp_min"),
            ("date",),
            past=("precipitation", "wind", "weather"),
            categorical=("weather",),
        ),
        "seattle-weather.csv",
    ),
    "stocks": Dataset(
        "prices of five stocks, monthly, 2000 to 2010 (needs no network)",
        Columns(("price",), ("date",), "symbol"),
        "stocks.csv",
        frequency="MS",
    ),
    "etth1": _ett("ETTh1"),
    "etth2": _ett("ETTh2"),
    "jena_weather": Dataset(
        "weather in Jena, every 10 minutes, 2020 (download, or --source DIR)",
        Columns(_WEATHER),
        season=144,
        missing=("-9999", "-9999.0"),
        options={"header": None, "names": list(_WEATHER)},
    ),
    "beijing_pm25": Dataset(
        "air and weather in Beijing, hourly, 2010 to 2014 (download, or --source DIR)",
        Columns(
            ("pm2.5",),
            ("year", "month", "day", "hour"),
            past=("DEWP", "TEMP", "PRES", "Iws", "Is", "Ir", "cbwd"),
            categorical=("cbwd",),
        ),
    ),
    "exchange_rate": Dataset(
        "eight currencies in dollars, daily, 1990 to 2016 (download, or --source DIR)",
        Columns(_CURRENCIES),
        options={"header": None, "names": list(_CURRENCIES)},
    ),
    "ecg5000": Dataset(
        "ECG5000: the classes of 500 heartbeats, --history 140 (download, or --source DIR)",
        Columns(("class",), series="heartbeat", past=("value",), categorical=("class",)),
        frequency="rows",
        validation_fraction=0.2,
        test_fraction=0.2,
    ),
    "mitdb_beats": Dataset(
        "MIT-BIH record 100: the kinds of its heartbeats, --history 256 (download, or --source DIR)",
        Columns(("beat",), past=("MLII", "V5"), categorical=("beat",)),
        frequency="rows",
        validation_fraction=0.2,
        test_fraction=0.2,
    ),
    "mitdb_heart_rate": Dataset(
        "MIT-BIH record 100: beats per minute, from beat to beat (download, or --source DIR)",
        Columns(("heart_rate",)),
        frequency="rows",
    ),
}  # fmt: skip


def tables(
    dataset: str | None = None,
    source: Path | None = None,
    csv: Sequence[Path] = (),
    data_dir: Path | None = None,
    scratch: Path | None = None,
    missing: Sequence[str] = (),
    **pandas_options: Any,
) -> list[Table]:
    """The tables of a named data set, or of the user's files.

    Args:
        dataset: A key of `DATASETS`; None for `csv`, or for the default if there is no `csv`.
        source: Folder that holds a local copy of the data set, or the file itself. None: download.
        csv: The user's files.
        data_dir: Where a benchmark data set is prepared. None: TFDS's own folder.
        scratch: Folder for a copy of a benchmark table as a file.
        missing: What stands for a missing value in the user's files.
        pandas_options: Of `pandas.read_csv`, for the user's files.

    Raises:
        UsageError: Unknown data set, options that exclude each other, a file that is missing or empty.
        RunError: The data set could not be made ready.
    """
    if csv:
        if dataset is not None or source is not None:
            given = f"--source {source}" if dataset is None else f"--dataset {dataset}"
            raise UsageError(f"--csv names the user's own files and goes without {given}")
        return [Table(Path(path), missing, **pandas_options) for path in csv]
    dataset = DEFAULT_DATASET if dataset is None else dataset
    if dataset not in DATASETS:
        raise UsageError(f"--dataset must be one of {', '.join(DATASETS)}, not {dataset!r}")
    known = DATASETS[dataset]
    if known.file and source is not None:
        raise UsageError(f"--source {source} does not go with {dataset}, which is installed already")
    path = _carried(known.file) if known.file else _benchmark(dataset, source, data_dir, scratch or Path())
    return [Table(path, known.missing, **known.options)]


def _carried(name: str) -> Path:
    import vega_datasets  # Only now: it imports all of its parts.

    return Path(vega_datasets.__file__).parent / "_data" / name


def _benchmark(dataset: str, source: Path | None, data_dir: Path | None, scratch: Path) -> Path:
    from rnnapps.data import builders  # Only now: importing TFDS takes a while, and the other sources do without.

    builder = builders.prepare(dataset, None if source is None else Path(source), data_dir)
    path = scratch / f"{dataset}.csv"
    with path.open("wb") as file:
        file.writelines(builders.read(builder))
    return path
