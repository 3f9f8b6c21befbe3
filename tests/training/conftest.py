"""A run of text generation that the tests of this folder may copy."""

import shutil
from pathlib import Path

import pytest
import text_runs
from text_runs import cheap_verbs  # noqa: F401


@pytest.fixture(scope="session")
def text_run(kept) -> Path:
    """Not to be changed."""
    return text_runs.other_run_of(kept)


@pytest.fixture
def own_run(text_run, tmp_path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(text_run, tmp_path / "own"))
