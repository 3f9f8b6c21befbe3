"""Small exports that the tests of this folder share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test files are not a package; this lets those of this folder share `portable_exports`.
sys.path.append(str(Path(__file__).parent))

from portable_exports import SYMBOLS, export_series, export_text

from rnnapps.data.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def text_export(tmp_path_factory):
    """A text model of two LSTM layers, `.../tiny/1`."""
    return export_text(tmp_path_factory.mktemp("models"), Vocabulary("char", SYMBOLS))


@pytest.fixture(scope="session")
def series_export(tmp_path_factory):
    """A forecaster by segments that scales each window by its last value, `.../segment/1`."""
    return export_series(tmp_path_factory.mktemp("models"), normalize="last")
