"""What every test shares: a quiet TensorFlow on the processor, and long tests only in part unless asked for."""

from __future__ import annotations

import os
import time
import zlib

# Before anything imports TensorFlow, which reads them once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"
# The day, for `rotating`: the processes that share the tests must agree, also at midnight.
os.environ.setdefault("RNNAPPS_TEST_DAY", str(int(time.time() // 86_400)))

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, and all marked rotating")


# Folders whose files take minutes: they come first, so that at the end no process is left alone with one.
_LONG = ("captioning", "translation", "conformance", "forecasting", "text_generation", "serving", "models")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in _LONG)
    if config.getoption("--slow") or config.getoption("-m"):
        return
    left_out = [item for item in items if item.get_closest_marker("slow") or _is_of_another_day(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_of_another_day(item: pytest.Item) -> bool:
    if not item.get_closest_marker("rotating"):
        return False
    return (zlib.crc32(item.nodeid.encode()) + int(os.environ["RNNAPPS_TEST_DAY"])) % 4 != 0


@pytest.fixture(scope="module")
def one_step_a_turn():
    """Loops over time with one step to a turn: the same numbers, and a fifth as much to trace."""
    from rnnapps.ops import time_loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_loop, "_STEPS_PER_TURN", 1)
        yield
