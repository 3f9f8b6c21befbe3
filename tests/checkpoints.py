"""What the tests of resuming share."""

import numpy as np


def assert_same(run, other_run):
    """Two runs' last checkpoints hold the same numbers, bit for bit; their clocks may differ."""
    one, other = (np.load(folder / "checkpoints" / "last.npz") for folder in (run, other_run))
    assert set(one.files) == set(other.files)
    for name in one.files:
        if name != "state.json":
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
