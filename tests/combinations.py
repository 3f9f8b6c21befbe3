"""Parametrisations of which the quick tier runs a few."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def combinations(is_quick: Callable[..., bool], *axes: Iterable[Any]) -> list[Any]:
    """All combinations of values; those that `is_quick` does not pick take the same paths as others, and are full."""
    marks = {True: (), False: pytest.mark.full}
    return [pytest.param(*values, marks=marks[bool(is_quick(*values))]) for values in itertools.product(*axes)]
