"""Differences, drafts and missing packages: what needs no run time."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from rnnapps.errors import RunError, UsageError
from rnnapps.portable.convert import FORMATS, convert_export, difference
from rnnapps.portable.draft import draft


def test_a_difference_is_a_part_of_the_largest_number():
    wanted = np.array([1.0, -4.0, np.nan])
    assert difference(np.array([1.5, -4.0, np.nan]), wanted) == 0.125
    assert difference(wanted, wanted) == 0
    assert difference(np.array([1.0, np.nan, -4.0]), wanted) == difference(wanted[:2], wanted) == np.inf
    assert difference(np.array([True, False]), np.array([True, True])) == 1
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0


@pytest.mark.parametrize("form", FORMATS)
def test_a_missing_package_is_said_before_the_work(text_export, form, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"wants the extra: pip install 'rnnapps\[portable\]' \(\w+ is missing\)"):
        convert_export(text_export, tmp_path / "out", form, "float32", ())
    assert not list(tmp_path.iterdir())


def test_a_draft_is_all_or_nothing(tmp_path):
    output = tmp_path / "a" / "b"
    with draft(output) as folder:
        (folder / "one").write_text("new")
        assert not output.exists()
    assert (output / "one").read_text() == "new"
    with pytest.raises(ZeroDivisionError), draft(output) as folder:
        (folder / "one").write_text("newer")
        raise ZeroDivisionError
    assert (output / "one").read_text() == "new" and [path.name for path in output.parent.iterdir()] == ["b"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file/out cannot be written"), draft(tmp_path / "file" / "out"):
        pass
