"""Options of the commands that concern exported models, whatever their task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from rnnapps.config import check_types


@dataclass(frozen=True)
class Verify:
    """Try exported models as a server would use them: in C++, beside Python, alone and in batches."""

    path: Positional[Path] = Path("saved_models")
    """Folder NAME/VERSION, NAME for its highest version, or one of several NAMEs."""
    json: bool = False
    """Print one JSON object a model."""

    def __post_init__(self) -> None:
        check_types(self)
