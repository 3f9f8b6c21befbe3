"""Folders that take long to make: once for all processes of a session, and kept while no source changes."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]


class Kept:
    """Where such folders are: in the cache of pytest, so that `pytest --cache-clear` makes them anew."""

    def __init__(self, cache: pytest.Cache) -> None:
        self._root = cache.mkdir("kept")

    def folder(self, name: str, make: Callable[[Path], object]) -> Path:
        """A folder that `make(folder)` has filled. Not to be changed.

        One that an interrupted session left, or one of other sources, is made anew.
        """
        folder, sources = self._root / name, self._root / f"{name}.sources"
        with FileLock(f"{folder}.lock"):
            if not sources.exists() or sources.read_text() != _sources():
                sources.unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                sources.write_text(_sources())
        return folder


@functools.cache
def _sources() -> str:
    """A hash of all that such a folder may depend on: the code of the package and of the tests, versions, settings."""
    found = hashlib.sha256(platform.python_version().encode())
    found.update(os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").encode())
    for library in ("tensorflow", "keras", "numpy", "pillow"):
        found.update(metadata.version(library).encode())
    for folder in ("rnnapps", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()
