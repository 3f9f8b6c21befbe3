"""Looks through the folder of a version before TensorFlow reads it: nothing outside of it may be reached."""

from __future__ import annotations

from pathlib import Path

from rnnapps.errors import RunError
from rnnapps.server import apis  # noqa: F401  makes TensorFlow's protocol buffers importable, which `scan` needs
from rnnapps.server.status import Code, ServingError
from rnnapps.serving import scan


def check_version(folder: Path, root: Path) -> None:
    """Raises ServingError for a version that must not be loaded.

    Args:
        folder: The version.
        root: What is served: no symbolic link may lead out of it.
    """
    try:
        for graph in scan.check_files(folder, root):
            scan.check_nodes(graph)
    except scan.Damaged as error:
        code = Code.DATA_LOSS if (folder / "saved_model.pb").is_file() else Code.NOT_FOUND
        raise ServingError(code, str(error)) from error
    except RunError as error:
        raise ServingError(Code.INVALID_ARGUMENT, str(error)) from error
