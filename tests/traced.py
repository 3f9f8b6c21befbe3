"""A fixture that runs tests as plain Python, and in the full tier traced as well; a conftest takes it from here."""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(params=["eager", pytest.param("traced", marks=pytest.mark.full)])
def eager_and_traced(request: pytest.FixtureRequest):
    """What `tf.function` wraps runs as it is, which costs a tenth; in the full tier it is traced as well."""
    tf.config.run_functions_eagerly(request.param == "eager")
    yield
    tf.config.run_functions_eagerly(False)
