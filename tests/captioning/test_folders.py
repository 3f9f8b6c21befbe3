"""`predict --image DIR` finds the pictures that `train --images DIR` would learn, in folders in it too."""

from __future__ import annotations

import pytest

from rnnapps.captioning.answers import _paths
from rnnapps.errors import UsageError


def test_folders_in_a_folder_are_walked(tmp_path):
    names = ["b.jpg", "more/a.png", "more/deep/c.jpg", ".hidden.jpg", ".trash/d.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [path.relative_to(tmp_path).as_posix() for path in _paths([tmp_path])]
    assert found == ["b.jpg", "more/a.png", "more/deep/c.jpg"]
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no file"):
        _paths([tmp_path / "empty"])
