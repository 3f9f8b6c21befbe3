"""What a run is judged by, and how it is written for a person."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A loss, as it is called.

    Attributes:
        name: In the run's log, where the validation figure is `validation_<name>`.
        counted: What the throughput counts: "char", "window".
        label: Of an axis.
        higher_is_better: Whether a larger value is the better one.
    """

    name: str
    counted: str
    label: str
    higher_is_better: bool = False

    def is_better(self, value: float, than: float) -> bool:
        """Whether one value is better than another."""
        return value > than if self.higher_is_better else value < than

    def text(self, value: float, digits: int = 3) -> str:
        """The value as a person reads it."""
        return f"{self.name} {value:.{digits}f}"


@dataclass(frozen=True)
class Nats(Metric):
    """Cross-entropy a token, in nats and bits; `counted` is the kind of token."""

    name: str = "nats"
    counted: str = "char"
    label: str = "nats per token"

    def text(self, value: float, digits: int = 3) -> str:
        return f"{value:.{digits}f} nats/{self.counted} ({value / math.log(2):.{digits}f} bits)"
