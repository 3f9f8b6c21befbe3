"""The rank of each level among n errors, which a new value is exchangeable with: of n + 1, and not of n."""

import math
from fractions import Fraction

import numpy as np
import pytest

from rnnapps.ops.heads import LEVELS
from rnnapps.training.calibration import offsets


@pytest.mark.parametrize("n", [60, 99, 100, 139])
def test_a_level_is_the_error_of_its_rank(n):
    """Errors of 1,000 and more, so that the median moves with the others."""
    errors = 1_000.0 + np.random.default_rng(n).permutation(n)
    found = offsets(errors[:, np.newaxis, np.newaxis, np.newaxis])
    for level, value in zip(LEVELS, found[0, 0], strict=True):
        exact = Fraction(str(level)) * (n + 1)
        rank = math.ceil(exact) if level >= 0.5 else math.floor(exact)
        assert value == 1_000 + rank - 1, level
        # At least so many of the n + 1 values that could have come are below an upper level, above a lower one.
        assert Fraction(rank, n + 1) >= Fraction(str(level)) or level < 0.5
