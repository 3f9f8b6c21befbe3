"""Folders of prepared data, whose `meta.json` is written last: with it the folder is whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnapps.data.vocabulary import describe
from rnnapps.errors import RunError

META = "meta.json"


@contextlib.contextmanager
def opened(folder: Path, what: str, version: int) -> Iterator[dict[str, Any]]:
    """Gives the content of `meta.json`; what goes wrong while the folder is read becomes a sentence.

    Args:
        folder: Of the data.
        what: What it holds, for messages.
        version: The `format` that is wanted.

    Raises:
        RunError: The folder is missing or damaged.
    """
    try:
        content = json.loads((folder / META).read_text(encoding="utf-8"))
        if content["format"] != version:
            raise ValueError(f"format {content['format']} in place of {version}")
        yield content
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no whole {what}: {error.filename} is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} holds no readable {what} ({describe(error)})") from error
