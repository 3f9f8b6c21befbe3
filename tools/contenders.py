"""Fair timing of several ways to do one piece of work: they take turns, and medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: For the table.
        setup: Called once, before all rounds: compiles and warms up.
        run: Does the work once.
        work: How much work a run does, in the unit of the table's rate.
    """

    name: str
    setup: Callable[[], object]
    run: Callable[[], object]
    work: float = 1.0


@dataclass(frozen=True)
class Result:
    """What was measured of a contender, in seconds; `rate` is work per second at the median."""

    name: str
    setup_seconds: float
    seconds: tuple[float, ...]
    median_seconds: float
    rate: float


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    warm: int = 0,
    check: Callable[[], object] | None = None,
) -> list[Result]:
    """Sets all contenders up, then lets each run once a round, in their order.

    Args:
        contenders: At least one, with different names.
        rounds: Measured runs of each.
        clock: Seconds since some moment.
        warm: Runs of a contender right before each measured one. The threads of one library go on spinning for a
            moment after its run, and take time from whoever comes next: with 0 that is a rival, with 1 the contender
            itself.
        check: Called between the last set-up and the first round; raises where contenders do not do the same.

    Raises:
        ValueError: `rounds` is below 1, `warm` is below 0, or a name is there twice.
    """
    names = [contender.name for contender in contenders]
    if rounds < 1 or warm < 0 or not names or len(set(names)) < len(names):
        got = f"{rounds} rounds of {names}, {warm} warm"
        raise ValueError(f"got {got}: wanted at least one round, and different names")

    def timed(action: Callable[[], object]) -> float:
        start = clock()
        action()
        return clock() - start

    def turn(contender: Contender) -> float:
        for _ in range(warm):
            contender.run()
        return timed(contender.run)

    setups = [timed(contender.setup) for contender in contenders]
    if check is not None:
        check()
    turns = [[turn(contender) for contender in contenders] for _ in range(rounds)]
    results = []
    for contender, setup, seconds in zip(contenders, setups, zip(*turns, strict=True), strict=True):
        median = statistics.median(seconds)
        results.append(Result(contender.name, setup, seconds, median, contender.work / median))
    return results
