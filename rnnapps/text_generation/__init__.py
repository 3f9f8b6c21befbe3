"""Text generation: recurrent networks that learn text and write it.

Importing this package does not import TensorFlow; naming one of its functions does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rnnapps.text_generation.config import EXAMPLES, PRESETS, Config, Evaluate, Export, Predict, Serve, Tune

if TYPE_CHECKING:
    from rnnapps.text_generation.task import evaluate, export, predict, train, tune

__all__ = [
    "EXAMPLES",
    "PRESETS",
    "Config",
    "Evaluate",
    "Export",
    "Predict",
    "Serve",
    "Tune",
    "evaluate",
    "export",
    "predict",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Imports the functions, and TensorFlow with them, when the first of them is named."""
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.task"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
