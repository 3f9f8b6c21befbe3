"""Bands from few windows and from many: the rule by hand, and the share of new values that it holds."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from rnnapps import forecasts
from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.ops.heads import LEVELS, head
from rnnapps.training.calibration import FEWEST, RANKED, offsets

MIDDLE, OUTER = LEVELS.index(0.5), (LEVELS.index(0.05), LEVELS.index(0.95))


def test_few_windows_give_the_interval_of_student():
    """As scipy has it, for each target from its own errors and for all steps alike."""
    errors = np.random.default_rng(0).normal([5.0, -50.0], [1.0, 9.0], (15, 4, 2))[..., None]
    errors[1, 2:, 1] = np.nan
    found = offsets(errors)
    for target in range(2):
        values = errors[:, :, target][~np.isnan(errors[:, :, target])]
        wide = np.std(values, ddof=1) * np.sqrt(1 + 1 / 15)
        wanted = stats.t.ppf(LEVELS, 14, np.mean(values), wide)
        np.testing.assert_allclose(found[:, target], np.tile(wanted, (4, 1)), rtol=2e-3)
    assert (np.diff(found, axis=-1) > 0).all()


def test_a_level_that_a_rank_reaches_is_ranked():
    """One window fewer, and no rank would leave 2.5 % outside."""
    assert RANKED == 39
    errors = np.random.default_rng(1).permutation(np.arange(1.0, 40.0))[:, None, None, None]
    np.testing.assert_allclose(offsets(errors)[0, 0], [1, 2, 4, 10, 20, 30, 36, 38, 39])
    few = offsets(errors[errors != 20].reshape(-1, 1, 1, 1))[0, 0]
    assert few[0] < 1 and few[-1] > 39


@pytest.mark.parametrize("windows", [20, 60])
def test_the_median_moves_only_by_more_than_chance(windows):
    """A bias of a third of the deviation may be chance in 60 windows of 12 steps, which are 5 without a step in common;
    one of three deviations is none. Of 20 windows there are not even two, so that nothing can be said."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(windows, 12, 1, 1))
    noise -= noise.mean((0, 1))
    small, large = offsets(noise + 0.33), offsets(noise + 3)
    np.testing.assert_array_equal(small[..., MIDDLE], 0)
    np.testing.assert_allclose(large[..., MIDDLE], 3 if windows == 60 else 0, atol=0.6)
    assert (np.diff(small, axis=-1) > 0).all() and (np.diff(large, axis=-1) > 0).all()
    # What few windows were off is no part of the median, and so it has to be part of the band.
    assert windows == 60 or np.all(large[..., OUTER[1]] > 3)


@pytest.mark.parametrize("windows", [FEWEST, 6, 20, 38])
def test_bands_of_few_overlapping_windows_hold(windows):
    """Errors of 12 steps ahead of a random walk: the windows share all but one of their steps with the next."""
    rng, horizon, held = np.random.default_rng(windows), 12, []
    for _ in range(300):
        walk = rng.normal(size=windows + 2 * horizon).cumsum()
        last = np.arange(windows)[:, None]
        moved = offsets((walk[last + np.arange(1, horizon + 1)] - walk[last])[..., None, None])
        came = (walk[-horizon:] - walk[-horizon - 1])[:, None]
        held.append((moved[:, 0, OUTER[:1]] <= came) & (came <= moved[:, 0, OUTER[1:]]))
    # A walk's errors are half as large at first and half as large again at last, and one walk's are of one sign.
    assert 0.7 < np.mean(held) < 0.97


def test_of_fewer_windows_nothing_is_said():
    errors = np.ones((FEWEST, 4, 2, 1))
    errors[0, :, 1] = np.nan
    assert offsets(errors) is None
    errors[0, 3, 1] = 1
    assert offsets(errors) is not None


@pytest.mark.parametrize(("kind", "moves"), [("quantiles", 1), ("normal", 1), ("mae", 1), ("mse", 0)])
def test_the_mean_moves_with_the_median(kind, moves):
    """But for a mean that is learnt alone, whose errors are skewed where the data are."""
    one = head(kind)
    network = forecaster("direct", Shape(6, 2, 1), one.parameters, units=3)
    network.get_layer("targets").set_tables([[0.0]], [[10.0]])
    x = {"history": tf.random.stateless_normal((3, 6, 1), (0, 1)), "series": tf.zeros(3, tf.int32)}
    moved = np.full((2, 1, len(LEVELS)), 0.7, "float32")
    before, after = (forecasts.answers(network, one, x, by) for by in (None, moved))
    np.testing.assert_allclose(after["mean"] - before["mean"], 7.0 * moves, atol=1e-4)
    inside = (after["quantiles"][..., 0] <= after["mean"]) & (after["mean"] <= after["quantiles"][..., -1])
    assert not moves or np.all(inside)
