"""Electrocardiograms: WFDB's files against the same record as arrays, made files against what was put in."""

from pathlib import Path

import numpy as np
import pytest

from rnnapps.data.ecg import BEAT_DELAY, beats_csv, heart_rate_csv, read_record, ucr_csv
from rnnapps.data.gather import prepare
from rnnapps.data.series_sources import DATASETS, tables
from rnnapps.errors import RunError

# The folder of benchmark data, where there is one.
RECORD = Path(__file__).parents[3] / "shared" / "data" / "timeseries" / "ecg" / "mitdb_100"


def files(folder):
    return [folder / f"100.{suffix}" for suffix in ("hea", "dat", "atr")]


def write_record(folder, adc, marks, header="100 2 360 {n}\n100.dat 212 200 11 1024 0 0 0 MLII\n# a note\n"
                 "100.dat 212 100(5)/mV 11 1024 0 0 0 lead two\n"):  # fmt: skip
    """A record of format 212; `marks` are words of 16 bits."""
    hea, dat, atr = files(folder)
    hea.write_text(header.format(n=len(adc)))
    first, second = (np.array(adc).T & 0xFFF).astype(int)
    packed = np.stack([first & 0xFF, first >> 8 | (second >> 8) << 4, second & 0xFF], 1)
    dat.write_bytes(packed.astype(np.uint8).tobytes())
    atr.write_bytes(np.array(marks, "<u2").tobytes())
    return folder


def word(code, number):
    return code << 10 | number


# A rhythm mark with a text of 3 bytes, N, A after a long interval, a note of the annotation before, V, and the end.
MARKS = [word(28, 1), word(63, 3), 0x4E28, 0x0020, word(1, 9), word(59, 0), 1, 4464, word(8, 2), word(62, 7),
         word(5, 20), 0]  # fmt: skip


def test_a_record_reads_back(tmp_path):
    adc = [[0, 1], [-2048, -1], [2047, 5], [-1, -2047]]
    record = read_record(*files(write_record(tmp_path, adc, MARKS)))
    assert record.leads == ("MLII", "lead two") and record.rate == 360
    wanted = [[-1024 / 200, -4 / 100], [np.nan, -6 / 100], [1023 / 200, 0], [-1025 / 200, -2052 / 100]]
    np.testing.assert_allclose(record.signal, wanted, rtol=1e-6)
    assert record.beat_symbol == ("N", "A", "V")
    assert record.beat_sample.tolist() == [10, 10 + 65_536 + 4464 + 2, 10 + 65_536 + 4464 + 22]


@pytest.mark.skipif(not (RECORD / "100.npz").is_file(), reason="no copy of record 100 here")
def test_record_100_is_that_of_its_arrays():
    record, arrays = read_record(*files(RECORD)), np.load(RECORD / "100.npz")
    millivolts = (arrays["adc"] - arrays["baseline"]) / arrays["adc_gain"]
    np.testing.assert_allclose(record.signal, millivolts, atol=1e-6)
    is_beat = arrays["beat_symbol"] != "+"
    assert record.beat_sample.tolist() == arrays["beat_sample"][is_beat].tolist()
    assert list(record.beat_symbol) == arrays["beat_symbol"][is_beat].tolist()
    rates = [float(line.split(",")[1]) for line in list(heart_rate_csv(record))[1:]]
    assert len(rates) == 2272 and 70 < np.mean(rates) < 80


def test_beats_stand_after_their_peak_and_rates_between_two(tmp_path):
    marks = [word(1, 3), word(5, 180), word(8, 90), 0]
    record = read_record(*files(write_record(tmp_path, [[i, 1024] for i in range(400)], marks)))
    header, *lines = list(beats_csv(record))
    assert header == "MLII,lead two,beat\n" and len(lines) == 400
    named = {i: line.strip().split(",")[2] for i, line in enumerate(lines) if not line.endswith(",\n")}
    assert named == {3 + BEAT_DELAY: "N", 183 + BEAT_DELAY: "V", 273 + BEAT_DELAY: "A"}
    assert lines[4] == "-5.1000,10.1900,\n"
    assert list(heart_rate_csv(record))[1:] == ["0.508,120.000\n", "0.758,240.000\n"]


@pytest.mark.parametrize(
    ("header", "adc"),
    [
        ("100 1 360 {n}\n100.dat 212 200 11 1024 0 0 0 MLII\n", [[0, 0]]),
        ("100 2 360 {n}\n100.dat 16 200 11 1024\n100.dat 16 200 11 1024\n", [[0, 0]]),
        ("100 2 360 9\n100.dat 212 200 11 1024\n100.dat 212 200 11 1024\n", [[0, 0]]),
        ("nothing\n", [[0, 0]]),
    ],
)
def test_files_that_are_no_record(header, adc, tmp_path):
    with pytest.raises(RunError, match="are no WFDB record that can be read"):
        read_record(*files(write_record(tmp_path, adc, [0], header)))


def panel_of(name, tmp_path, source):
    known, folder = DATASETS[name], tmp_path / "panel"
    folder.mkdir()
    found = tables(name, source, data_dir=tmp_path / "data", scratch=tmp_path)
    return prepare(found, known.columns, folder, known.frequency, known.validation_fraction, known.test_fraction)


def test_the_data_sets_from_a_local_copy(tmp_path):
    marks = [word(1, 3), *(word(code, 40) for code in (5, 1) * 40), 0]
    source = write_record(tmp_path, [[i % 1000, 7] for i in range(4000)], marks)
    panel = panel_of("mitdb_heart_rate", tmp_path, source)
    assert panel.values.shape == (80, 1) and np.unique(panel.values).tolist() == [540]
    text = ["  1.0000e+00  0.5 -1.25 2", "2,1,2,3", "", "1 7 8 9", "2 1 1 1"]
    (tmp_path / "ECG5000_TRAIN.txt").write_text("\n".join(text))
    (tmp_path / "other").mkdir()
    panel = panel_of("ecg5000", tmp_path / "other", tmp_path)
    np.testing.assert_array_equal(panel.values[:6, 1], [0.5, -1.25, 2, 1, 2, 3])
    assert panel.layout.categories == {"class": ("1", "2")} and len(panel.series) == 4
    np.testing.assert_array_equal(np.isnan(panel.values[:, 0]), [True, True, False] * 4)


def test_a_copy_without_one_of_the_files_is_told(tmp_path):
    source = write_record(tmp_path, [[0, 0]] * 9, MARKS)
    (source / "100.atr").unlink()
    with pytest.raises(RunError, match="data set mitdb_heart_rate cannot be prepared from .*100.atr"):
        panel_of("mitdb_heart_rate", tmp_path, source)


def test_a_line_of_the_archive_that_is_none(tmp_path):
    (tmp_path / "x.txt").write_text("1 2 3\n1 two 3\n")
    with pytest.raises(RunError, match="x.txt, line 2: could not convert string to float: 'two', wanted a class"):
        list(ucr_csv(tmp_path / "x.txt"))
