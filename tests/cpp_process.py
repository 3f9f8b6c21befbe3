"""One process for all trials in TensorFlow's C++ runtime: it loads the library once, and forks for each of them.

A trial gets a fresh process all the same; what is saved is to start Python, and to load NumPy and half a gigabyte of
library, which takes five times as long as to ask a small model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnnapps.serving import capi

LOOP = """
import json, os, signal, sys, traceback
from rnnapps.serving import c_session, capi

c_session.load_library()
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(asked["timeout"])
        for number, file in enumerate(asked["files"], 1):
            os.dup2(os.open(file, os.O_WRONLY), number)
        sys.argv, status = ["cpp", *asked["arguments"]], 0
        try:
            exec(compile(asked["script"], "cpp", "exec"), {"__name__": "__main__"})
        except SystemExit as error:
            status = 1
            print(error, file=sys.stderr)
        except BaseException:
            status = 1
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_COMMAND = [sys.executable, "-P", "-m", "rnnapps.serving.capi"]
_MAIN = "import sys; from rnnapps.serving import capi; capi.main(sys.argv[1:])"
_process: subprocess.Popen[str] | None = None


def run(script: str, *arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[bytes]:
    """Runs a script in a fork of the process, with the arguments in `sys.argv[1:]`; the first starts the process."""
    global _process
    if _process is None:
        _process = subprocess.Popen(
            [sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert _process.stdin is not None and _process.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdout", "stderr")]
        for file in files:
            file.touch()
        asked = {
            "script": script,
            "arguments": [str(argument) for argument in arguments],
            "files": [str(file) for file in files],
            "timeout": int(timeout),
        }
        print(json.dumps(asked), file=_process.stdin, flush=True)
        status = int(_process.stdout.readline())
        return subprocess.CompletedProcess([], status, *(file.read_bytes() for file in files))


@pytest.fixture(scope="session", autouse=True)
def one_cpp_process() -> Iterator[None]:
    """`capi.run_in_c_api` asks that process; at the end of the session, the process ends. For conftest files."""
    global _process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capi, "subprocess", SimpleNamespace(run=_run_main))
        yield
    if _process is not None:
        _process.communicate(timeout=60)
        _process = None


def _run_main(command: Sequence[Any], timeout: float, **_: Any) -> subprocess.CompletedProcess[bytes]:
    """What `subprocess.run` gives for a command of `run_in_c_api`."""
    assert list(command[: len(_COMMAND)]) == _COMMAND
    return run(_MAIN, *command[len(_COMMAND) :], timeout=timeout)
