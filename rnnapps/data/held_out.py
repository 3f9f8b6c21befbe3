"""Parts of what is learnt; and a hash of each item's text by which it is always in the same part."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

PARTS = ("train", "validation", "test")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Splits(Generic[Item]):
    """Three parts of items.

    Attributes:
        train, validation, test: What gives the items of the part, from the start at every call, one at a time.
        notes: What was found amiss, a sentence each.
        names: What to call a part that is not what its name says, such as a test part that is not whole.
    """

    train: Callable[[], Iterator[Item]]
    validation: Callable[[], Iterator[Item]]
    test: Callable[[], Iterator[Item]]
    notes: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, parts: Mapping[str, Callable[[], Iterator[Item]]], notes: list[str], names: dict[str, str] | None = None
    ) -> Splits[Item]:
        return cls(parts["train"], parts["validation"], parts["test"], notes, names or {})

    def __getitem__(self, part: str) -> Callable[[], Iterator[Item]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]


def number(text: str) -> int:
    """A number of eight bytes from a text, whatever its capitals and spaces."""
    plain = " ".join(text.lower().split())
    return int.from_bytes(hashlib.blake2b(plain.encode("utf-8"), digest_size=8).digest())


class Smallest:
    """The smallest of the numbers that were added, with how often each was.

    Args:
        capacity: Of different numbers that are kept.
    """

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._counts: dict[int, int] = {}
        self._heap: list[int] = []  # of their negatives

    def add(self, number: int) -> None:
        if number in self._counts:
            self._counts[number] += 1
        elif len(self._heap) < self._capacity:
            heapq.heappush(self._heap, -number)
            self._counts[number] = 1
        elif self._capacity and number < -self._heap[0]:
            del self._counts[-heapq.heappushpop(self._heap, -number)]
            self._counts[number] = 1

    def counts(self) -> Iterator[tuple[int, int]]:
        """The numbers in rising order, each with its count."""
        return iter(sorted(self._counts.items()))


def number_ranges(
    held_out: Smallest, total: int, fractions: Mapping[str, float], most: int
) -> tuple[dict[str, tuple[int, int]], int]:
    """The numbers of each part: a part that is cut off has the smallest that are left, training has the rest.

    Args:
        held_out: The smallest numbers of the items, `most` for each part that is cut off.
        total: Count of all items.
        fractions: From a part that is cut off, in order, to its fraction of the items: at least one number, unless 0.
        most: About as many items as a part that is cut off has at most.

    Returns:
        From each of `PARTS` to its lowest number and the one behind its highest, and the count of items for training.
    """
    ranges = dict.fromkeys(PARTS, (0, 0))
    low, left, smallest = 0, total, held_out.counts()
    for part, fraction in fractions.items():
        wanted = min(most, max(round(fraction * total), fraction > 0))
        high, count = low, 0
        while count < wanted and (found := next(smallest, None)):
            high, count = found[0] + 1, count + found[1]
        ranges[part], low, left = (low, high), high, left - count
    ranges["train"] = (low, 1 << 64)
    return ranges, left
