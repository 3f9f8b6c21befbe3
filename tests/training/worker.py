"""One process of a training that several share: `python worker.py FILE`.

FILE holds a JSON list of runs, which this process does one after the other: each the name of a task, what changes in
its preset "tiny", and what else: `{"update": 12, "signal": 9}` is a signal that it sends itself after an update,
`{"xla": true}` compiles the steps as on a GPU, `{}` is nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> int:
    from rnnapps import config as configs
    from rnnapps import runtime
    from rnnapps.errors import RnnappsError
    from rnnapps.ops import time_loop
    from rnnapps.training import loop

    runtime.configure(threads=1)
    loop._LOG_EVERY = 1  # the loss of each update
    time_loop._STEPS_PER_TURN = 1  # the same numbers, and less to trace
    shown = loop.Loop.on_train_batch_end
    for task, changes, more in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):

        def on_train_batch_end(self: Any, batch: int, logs: Any = None, more: Any = more) -> None:
            shown(self, batch, logs)
            if self.state.step == more.get("update"):
                os.kill(os.getpid(), more["signal"])

        runtime.jit_compile = lambda more=more: more.get("xla", False)
        loop.Loop.on_train_batch_end = on_train_batch_end
        presets = importlib.import_module(f"rnnapps.{task}.config").PRESETS
        config = configs.replace(presets["tiny"], **changes)
        try:
            importlib.import_module(f"rnnapps.{task}.task").train(config)
        except RnnappsError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_status
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
