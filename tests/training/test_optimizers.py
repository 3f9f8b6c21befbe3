"""Optimisers by name: what Keras leaves to be said."""

import keras
import numpy as np
import pytest

from rnnapps.training.optimizers import optimizer


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "adagrad"])
def test_an_average_of_weights_is_kept_beside_them(name):
    variable, one = keras.Variable([1.0, -2.0]), optimizer(name, 0.1, average=0.8)
    one.build([variable])
    average = None
    for step in range(5):
        one.apply([keras.ops.convert_to_tensor([1.0 + step, -0.5])], [variable])
        now = keras.ops.convert_to_numpy(variable)
        average = now if average is None else 0.8 * average + 0.2 * now
    kept = keras.Variable([0.0, 0.0])
    one.finalize_variable_values([kept])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(kept), average, rtol=1e-5)
    assert np.abs(keras.ops.convert_to_numpy(kept) - now).max() > 0.01


def test_without_an_average_the_weights_stay():
    variable, one = keras.Variable([1.0]), optimizer("adam", 0.1)
    one.build([variable])
    one.apply([keras.ops.convert_to_tensor([1.0])], [variable])
    before = keras.ops.convert_to_numpy(variable)
    one.finalize_variable_values([variable])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), before)
