"""Two tiers of tests, and the rule that keeps the first one quick; a plugin of pytest.

`pytest` runs the quick tier: every contract once, each test within `TEST_LIMIT`. `pytest --full` runs all, also what
is marked `full`. What a test costs is the CPU time of its process and that process's children, since wall time depends
on what else the machine does. A fixture of many tests (a trained run that they ask) is on no test's account, but on the
tier's. Where cores are slower than those that the limits were made for, the limits grow by as much.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
import pytest

TEST_LIMIT = 2.0  # CPU seconds of a quick test
# What exceeds a limit by less is named and fails nothing: processes that share a core slow each other.
TOLERANCE, TIER_TOLERANCE = 1.75, 1.25
TIER_LIMIT = 570.0  # CPU seconds of the quick tier in all its processes: what two cores do in less than five minutes
MEMORY_LIMIT = 2048  # MiB of a process
COULD_BE_QUICK = 0.3  # CPU seconds: tests of the full tier that take less are named
REFERENCE = 0.1  # CPU seconds of `_calibrate` on the machine of the limits (EPYC, Zen 4, both cores at work)
SHOWN = 10
MUCH_GARBAGE = 10_000  # objects
GARBAGE = (10_000, 20, 20)  # Python looks for it a tenth as often as it would: a network is many objects that stay


@dataclass
class Process:
    """What a process that ran tests tells at its end."""

    slowness: float
    cpu: float
    memory: int


@dataclass
class Account:
    """CPU seconds by test, and what is known of the processes; kept where the results come together."""

    full: bool
    tests: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    marked: set[str] = field(default_factory=set)
    processes: list[Process] = field(default_factory=list)

    @property
    def slowness(self) -> float:
        """How much slower cores are than those of the limits; at least 1."""
        return max([1.0, *(process.slowness for process in self.processes)])

    @property
    def dearest(self) -> list[tuple[str, float]]:
        return sorted(self.tests.items(), key=lambda item: -item[1])

    def breaches(self) -> list[str]:
        """A sentence for each limit that is exceeded by more than may be chance."""
        limit = TEST_LIMIT * self.slowness
        found = [
            f"{name} took {cpu:.1f} CPU seconds, wanted at most {limit:.1f}: make it smaller, or mark it full"
            for name, cpu in self.over()
            if cpu > limit * TOLERANCE
        ]
        if self.full:
            return found
        total, wanted = sum(process.cpu for process in self.processes), TIER_LIMIT * self.slowness
        if total > wanted * TIER_TOLERANCE:
            found.append(f"the quick tier took {total:.0f} CPU seconds, wanted at most {wanted:.0f}")
        for process in self.processes:
            if process.memory > MEMORY_LIMIT * TIER_TOLERANCE:
                found.append(f"a process grew to {process.memory} MiB, wanted at most {MEMORY_LIMIT}")
        return found

    def over(self) -> list[tuple[str, float]]:
        """Quick tests above the limit."""
        limit = TEST_LIMIT * self.slowness
        return [(name, cpu) for name, cpu in self.dearest if cpu > limit and name not in self.marked]

    def could_be_quick(self) -> list[str]:
        return sorted(name for name in self.marked if self.tests[name] < COULD_BE_QUICK * self.slowness)


class Meter:
    """CPU time of this process and of its children, dead ones included; and what fixtures of many tests took of it."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.last = self.shared = 0.0
        self.depth = self.memory = 0
        self.slowness = 1.0

    def now(self) -> float:
        total = _seconds(self.process)
        for child in self.process.children(recursive=True):
            try:
                total += _seconds(child)
            except psutil.Error:  # it ended just now, and whoever waited for it counts it
                continue
        return total

    def lap(self) -> float:
        """CPU seconds since the last lap, without the fixtures of many tests."""
        now = self.now()
        cost, self.last, self.shared = now - self.last - self.shared, now, 0.0
        self.memory = max(self.memory, self.process.memory_info().rss >> 20)
        return cost


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _calibrate() -> float:
    """CPU seconds of a fixed work of the kind that most tests do: TensorFlow traces a function and runs it."""
    import tensorflow as tf

    def work(x: Any) -> Any:
        for _ in range(100):
            x = tf.tanh(x) * 2.0
        return x

    laps = []
    for _ in range(4):
        start = time.process_time()
        tf.function(work, autograph=False)(tf.ones(3))
        laps.append(time.process_time() - start)
    return min(laps)


_ACCOUNT = pytest.StashKey[Account]()
_METER = pytest.StashKey[Meter]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run every test, also those marked full")


def pytest_configure(config: pytest.Config) -> None:
    account = config.stash[_ACCOUNT] = Account(config.getoption("--full"))
    config.stash[_METER] = Meter()
    config.pluginmanager.register(_Reporter(account))
    gc.disable()  # while all is imported, of which nothing is garbage


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full") or config.getoption("-m"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


# === In a process that runs tests ===


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    config = session.config
    if getattr(config.option, "numprocesses", None):  # the workers of xdist run them
        return (yield)
    slowness = _calibrate() / REFERENCE if session.items else 1.0
    if not gc.get_freeze_count():
        gc.freeze()  # what is imported stays, and need not be looked through again and again
    gc.set_threshold(*GARBAGE)
    gc.enable()
    meter = config.stash[_METER]
    meter.lap()
    result = yield
    process = Process(slowness, meter.now(), meter.memory)
    config.stash[_ACCOUNT].processes.append(process)
    if hasattr(config, "workeroutput"):
        config.workeroutput["process"] = asdict(process)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    result = yield
    if nextitem is None or nextitem.path != item.path:
        _forget(item)
        item.config.stash[_METER].lap()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    if fixturedef.scope in ("function", "class"):
        return (yield)
    meter = request.config.stash[_METER]
    before = meter.now()
    meter.depth += 1
    try:
        return (yield)
    finally:
        meter.depth -= 1
        if not meter.depth:  # else it counts as a part of the one that asked for it
            meter.shared += meter.now() - before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    report.cpu = item.config.stash[_METER].lap() if report.when == "teardown" else 0.0
    report.full = item.get_closest_marker("full") is not None
    return report


def _forget(item: pytest.Item) -> None:
    """Lets go of what the tests of a file traced and compiled."""
    for value in vars(item.module).values():  # type: ignore[attr-defined]
        if isinstance(value, functools._lru_cache_wrapper):
            value.cache_clear()
    if "tensorflow" in sys.modules:
        from rnnapps.ops import execution

        execution.forget_traced()
    while gc.collect() > MUCH_GARBAGE:  # what is freed frees graphs, in turn
        pass
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


# === Where the results come together ===


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    told = getattr(node, "workeroutput", {}).get("process")
    if told:
        node.config.stash[_ACCOUNT].processes.append(Process(**told))


class _Reporter:
    """Adds up what the reports tell."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.account.tests[report.nodeid] += getattr(report, "cpu", 0.0)  # a worker that crashed tells nothing
        if getattr(report, "full", False):
            self.account.marked.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and session.exitstatus == pytest.ExitCode.OK and session.config.stash[_ACCOUNT].breaches():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    account = config.stash[_ACCOUNT]
    if not account.processes:
        return
    terminalreporter.section("what the tests cost")
    for name, cpu in account.dearest[:SHOWN]:
        terminalreporter.line(f"{cpu:6.2f} CPU s  {name}")
    cheap = account.could_be_quick()
    for name in cheap[:SHOWN]:
        terminalreporter.line(f"could be quick: {name}")
    if len(cheap) > SHOWN:
        terminalreporter.line(f"could be quick: {len(cheap) - SHOWN} more")
    total, memory = (sum(p.cpu for p in account.processes), max(p.memory for p in account.processes))
    terminalreporter.line(
        f"{len(account.tests)} tests, {total:.0f} CPU seconds, at most {memory} MiB a process; "
        f"limits for cores {account.slowness:.2f} times as slow as those they were made for"
    )
    for name, cpu in account.over():
        terminalreporter.line(f"over {TEST_LIMIT:g}: {cpu:.1f} CPU s  {name}")
    for breach in account.breaches():
        terminalreporter.line(f"TOO DEAR: {breach}", red=True)
