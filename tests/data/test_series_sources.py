"""Named series: those that a package carries, and benchmark tables from a local copy, packed or not."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from rnnapps.data.gather import prepare
from rnnapps.data.series_sources import DATASETS, tables
from rnnapps.errors import UsageError


def panel_of(name, tmp_path, source=None):
    known, folder = DATASETS[name], tmp_path / "panel"
    folder.mkdir()
    found = tables(name, source, data_dir=tmp_path / "data", scratch=tmp_path)
    return prepare(
        found, known.columns, folder, known.frequency, known.validation_fraction, known.test_fraction
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "frequency", "shape", "first"),
    [
        ("seattle_temperatures", "h", (8760, 1), 39.4),
        ("seattle_weather", "D", (1461, 5), 12.8),
        ("stocks", "MS", (560, 1), 39.81),
    ],
)
def test_series_that_need_no_network(name, frequency, shape, first, tmp_path):
    panel = panel_of(name, tmp_path)
    assert panel.grid.frequency == frequency and panel.values.shape == shape
    assert panel.values[0, 0] == pytest.approx(first)


def test_exchange_rates_without_header_and_dates(tmp_path):
    rows = "\n".join(",".join(f"{0.1 * j + 0.001 * i:.4f}" for j in range(8)) for i in range(20))
    with gzip.open(tmp_path / "exchange_rate.txt.gz", "wt") as file:
        file.write(rows)
    panel = panel_of("exchange_rate", tmp_path, tmp_path)
    assert panel.grid.frequency == "rows" and panel.values.shape == (20, 8)
    assert panel.layout.targets[:2] == ("Australia", "United Kingdom")
    assert panel.values[3, 7] == pytest.approx(0.703)


def test_etth1_has_its_usual_split(tmp_path):
    rows = [
        f"{np.datetime64('2016-07-01T00', 'h') + i}".replace("T", " ") + ":00:00" + f",{i}" * 7 for i in range(15_000)
    ]
    (tmp_path / "ETTh1.csv").write_text("date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT\n" + "\n".join(rows) + "\n")
    one = panel_of("etth1", tmp_path, tmp_path).series[0]
    assert (one.train_end, one.validation_end, one.length) == (8640, 11_520, 14_400)


@pytest.mark.parametrize("packed", ["weather.txt", "weather.txt.gz", "weather.zip"])
def test_jena_weather_packed_or_not(packed, tmp_path):
    text = "\n".join(",".join([f"{i}.5", "-9999.0", *["1"] * 19]) for i in range(10)).encode()
    if packed.endswith(".gz"):
        text = gzip.compress(text)
    elif packed.endswith(".zip"):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../weather.txt", text)
        text = file.getvalue()
    (tmp_path / packed).write_bytes(text)
    with pytest.raises(UsageError, match=r"column 'T \(degC\)' has no value in any row"):
        panel_of("jena_weather", tmp_path, tmp_path / packed)
    assert not (tmp_path.parent / "weather.txt").exists()


def test_options_that_exclude_each_other(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    for arguments, sentence in (
        ({"dataset": "etth3"}, "--dataset must be one of seattle_temperatures, "),
        ({"dataset": "stocks", "source": tmp_path}, "--source .* does not go with stocks"),
        ({"dataset": "stocks", "csv": [tmp_path / "x.csv"]}, "goes without --dataset stocks"),
        ({"source": tmp_path, "csv": [tmp_path / "x.csv"]}, "goes without --source"),
    ):
        with pytest.raises(UsageError, match=sentence):
            tables(**arguments)
