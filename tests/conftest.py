"""What every test shares: TensorFlow on the processor, cheap programs, a process elsewhere, folders that are kept."""

from __future__ import annotations

import os

# Before anything imports TensorFlow, which reads them once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"

import pytest
from elsewhere import Elsewhere
from kept import Kept

pytest_plugins = ["tiers"]

# XLA compiles tiny programs that run once: what it spends on making them fast is lost, and their numbers are the same.
_CHEAP_XLA = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--full"):
        os.environ.setdefault("XLA_FLAGS", _CHEAP_XLA)


# Folders whose files take long come first, so that at the end no process is left alone with one; and what no other file
# waits for before two files that ask the same run.
_LONG = ("conformance", "captioning", "forecasting", "translation", "serving", "text_generation", "models")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: i for i, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.parent.name, len(_LONG)))


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> Kept:
    return Kept(request.config.cache)


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory):
    process = Elsewhere(tmp_path_factory.mktemp("elsewhere"))
    yield process
    process.end()


@pytest.fixture(scope="module")
def one_step_a_turn():
    """Loops over time with one step to a turn: the same numbers, and a fifth as much to trace."""
    from rnnapps.ops import time_loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_loop, "_STEPS_PER_TURN", 1)
        yield
