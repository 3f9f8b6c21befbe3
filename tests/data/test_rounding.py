"""Counters that float32 cannot count: refused where they are to be forecast, told where they are covariates."""

import numpy as np
import pytest

from rnnapps.data.gather import prepare
from rnnapps.data.table import Columns, Table
from rnnapps.errors import UsageError


def panel_of(folder, counter, columns):
    """With the rows of two series in turns."""
    lines = [f"{name},{a:.1f},{b}" for b, a in enumerate(counter) for name in "uv"]
    (folder / "x.csv").write_text("s,a,b\n" + "\n".join(lines) + "\n")
    (folder / "panel").mkdir()
    return prepare([Table(folder / "x.csv")], columns, folder / "panel", "rows")


@pytest.mark.parametrize("base", [48_123_456.7, -48_123_456.7])
def test_a_counter_whose_steps_are_lost_is_refused(tmp_path, base):
    sentence = (
        "column 'a' has steps of 0.5 at values of 48,123,4..?, of which float32 keeps multiples of 4: wanted its "
    )
    with pytest.raises(UsageError, match=sentence):
        panel_of(tmp_path, base + 0.5 * np.arange(50), Columns(("a",), series="s"))


def test_a_covariate_is_told(tmp_path):
    found = panel_of(tmp_path, 48_123_456.7 + 0.5 * np.arange(50), Columns(("b",), series="s", past=("a",)))
    (note,) = found.notes
    assert note.startswith("column 'a' has steps of 0.5 at values of")


@pytest.mark.parametrize(
    "values",
    [1234.5 + 0.5 * np.arange(50), 1.7e9 + 3600.0 * np.arange(50), np.full(50, 48_123_456.7), 1e9 * np.ones(50),
     np.where(np.arange(50) % 9, 16_777_217.0, np.nan), 2e6 + np.arange(50) / 2],
)  # fmt: skip
def test_what_float32_keeps_says_nothing(tmp_path, values):
    """Also a constant, which has no step to lose."""
    assert not panel_of(tmp_path, values, Columns(("a",), series="s")).notes
