"""Scores against their definitions, baselines against series that they forecast without error."""

import numpy as np
import pytest
from scipy import stats

from rnnapps.training.series_baselines import Linear, drift, filled, persistence, seasonal_naive, seasons
from rnnapps.training.series_scores import Scores

RNG = np.random.default_rng(0)
NAN = np.nan
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def windows(count=7, horizon=3, targets=2):
    forecast, came = (RNG.normal(10, 4, (count, horizon, targets)) for _ in range(2))
    came[RNG.random(came.shape) < 0.2] = NAN
    return forecast, came, RNG.uniform(1, 3, (count, targets)), RNG.uniform(1, 3, (count, targets))


def test_figures_of_points_by_hand():
    scores = Scores(3, ["a", "b"])
    parts = [windows(), windows(4)]
    for part in parts:
        scores.add(*part)
    errors, scaled, seasonal, symmetric, relative = [], [], [], [], []
    for forecast, came, unit, naive in parts:
        for w, h, t in np.argwhere(~np.isnan(came)):
            if h == 1 and t == 0:
                error = came[w, h, t] - forecast[w, h, t]
                errors.append(error)
                scaled.append(error / unit[w, t])
                seasonal.append(abs(error) / naive[w, t])
                relative.append(100 * abs(error) / abs(came[w, h, t]))
                symmetric.append(200 * abs(error) / (abs(came[w, h, t]) + abs(forecast[w, h, t])))
    found = scores.figures(slice(1, 2), "a")
    assert found["values"] == len(errors)
    assert found["MAE"] == pytest.approx(np.mean(np.abs(errors)))
    assert found["RMSE"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert found["mse"] == pytest.approx(np.mean(np.square(scaled)))
    assert found["mae"] == pytest.approx(np.mean(np.abs(scaled)))
    assert found["MASE"] == pytest.approx(np.mean(seasonal))
    assert found["sMAPE"] == pytest.approx(np.mean(symmetric))
    assert found["MAPE"] == pytest.approx(np.mean(relative))
    assert "CRPS" not in found
    both = scores.figures()
    assert both["values"] == sum((~np.isnan(came)).sum() for _, came, *_ in parts)


def test_a_value_of_zero_has_no_relative_error():
    scores, ones = Scores(1, ["a"]), np.ones((3, 1))
    scores.add(np.full((3, 1, 1), 3.0), np.array([[[0.0]], [[2.0]], [[NAN]]]), ones, ones)
    assert scores.figures()["MAPE"] == pytest.approx(50)


def test_quantiles_of_a_known_distribution():
    count = 40_000
    came = RNG.normal(5, 2, (count, 1, 1))
    quantiles = np.broadcast_to(stats.norm(5, 2).ppf(LEVELS), (count, 1, 1, len(LEVELS)))
    scores, ones = Scores(1, ["a"], LEVELS), np.ones((count, 1))
    scores.add(np.full_like(came, 5), came, ones, ones, quantiles)
    found = scores.figures()
    for share in (50, 80, 90):
        assert found[f"coverage_{share}"] == pytest.approx(share / 100, abs=4 * 0.5 / count**0.5)
        width = np.diff(stats.norm(5, 2).ppf([0.5 - share / 200, 0.5 + share / 200]))[0]
        assert found[f"width_{share}"] == pytest.approx(width)
    # The pinball loss of a normal quantile is deviation * density at it.
    assert found["CRPS"] == pytest.approx(2 * np.mean(2 * stats.norm.pdf(stats.norm.ppf(LEVELS))), rel=0.02)


def test_missing_values_do_not_count_in_coverage():
    came = np.array([[[NAN]], [[0.0]]])
    scores, ones = Scores(1, ["a"], LEVELS), np.ones((2, 1))
    scores.add(np.zeros_like(came), came, ones, ones, np.zeros((2, 1, 1, len(LEVELS))))
    found = scores.figures()
    assert found["values"] == 1 and found["coverage_90"] == 1 and found["CRPS"] == 0


def test_intervals_without_their_levels_are_left_out():
    scores, one = Scores(1, ["a"], (0.1, 0.5, 0.9)), np.ones((1, 1))
    scores.add(one[..., None], one[..., None], one, one, np.ones((1, 1, 1, 3)))
    assert {name for name in scores.figures() if name.startswith("coverage")} == {"coverage_80"}


# === Baselines ===


def test_gaps_are_filled_from_before_then_from_after():
    x = np.array([[NAN, 1.0, NAN, NAN, 4.0, NAN], [NAN] * 6])[..., None]
    np.testing.assert_array_equal(filled(x)[..., 0], [[1, 1, 1, 1, 4, 4], [0] * 6])


def test_baselines_continue_what_they_assume():
    t = np.arange(60.0)
    line = np.stack([3 + 2 * t, 7 - t], -1)[None]
    np.testing.assert_allclose(drift(line[:, :50], 10), line[:, 50:])
    np.testing.assert_array_equal(persistence(line[:, :50], 10), np.repeat(line[:, 49:50], 10, 1))
    wave = np.stack([t % 7, (t * 3) % 7], -1)[None]
    np.testing.assert_array_equal(seasonal_naive(7)(wave[:, :50], 10), wave[:, 50:])
    gone = wave[:, :50].copy()
    gone[:, 45] = NAN
    assert np.isfinite(seasonal_naive(7)(gone, 10)).all()


@pytest.mark.parametrize(
    ("step", "period", "found"),
    [(3600, None, (24, 168)), (600, None, (144, 1008)), (86_400, None, (7, 365)), (None, "B", (5,)), (None, "M", (12,)),
     (None, "Q", (4,)), (None, "Y", ()), (None, None, ()), (7 * 86_400, None, (52,)), (5 * 3600, None, ()),
     (60, None, (1440, 10_080)), (1, None, ())],
)  # fmt: skip
def test_seasons(step, period, found):
    """A day of seconds is longer than is looked back."""
    assert seasons(step, period, 10**6) == found


@pytest.mark.parametrize(("steps", "found"), [(335, (24,)), (336, (24, 168)), (47, ()), (48, (24,))])
def test_a_season_is_held_twice(steps, found):
    assert seasons(3600, None, steps) == found


def test_the_linear_model_finds_a_linear_recurrence():
    def windows(seed, count):
        rng = np.random.default_rng(seed)
        amplitude, phase, level = (rng.uniform(1, 5, (count, 1, 2)) for _ in range(3))
        t = np.arange(30)[None, :, None]
        x = level + amplitude * np.sin(2 * np.pi * t / 12 + phase)
        unit = rng.uniform(0.5, 2, (count, 2))
        return x[:, :24] * unit[:, None], x[:, 24:] * unit[:, None], unit

    gap = windows(3, 20)
    gap[1][0, 0, 0] = NAN
    linear = Linear(ridge=1e-10).fit([windows(1, 200), gap, windows(2, 200)])
    history, targets, unit = windows(4, 50)
    np.testing.assert_allclose(linear(history, unit), targets, atol=1e-3)
    shuffled = Linear(ridge=1e-10).fit([windows(2, 200), windows(1, 200), gap])
    np.testing.assert_allclose(shuffled.weights, linear.weights, atol=1e-4)
