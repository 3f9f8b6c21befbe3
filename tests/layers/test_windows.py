"""From the user's units to what a network reads: scaling against NumPy, calendars against datetime."""

import datetime

import keras
import numpy as np
import pytest

from rnnapps.layers.windows import Calendar, StepEmbedding, WindowScaler

NAN = np.nan
WINDOWS = np.array(
    [
        [[1.0, 10.0], [2.0, NAN], [3.0, 30.0], [NAN, 20.0]],
        [[5.0, NAN], [5.0, NAN], [5.0, NAN], [5.0, NAN]],
        [[-1.0, 1e6], [1.0, 1e6], [-1.0, 1e6], [1.0, 1e6]],
    ],
    "float32",
)
SERIES = np.array([1, 0, -1], "int32")
CENTERS, SCALES = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 3.0], [4.0, 5.0]])
LAST = [[3.0, 20.0], [5.0, 2.0], [1.0, 1e6]]  # of the second window's second column there is none: that of the series


def scaler(normalize="series"):
    layer = WindowScaler(2, normalize)
    layer.build(WINDOWS.shape)
    layer.set_tables(CENTERS, SCALES)
    return layer


@pytest.mark.parametrize("normalize", ["series", "window", "last"])
def test_scaling(normalize):
    scaled, observed, center, scale, unit = (np.array(t) for t in scaler(normalize)(WINDOWS, SERIES))
    there = ~np.isnan(WINDOWS)
    np.testing.assert_array_equal(observed, there)
    of_windows = np.array([[2.0, 20.0], [5.0, 0.0], [0.0, 1e6]])
    deviations = np.array([[np.sqrt(2 / 3), np.sqrt(200 / 3)], [1.0, 1.0], [1.0, 1.0]])
    units = np.array([SCALES[1], SCALES[0], deviations[2]])
    of_series = [CENTERS[1], CENTERS[0], of_windows[2]]
    wanted_center = {"series": of_series, "window": of_windows, "last": LAST}[normalize]
    wanted_scale = deviations if normalize == "window" else units
    np.testing.assert_allclose(center, wanted_center, rtol=1e-6)
    np.testing.assert_allclose(scale, wanted_scale, rtol=1e-6)
    np.testing.assert_allclose(unit, units, rtol=1e-6)
    wanted = np.where(there, (np.nan_to_num(WINDOWS) - center[:, None]) / scale[:, None], 0)
    np.testing.assert_allclose(scaled, wanted, rtol=1e-6, atol=1e-6)


def test_tables_and_options_survive_saving(tmp_path):
    inputs = keras.Input((4, 2)), keras.Input((), dtype="int32")
    layer = scaler("last")
    model = keras.Model(inputs, layer(*inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(loaded([WINDOWS, SERIES]), layer(WINDOWS, SERIES), strict=True):
        np.testing.assert_array_equal(one, other)
    assert layer.trainable_weights == []
    with pytest.raises(ValueError, match="normalize of .* must be one of series, window, last, not 'mean'"):
        WindowScaler(1, "mean")


def test_cycles_have_names():
    assert Calendar(["week"])(np.zeros((2, 3), "int64")).shape == (2, 3, 2)
    with pytest.raises(ValueError, match="cycles of .* must be among day, week, year, not 'moon'"):
        Calendar(["moon"])


def test_angles_of_the_calendar():
    moments = [
        datetime.datetime(2016, 7, 1, 18, tzinfo=datetime.UTC),
        datetime.datetime(1969, 12, 31, 23, 30, tzinfo=datetime.UTC),
        datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
    ]
    times = np.array([[int(m.timestamp()) for m in moments]], "int64")
    found = np.array(Calendar()(times))[0]
    for row, moment in zip(found, moments, strict=True):
        day = (moment.hour + moment.minute / 60 + moment.second / 3600) / 24
        week = (moment.weekday() + day) / 7
        for sine, cosine, share in ((row[0], row[1], day), (row[2], row[3], week)):
            assert sine == pytest.approx(np.sin(2 * np.pi * share), abs=1e-4)
            assert cosine == pytest.approx(np.cos(2 * np.pi * share), abs=1e-4)
    # A year later the angle of the year is the same, within a day.
    year = 365 * 86_400
    apart = np.array(Calendar()(times + year))[0, :, 4:] - found[:, 4:]
    assert np.abs(apart).max() < 2 * np.pi / 365 * 1.1


def test_step_embeddings_are_the_same_for_every_row():
    layer = StepEmbedding((2, 3), 5)
    found = np.array(layer(np.zeros((4, 7))))
    assert found.shape == (4, 2, 3, 5) == tuple(layer.compute_output_shape((4, 7)))
    np.testing.assert_array_equal(found, np.broadcast_to(layer.embeddings, found.shape))
    assert StepEmbedding.from_config(layer.get_config()).places == (2, 3)
