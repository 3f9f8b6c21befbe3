"""Comparisons on a panel: baselines against their formulas window by window, and where a network begins."""

import numpy as np
import pytest
from combinations import combinations

from rnnapps.data.gather import prepare
from rnnapps.data.series import windows
from rnnapps.data.table import Columns, Table
from rnnapps.models.forecaster import Shape, forecaster
from rnnapps.ops.heads import head
from rnnapps.training.series_baselines import Linear
from rnnapps.training.series_evaluation import OURS, compare, mean_loss, start_linear, verdict
from rnnapps.training.series_evaluation import forecaster as asked

HISTORY, HORIZON = 8, 3


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    """Two noisy series with a period of 12."""
    folder, rng = tmp_path_factory.mktemp("panel"), np.random.default_rng(0)
    t = np.arange(150)
    rows = [
        f"{name},{50 * k + 5 * np.sin(2 * np.pi * i / 12) + rng.normal():.4f},{i % 5}"
        for k, name in enumerate("ab")
        for i in t
    ]
    (folder / "x.csv").write_text("s,y,z\n" + "\n".join(rows))
    (folder / "panel").mkdir()
    return prepare([Table(folder / "x.csv")], Columns(("y", "z"), series="s"), folder / "panel", "rows")


def test_baselines_are_their_formulas_on_every_window(panel):
    said = {OURS: lambda inputs: {"mean": np.zeros((len(inputs["series"]), HORIZON, 2))}}
    found = compare(said, panel, "test", HISTORY, HORIZON, seasons=(5, 12))
    errors = {name: [] for name in found}
    for one in panel.series:
        values = panel.values[one.start : one.start + one.length].astype(np.float64)
        unit = values[: one.train_end].std(0)
        for origin in range(one.validation_end, one.length - HORIZON + 1):
            came, last, first = values[origin : origin + HORIZON], values[origin - 1], values[origin - HISTORY]
            steps = np.arange(1, HORIZON + 1)[:, None]
            forecasts = {
                OURS: 0 * came,
                "last value": last + 0 * came,
                # From before the window: a season is longer than the window.
                "last season (12 steps)": values[origin - 12 : origin - 12 + HORIZON],
                "last season (5 steps)": values[origin - 5 : origin - 5 + HORIZON],
                "line through the window": last + (last - first) / (HISTORY - 1) * steps,
            }
            for name, forecast in forecasts.items():
                errors[name].append(np.abs(came - forecast) / unit)
    for name in forecasts:
        assert found[name].figures()["mae"] == pytest.approx(np.mean(errors[name]), rel=1e-5), name
        assert found[name].figures()["values"] == np.size(errors[name])
    assert "WORSE than the" in verdict(found)
    assert "last season" not in " ".join(compare(said, panel, "test", HISTORY, HORIZON))
    # Where the series does not reach back so far the season is left out, and no window with it.
    far = compare(said, panel, "train", HISTORY, HORIZON, seasons=(12,))
    assert not any("season" in name for name in far)
    assert far[OURS].figures()["values"] == 2 * 2 * HORIZON * (panel.series[0].train_end - HORIZON - HISTORY + 1)


QUICK = {("direct", "quantiles"), ("attention", "normal"), ("segment", "mixture")}
KINDS, HEADS = ["segment", "direct", "attention"], ["mae", "quantiles", "normal", "mixture"]


@pytest.mark.usefixtures("one_step_a_turn")
@pytest.mark.parametrize(("kind", "name"), combinations(lambda *pair: pair in QUICK, KINDS, HEADS))
def test_a_network_begins_with_the_linear_model(panel, kind, name):
    one = head(name)
    shape = Shape(HISTORY, 4, 2, num_series=2)
    network = forecaster(
        kind, shape, one.parameters, units=6, segment=4, normalize="last", locations=one.locations
    )  # fmt: skip
    network.get_layer("targets").set_tables(panel.center, panel.scale)
    start_linear(network, windows(panel, "train", HISTORY, 4, 16))
    ((inputs, _),) = windows(panel, "test", HISTORY, 4, 8).take(1).as_numpy_iterator()
    unit = panel.scale[inputs["series"]]
    learnt = windows(panel, "train", HISTORY, 4, 16).as_numpy_iterator()
    linear = Linear().fit((x["history"], came, panel.scale[x["series"]]) for x, came in learnt)
    if name == "mixture":  # whose quantiles, which nobody asks for here, take seconds
        outputs = network({part: inputs[part] for part in network.input})
        found = one.mean(outputs["raw"], *(outputs[part][:, np.newaxis] for part in ("center", "scale")))
    else:
        found = asked(network, one)(inputs)["mean"]
    np.testing.assert_allclose(found, linear(inputs["history"], unit), rtol=1e-3, atol=1e-3)


def test_the_mean_loss_counts_values_and_not_batches():
    batches = [(1.0, np.array([1.0, 2.0, 3.0], "float32")), (1.0, np.array([9.0, np.nan, np.nan], "float32"))]

    def mean(_, targets):
        import tensorflow as tf

        return tf.reduce_mean(tf.boolean_mask(targets, ~tf.math.is_nan(targets)))

    assert mean_loss(mean)(batches) == pytest.approx((1 + 2 + 3 + 9) / 4)
    assert mean_loss(mean)([]) is None
