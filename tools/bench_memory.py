"""Memory of recurrent layers on long sequences: what `bench.py memory` measures.

Each figure is of a process of its own: how much its peak of resident memory rises above what it held before the first
of two passes, compiling left out as far as a short sequence can do so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench_layers import KERAS, KERAS_NAMES, OURS, Row

from rnnapps.errors import RunError

LONG = Row(16, 5000, 64, 128, 1)
_SHORT = 50  # steps of the pass before
PASSES = ("forward", "forward and backward")

CHILD = """
import sys
import keras, numpy as np, tensorflow as tf
library, name, work, batch, steps, features, units = *sys.argv[1:4], *map(int, sys.argv[4:])
if library == "rnnapps":
    from rnnapps import layers
else:
    from keras import layers
layer = getattr(layers, name)(units)
layer.build((batch, None, features))
weights = [weight.value for weight in layer.trainable_weights]

@tf.function(autograph=False)
def run(x):
    if work == "forward":
        return tf.reduce_sum(layer(x))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x))
    return tape.gradient(loss, weights)

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

draw = np.random.default_rng(0).normal
short, long = (tf.constant(draw(size=(batch, n, features)).astype("float32")) for n in (int(SHORT), steps))
run(short)
open("/proc/self/clear_refs", "w").write("5")  # the peak is what is held now
before = peak()
run(long), run(long)
print(peak() - before)
"""


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a table of MiB, and returns what was measured: by pass, by library.

    Raises:
        RunError: This is not Linux, or a process failed.
    """
    if not Path("/proc/self/clear_refs").exists():
        raise RunError("bench memory reads /proc, which is Linux': there is none here")
    row: Row = options.rows[0] if options.rows else LONG
    name = KERAS_NAMES[options.cell]
    print(f"{name}, {row.batch} x {row.steps} x {row.features}, {row.units} units; MiB above what was held before")
    found = {}
    for work in PASSES:
        found[work] = {library: _measured(library, name, work, row) for library in (OURS, KERAS)}
        ours, theirs = found[work].values()
        print(f"{work:22}  {OURS} {ours:6.0f}  {KERAS} {theirs:6.0f}  ratio {ours / theirs:.2f}")
    return {"cell": options.cell, "row": row._asdict(), "mebibytes": found}


def _measured(library: str, name: str, work: str, row: Row) -> float:
    sizes = [str(size) for size in row[:4]]
    script = CHILD.replace("int(SHORT)", str(_SHORT))
    command = [sys.executable, "-c", script, library, name, work, *sizes]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RunError(f"the process of {library} ended with status {ran.returncode}: {ran.stderr.strip()[-300:]}")
    return float(json.loads(ran.stdout.split()[-1]))
