"""One process at a time in the folder of a run; what killed ones left there is cleared away."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rnnapps.errors import RunError, UsageError
from rnnapps.training.strategies import is_first_worker

SCRATCH = ".new-"  # how the folders begin in which runs are prepared
_LOCK = ".lock"
# Beside them: what `files.write_whole` had not yet renamed, with the number of its process.
_LEFT = re.compile(rf"{re.escape(SCRATCH)}.*|\.\d+\..+")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process while the block runs, and clears away what killed processes left half written.

    The operating system lets go of the lock when a process ends, however it ends.

    Args:
        folder: Made if need be; gone again if it is empty at the end.

    Raises:
        UsageError: Another process has it, or it is a file.
        RunError: It cannot be written.
    """
    path = folder / _LOCK
    lock = FileLock(path)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--run {folder} is a file: wanted a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"--run {folder} is being written by {_owner(path)}: wanted its end, or another folder"
        ) from None
    except OSError as error:
        raise RunError(f"--run {folder} cannot be written ({error.strerror})") from error
    try:
        with contextlib.suppress(OSError):  # a system that locks the content too does without the number
            path.write_text(str(os.getpid()), encoding="ascii")
        _clear(folder)
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):  # unless something was written
            folder.rmdir()


def one_process(train: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorates a task's `train`: while it trains, `config.run` is locked, by the first of several that share it."""

    @functools.wraps(train)
    def alone(config: Any) -> Any:
        if config.strategy == "multiworker" and not is_first_worker():
            return train(config)
        with locked(config.run):
            return train(config)

    return alone


def is_passing(path: Path) -> bool:
    """Whether something in a run's folder is no part of a run: the lock, or what is half written."""
    return path.name == _LOCK or _LEFT.fullmatch(path.name) is not None


def _clear(folder: Path) -> None:
    if not (folder / "config.json").exists() and not all(map(is_passing, folder.iterdir())):
        return  # no run's folder, so nothing in it is ours
    for found in [*folder.iterdir(), *folder.glob("checkpoints/*")]:
        if _LEFT.fullmatch(found.name):
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)


def _owner(path: Path) -> str:
    try:
        return f"process {int(path.read_text(encoding='ascii'))}"
    except (OSError, ValueError):
        return "another process"
