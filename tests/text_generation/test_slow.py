"""What takes minutes: memory over a large text, and a text learnt by heart."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

_TRAIN = """
import json, resource, sys
from rnnapps import cli
status = cli.main("rnnapps.text_generation", sys.argv[1:])
print(json.dumps([status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def write_text(path: Path, megabytes: int) -> None:
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(1, 9))) for _ in range(5000)])
    with path.open("w") as file:
        for _ in range(megabytes):
            text = " ".join(rng.choice(words, 250_000))
            file.write(text[: 1_000_000 - 1] + "\n")


def peak_megabytes(path: Path, run: Path) -> float:
    """Peak resident memory of a process that prepares the text and trains for a few seconds."""
    options = ["--preset", "tiny", "--minutes", "0.1", "--sample-every", "0", "--text", path, "--run", run]
    command = [sys.executable, "-c", _TRAIN, "train", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    status, kilobytes = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr[-2000:]
    return kilobytes / (1 if sys.platform == "linux" else 1024) / 1024


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")
def test_memory_does_not_grow_with_the_text(tmp_path):
    peaks = {}
    for megabytes in (1, 100):
        path = tmp_path / f"{megabytes}.txt"
        write_text(path, megabytes)
        assert path.stat().st_size == megabytes * 1_000_000
        peaks[megabytes] = peak_megabytes(path, tmp_path / f"run_{megabytes}")
    print(f"peak resident memory: {peaks[1]:.0f} MB on 1 MB of text, {peaks[100]:.0f} MB on 100 MB")
    assert peaks[100] < peaks[1] + 200


@pytest.mark.full
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_short_text_is_learnt_by_heart(cell, learn_by_heart, make_config, tmp_path):
    config = make_config(tmp_path, cell=cell, units=64, steps=40, epochs=250, learning_rate=0.01)
    assert learn_by_heart(config, 240) < 0.01
