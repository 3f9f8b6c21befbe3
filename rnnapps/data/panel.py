"""Many series on one time grid, as files: made from tables in bounded memory, read window by window."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.data.date_formats import SECOND
from rnnapps.data.time_form import TimeForm
from rnnapps.data.time_grid import ROWS, TimeGrid
from rnnapps.errors import RunError

PARTS = ("train", "validation", "test")
_FORMAT = 1
_BLOCK = 1 << 18  # rows in memory at a time
UNSEEN = 0  # the code of a category that the training part does not hold


@dataclass(frozen=True)
class Layout:
    """The columns of a panel, in the order of its array.

    Attributes:
        targets, past, future: As in `Columns`; a categorical target is the label.
        static: The same in all rows of a series; kept once for each.
        categories: Names behind the codes 1, 2, ... of each categorical column; code 0 is a name never seen.
    """

    targets: tuple[str, ...]
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] | None = None

    @property
    def varying(self) -> tuple[str, ...]:
        """The columns that have a value at each step."""
        return (*self.targets, *self.past, *self.future)

    def is_categorical(self, name: str) -> bool:
        return name in (self.categories or {})

    def codes(self, name: str, values: Sequence[str | None]) -> np.ndarray:
        """The codes of names of a categorical column; 0 for one that was never seen, NaN for none."""
        known = {value: code for code, value in enumerate((self.categories or {})[name], 1)}
        return np.array([np.nan if v is None else known.get(v, UNSEEN) for v in values], np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layout:
        """What `to_dict` gave."""
        categories = {name: tuple(names) for name, names in (values["categories"] or {}).items()}
        columns = {name: tuple(values[name]) for name in ("targets", "past", "future", "static")}
        return cls(**columns, categories=categories)


@dataclass(frozen=True)
class Series:
    """One series of a panel.

    Attributes:
        name: Of the series; empty where there is only one, without a name.
        start: Its first row in the panel.
        length: Rows.
        train_end, validation_end: Where its parts end, counted from its own first row.
        end: Where its test part ends: after its last row with a target, so that rows which only say what is known ahead
            are in no part. None: with its last row.
    """

    name: str
    start: int
    length: int
    train_end: int = 0
    validation_end: int = 0
    end: int | None = None

    @property
    def observed(self) -> int:
        """Rows up to the last one with a target."""
        return self.length if self.end is None else self.end

    def part(self, name: str) -> tuple[int, int]:
        """First row and end of a part, counted from the series' own first row."""
        ends = (0, self.train_end, self.validation_end, self.observed)
        i = PARTS.index(name)
        return ends[i], ends[i + 1]


class Panel:
    """Series on disk: `values.npy` float32 (rows, columns), NaN where missing; `times.npy` int64 (rows,); `panel.json`.

    Attributes:
        folder: Where it is.
        layout: What the columns are.
        series: All series, in order of their rows.
        time_form: How the tables write times.
        grid: The steps between rows.
        values, times: Mapped from disk, read only. Times are whole seconds since 1970, or row numbers where rows have
            none.
        firsts: The time of each series' first row, in microseconds since 1970.
        static: `(series, static columns)` float32.
        center, scale: `(series, columns)` float32: mean and standard deviation in the training part; 0 and 1 for
            categories, and a scale of 1 for a constant.
        notes: What was found amiss in the tables, a sentence each.
    """

    def __init__(self, folder: Path, content: dict[str, Any]):
        self.folder = folder
        self.layout = Layout.from_dict(content["layout"])
        self.series = [Series(**one) for one in content["series"]]
        self.time_form = TimeForm.from_dict(content.get("time_form"))
        self.grid = TimeGrid(content["frequency"], self.time_form.zone)
        self.notes: list[str] = content["notes"]
        self.values = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
        self.times = np.load(folder / "times.npy", mmap_mode="r", allow_pickle=False)
        with np.load(folder / "statistics.npz", allow_pickle=False) as arrays:
            self.static, self.center, self.scale = arrays["static"], arrays["center"], arrays["scale"]
        self.firsts: list[int] = content.get("firsts") or [int(self.times[one.start]) * SECOND for one in self.series]
        rows = sum(one.length for one in self.series)
        if self.values.shape != (rows, len(self.layout.varying)) or self.times.shape != (rows,):
            raise ValueError(f"values.npy has shape {self.values.shape} for {rows} rows")

    @classmethod
    def open(cls, folder: Path) -> Panel:
        """Reads a panel that `write` made.

        Raises:
            RunError: It is missing or damaged.
        """
        try:
            content = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT:
                raise ValueError("it has the format of another version")
            return cls(folder, content)
        except FileNotFoundError as error:
            raise RunError(f"{folder} holds no whole panel: {error.filename} is missing") from None
        except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
            raise RunError(f"{folder} holds no readable panel ({error})") from error

    def stamps(self, series: int, steps: np.ndarray) -> np.ndarray:
        """The times, in microseconds since 1970, of steps counted from the first row of a series, which may lie outside
        of it; the numbers of rows where they have no times."""
        return self.grid.shifted(self.firsts[series], steps) if has_times(self) else steps

    def written(self, stamps: np.ndarray) -> list[Any]:
        """What `stamps` gives as a person reads it: text as the tables write times, or the numbers of rows."""
        return self.time_form.written(stamps) if has_times(self) else stamps.tolist()

    def column(self, name: str) -> int:
        """The place of a column among those that vary."""
        return self.layout.varying.index(name)


def write(
    folder: Path,
    layout: Layout,
    series: Sequence[Series],
    frequency: str,
    static: np.ndarray,
    notes: Sequence[str],
    time_form: TimeForm | None = None,
    firsts: Sequence[int] = (),
) -> Panel:
    """Completes a folder that holds `values.npy` and `times.npy`: measures each series' training part.

    Args:
        folder: The folder.
        layout: Of its columns. Categories must be those of the training part.
        series: With their parts.
        frequency: As in `TimeGrid`.
        static: `(series, static columns)`.
        notes: For a person.
        time_form, firsts: As in `Panel`.
    """
    values = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
    center, scale = (np.empty((len(series), values.shape[1]), np.float32) for _ in range(2))
    for i, one in enumerate(series):
        center[i], scale[i] = moments(values, [(one.start, one.start + one.train_end)])
    for j, name in enumerate(layout.varying):
        if layout.is_categorical(name):
            center[:, j], scale[:, j] = 0, 1
    np.savez(folder / "statistics.npz", static=static.astype(np.float32), center=center, scale=scale)
    content = {
        "format": _FORMAT, "layout": layout.to_dict(), "series": [asdict(one) for one in series],
        "frequency": frequency, "notes": list(notes), "time_form": (time_form or TimeForm()).to_dict(),
        "firsts": [int(first) for first in firsts],
    }  # fmt: skip
    (folder / "panel.json").write_text(json.dumps(content), encoding="utf-8")
    return Panel.open(folder)


def cut(series: Series, validation_fraction: float, test_fraction: float) -> Series:
    """The series with its parts: the last of its rows with a target for testing, those before for validation, the rest
    to learn."""
    rows = series.observed
    test, validation = round(rows * test_fraction), round(rows * validation_fraction)
    return replace(series, train_end=rows - test - validation, validation_end=rows - test)


def deal(
    series: Sequence[Series], labels: Sequence[str | None], validation_fraction: float, test_fraction: float, seed: int
) -> list[Series]:
    """The series with each whole in one part: of each class, about the same shares, by lot."""
    found, rng = list(series), np.random.default_rng(seed)
    for label in sorted(set(labels), key=str):
        own = rng.permutation([i for i, other in enumerate(labels) if other == label])
        test = round(len(own) * test_fraction)
        held_out = test + round(len(own) * validation_fraction)
        for place, i in enumerate(own.tolist()):
            length = found[i].observed
            train_end, validation_end = length if place >= held_out else 0, length if place >= test else 0
            found[i] = replace(found[i], train_end=train_end, validation_end=validation_end)
    return found


def moments(values: np.ndarray, rows: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over ranges of rows, without what is missing, in two passes; a
    deviation of 1 for a constant."""
    columns = values.shape[1]
    blocks = [(start, min(start + _BLOCK, end)) for first, end in rows for start in range(first, end, _BLOCK)]

    def sums(function: Any) -> np.ndarray:
        total = np.zeros((2, columns))
        for start, end in blocks:
            block = values[start:end].astype(np.float64)
            there = ~np.isnan(block)
            total += np.where(there, function(np.where(there, block, 0.0)), 0.0).sum(0), there.sum(0)
        return total[0] / np.maximum(total[1], 1)

    mean = sums(lambda block: block)
    deviation = np.sqrt(sums(lambda block: np.square(block - mean)))
    # Rounding leaves a little of a constant.
    constant = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    return mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32)


def row_times(length: int) -> np.ndarray:
    """What stands for times where rows have none."""
    return np.arange(length, dtype=np.int64)


def has_values(panel: Panel, part: str) -> bool:
    """Whether a part of any series has a value of any target."""
    rows = ((one.start + first, one.start + end) for one in panel.series for first, end in [one.part(part)])
    return any(not np.isnan(panel.values[a:b, : len(panel.layout.targets)]).all() for a, b in rows if a < b)


def has_times(panel: Panel) -> bool:
    """Whether rows have times, and so a calendar."""
    return panel.grid.frequency != ROWS
