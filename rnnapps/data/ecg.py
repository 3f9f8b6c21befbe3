"""Electrocardiograms as tables: files of PhysioNet's WFDB and of the UCR archive, as the lines of CSV text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnapps.errors import RunError

# Of WFDB's codes, those that mark a beat: https://github.com/bemoody/wfdb, ecgcodes.h.
BEATS = {
    1: "N", 2: "L", 3: "R", 4: "a", 5: "V", 6: "F", 7: "J", 8: "A", 9: "S", 10: "E", 11: "j", 12: "/", 13: "Q",
    25: "B", 30: "?", 34: "e", 35: "n", 38: "f", 41: "r",
}  # fmt: skip
_SKIP, _LARGEST_CODE = 59, 49  # codes above the largest say something of the annotation before them
_AUX = 63
BEAT_DELAY = 100  # samples from a beat's mark, at the peak, to the row that names it: T wave and all at 360 Hz


@dataclass(frozen=True)
class Record:
    """A WFDB record of format 212.

    Attributes:
        leads: Names of the signals.
        rate: Samples a second.
        signal: Millivolts float32 `(samples, leads)`, NaN where the recorder gave none.
        beat_sample: int64 `(beats,)`: the samples at which beats are marked.
        beat_symbol: Their kinds, as in `BEATS`.
    """

    leads: tuple[str, ...]
    rate: float
    signal: np.ndarray
    beat_sample: np.ndarray
    beat_symbol: tuple[str, ...]


def read_record(header: Path, signal: Path, annotations: Path) -> Record:
    """Reads the three files of a record, `.hea`, `.dat` and `.atr`.

    Raises:
        RunError: They are not of one record of two leads in format 212.
    """
    try:
        written = (line.strip() for line in header.read_text(encoding="utf-8").splitlines())
        first, *rest = (line.split() for line in written if line and not line.startswith("#"))
        count, rate, length = int(first[1]), float(first[2].partition("/")[0]), int(first[3])
        leads = rest[:count]
        if count != 2 or any(fields[1] != "212" for fields in leads):
            raise ValueError("wanted two signals of format 212")
        adc = _unpacked(np.fromfile(signal, np.uint8))[:length]
        if len(adc) < length:
            raise ValueError(f"wanted {length} samples, not {len(adc)}")
        scales = [_gain_and_baseline(fields) for fields in leads]
        samples, symbols = _annotations(np.fromfile(annotations, "<u2"))
    except (ValueError, IndexError, KeyError) as error:
        raise RunError(f"{header} and the files beside it are no WFDB record that can be read ({error})") from error
    millivolts = np.stack([(adc[:, i] - base) / gain for i, (gain, base) in enumerate(scales)], 1)
    millivolts[adc == -2048] = np.nan  # what format 212 writes where there is no sample
    names = tuple(" ".join(fields[8:]) or f"lead {i + 1}" for i, fields in enumerate(leads))
    return Record(names, rate, millivolts.astype(np.float32), samples, symbols)


def _gain_and_baseline(fields: list[str]) -> tuple[float, float]:
    """From `FILE FORMAT GAIN(BASELINE)/UNIT BITS ZERO ...`; a gain of 0 or none is 200 steps a millivolt."""
    written, zero = fields[2].partition("/")[0], float(fields[4])
    gain, _, baseline = written.rstrip(")").partition("(")
    return float(gain) or 200.0, float(baseline) if baseline else zero


def _unpacked(data: np.ndarray) -> np.ndarray:
    """Format 212: two numbers of 12 bits, two's complement, in three bytes; `(samples, 2)`."""
    low, middle, high = data[: len(data) // 3 * 3].reshape(-1, 3).astype(np.int32).T
    found = np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], 1)
    return np.where(found > 2047, found - 4096, found)


def _annotations(words: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Words of 16 bits: a code above, and below it the samples since the last annotation; 0 ends the file."""
    samples, symbols, now, at = [], [], 0, 0
    while at < len(words) and words[at]:
        code, number = int(words[at]) >> 10, int(words[at]) & 0x3FF
        at += 1
        if code == _SKIP:  # a long interval, as two words, the upper one first
            interval = int(words[at]) << 16 | int(words[at + 1])
            now += interval - (interval >> 31 << 32)
            at += 2
        elif code == _AUX:  # a text of so many bytes, filled up to whole words
            at += (number + 1) // 2
        elif code <= _LARGEST_CODE:
            now += number
            if code in BEATS:
                samples.append(now)
                symbols.append(BEATS[code])
    return np.array(samples, np.int64), tuple(symbols)


def beats_csv(record: Record) -> Iterator[str]:
    """A line for each sample: the leads in millivolts, and the kind of the beat that ended then, mostly none."""
    yield ",".join([*record.leads, "beat"]) + "\n"
    named = dict(zip((record.beat_sample + BEAT_DELAY).tolist(), record.beat_symbol, strict=True))
    for i, values in enumerate(record.signal.tolist()):
        yield ",".join("" if value != value else f"{value:.4f}" for value in values) + f",{named.get(i, '')}\n"


def heart_rate_csv(record: Record) -> Iterator[str]:
    """A line for each beat but the first: 60 seconds over the time since the beat before it."""
    yield "seconds,heart_rate\n"
    for before, sample in zip(record.beat_sample[:-1], record.beat_sample[1:], strict=True):
        if sample > before:
            yield f"{sample / record.rate:.3f},{60 * record.rate / (sample - before):.3f}\n"


def ucr_csv(path: Path) -> Iterator[str]:
    """A line for each value of a UCR text file, whose lines are a class and the values of a series.

    The class stands in the last line of its series.

    Raises:
        RunError: A line holds something else.
    """
    yield "heartbeat,value,class\n"
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            fields = line.replace(",", " ").split()
            if not fields:
                continue
            try:
                label, *values = map(float, fields)
            except ValueError as error:
                raise RunError(f"{path}, line {number}: {error}, wanted a class and numbers") from None
            yield from (f"{number},{value:.8g},\n" for value in values[:-1])
            yield f"{number},{values[-1]:.8g},{label:g}\n"
