"""Optimisers by name: what Keras leaves to be said."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from combinations import combinations

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


MORE = {"accumulate": 2, "average": 0.9}
QUICK = [("adam", {}, False, False), ("adam", MORE, True, False), ("adamw", {}, True, False),
         ("adamw", MORE, False, False), ("adamw", MORE, True, True)]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "sparse", "by_xla"),
    combinations(lambda *values: values in QUICK, ["adam", "adamw"], [{}, MORE], [False, True], [False, True]),
    ids=str,
)
def test_fused_updates_are_those_of_keras(name, options, by_xla, sparse):
    rng, start = np.random.default_rng(0), np.arange(12, dtype="float32").reshape(4, 3)
    decay = {"weight_decay": 0.1} if name == "adamw" else {}
    averaging = {"gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.9} if options else {}
    stock = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[name](0.05, **decay, **averaging)
    variables, sides = [], (optimizer(name, 0.05, **decay, **options), stock)
    for one in sides:
        variables.append([keras.Variable(start), keras.Variable(np.ones(5, "float32"))])
        one.build(variables[-1])

    def compiled(one, some):
        return tf.function(lambda *gradients: one.apply(gradients, some), jit_compile=by_xla)

    updates = [compiled(*both) for both in zip(sides, variables, strict=True)]
    for _ in range(6):
        rows = tf.IndexedSlices(
            tf.constant(rng.normal(0, 1, (3, 3)), tf.float32), tf.constant([2, 0, 2]), tf.constant((4, 3))
        )
        gradients = [rows if sparse else tf.convert_to_tensor(rows), tf.constant(rng.normal(0, 1, 5), tf.float32)]
        for update in updates:
            update(*gradients)
    for one, other in zip([*variables[0], *sides[0].variables], [*variables[1], *sides[1].variables], strict=True):
        assert one.name == other.name or "variable" in one.name
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-5, atol=1e-6)
    assert np.abs(variables[0][0].numpy() - start).max() > 0.05
