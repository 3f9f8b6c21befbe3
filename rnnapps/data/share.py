"""Batches that several readers share: each reads rows of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """The rows of each batch that one of several readers reads; all of them, where there is one.

    Attributes:
        number: Of the reader, from 0.
        of: Readers.
    """

    number: int = 0
    of: int = 1

    def rows(self, count: int) -> slice:
        """Those of a batch of `count` rows; there may be none, where it has fewer rows than there are readers."""
        return slice(count * self.number // self.of, count * (self.number + 1) // self.of)


ALL_ROWS = Share()
