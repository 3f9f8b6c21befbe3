"""Small exports that the tests of this folder share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import small_exports
from cpp_process import one_cpp_process  # noqa: F401  # a fixture

from rnnapps.portable.text import TextCore

# Test files are not a package; this lets those of this folder share `portable_exports`.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def text_export(kept):
    """A text model of two LSTM layers, `.../text/1`."""
    return small_exports.folder(kept, "text")


@pytest.fixture(scope="session")
def text(text_export):
    """Its core."""
    return TextCore.load(text_export)


@pytest.fixture(scope="session")
def series_export(kept):
    """A forecaster by segments that scales each window by its last value, `.../segments/1`."""
    return small_exports.folder(kept, "segments")
