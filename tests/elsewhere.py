"""A process in which neither rnnapps nor Keras can be imported: where an export has to answer.

TensorFlow is imported there once for all tests; the scripts run one after the other, each with a namespace of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOOP = """
import contextlib, gc, importlib.machinery, io, json, os, sys, traceback

class NotInstalled(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("rnnapps", "keras", "tf_keras")
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, NotInstalled]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library below Python prints is no answer
for line in sys.stdin:
    asked = json.loads(line)
    sys.argv, printed, error = ["elsewhere", *asked["arguments"]], io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(asked["script"], "elsewhere", "exec"), {"__name__": "__main__"})
        assert not {name.partition(".")[0] for name in sys.modules} & {"rnnapps", "keras", "tf_keras"}
    except BaseException:
        error = traceback.format_exc()
    gc.collect()
    print(json.dumps({"printed": printed.getvalue(), "error": error}), file=answers, flush=True)
"""


class Elsewhere:
    """The process; it starts with the first script."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "stderr.txt"
        self._process: subprocess.Popen[str] | None = None

    def run(self, script: str, *arguments: object) -> str:
        """What `script` prints, with the arguments in `sys.argv[1:]`; fails with its traceback."""
        if self._process is None:
            with self._said.open("w") as said:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
                    encoding="utf-8", cwd=self._said.parent,
                )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"script": script, "arguments": [str(argument) for argument in arguments]}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, f"it ended with status {self._process.wait()}: {self._said.read_text()}"
        answer: dict[str, Any] = json.loads(line)
        assert answer["error"] is None, answer["error"]
        return str(answer["printed"])

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)
