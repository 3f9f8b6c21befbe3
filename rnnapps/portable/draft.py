"""Files that belong together, put in their place when all of them are whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rnnapps.errors import RunError


@contextlib.contextmanager
def draft(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output`, whose files are moved to `output` if nothing is raised, else are lost.

    Raises:
        RunError: The folder cannot be written.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=output.parent))
        try:
            yield folder
            output.mkdir(exist_ok=True)
            for file in sorted(folder.iterdir()):
                os.replace(file, output / file.name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise RunError(f"{output} cannot be written ({error.strerror or error})") from error
