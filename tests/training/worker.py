"""One process of a training that several share: `python worker.py FILE`.

FILE holds a JSON list of runs, which this process does one after the other: each the name of a task, and what changes
in its preset "tiny".
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def main() -> None:
    from rnnapps import config as configs
    from rnnapps import runtime
    from rnnapps.training import loop

    runtime.configure(threads=1)
    loop._LOG_EVERY = 1  # the loss of each update
    for task, changes in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        presets = importlib.import_module(f"rnnapps.{task}.config").PRESETS
        config = configs.replace(presets["tiny"], **changes)
        importlib.import_module(f"rnnapps.{task}.task").train(config)


if __name__ == "__main__":
    main()
