"""A trained text generator and its export, which the benchmark reads."""

from pathlib import Path

import pytest
import text_runs


@pytest.fixture(scope="session")
def text_run(kept) -> Path:
    return text_runs.run_of(kept)


@pytest.fixture(scope="session")
def text_export(kept) -> Path:
    return text_runs.export_of(kept)
