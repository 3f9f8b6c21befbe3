"""What the verb `tune` searches: options with the values that they may take."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from rnnapps.config import check_range, known, option, plain_type, read_value
from rnnapps.errors import UsageError

_NEVER = ("preset", "run", "resume", "overwrite", "best", "strategy", "space", "search", "trials", "search_seed")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        is_whole: Whether only whole ones.
        by_factors: Whether each factor is as likely as the next, and not each difference.
    """

    low: float
    high: float
    is_whole: bool
    by_factors: bool


@dataclass(frozen=True)
class SearchOptions:
    """What the options of `tune` have beside those of `train`; to be the first base of a class that has both."""

    space: tuple[str, ...] = ()
    """What to search, as OPTION=VALUES: choices as in units=64,128, or a range as in learning_rate=1e-4..1e-2."""
    trials: int = 10
    """Runs to train; with --resume those of before count."""
    search: Literal["random", "bayesian"] = "random"
    """How the next values are chosen: by chance, or by what the runs before had."""
    search_seed: int = 0
    """Seed of that choice."""

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        check_range(self, "trials", 1)
        check_range(self, "search_seed", 0, 2**31 - 1)
        parsed(type(self), self.space)


def parsed(cls: Any, space: tuple[str, ...]) -> dict[str, Range | tuple[Any, ...]]:
    """The values that each option of `--space` may take, by its name.

    Args:
        cls: The dataclass whose options they are.
        space: As given.

    Raises:
        UsageError: An option is not known, is given twice, or has values that it does not accept.
    """
    fields = [field.name for field in dataclasses.fields(cls) if field.name not in _NEVER]
    found: dict[str, Range | tuple[Any, ...]] = {}
    for part in space:
        spelling, equals, text = part.partition("=")
        name = spelling.strip().lstrip("-").replace("-", "_")
        if not equals or not text:
            raise UsageError(f"--space {part}: wanted OPTION=VALUES, as in units=64,128 or learning_rate=1e-4..1e-2")
        if name not in fields:
            raise UsageError(f"--space {part}: no option {option(name)} that can be searched, {known(fields, name)}")
        if name in found:
            raise UsageError(f"--space {part}: {option(name)} was given twice")
        found[name] = _range(cls, name, text) if ".." in text else _choices(cls, name, text)
    return found


def _choices(cls: Any, name: str, text: str) -> tuple[Any, ...]:
    values = tuple(read_value(cls, name, one.strip()) for one in text.split(","))
    if len(set(values)) < len(values):
        raise UsageError(f"--space {name}={text}: a value stands there twice")
    return values


def _range(cls: Any, name: str, text: str) -> Range:
    kind = plain_type(cls, name)
    if kind not in (int, float):
        raise UsageError(f"--space {name}={text}: a range is for numbers, wanted choices as in {name}=A,B")
    low, high = (read_value(cls, name, one.strip()) for one in text.split("..", 1))
    if low is None or high is None or not low < high:
        raise UsageError(f"--space {name}={text}: wanted LOW..HIGH with LOW below HIGH")
    return Range(low, high, kind is int, by_factors=kind is float and low > 0)
