"""SavedModels that TF Serving runs: endpoints, export, and their trial in TensorFlow's C++ runtime.

Importing this package imports no TensorFlow; its modules and functions do when they are first used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["export_model", "verify"]

_MODULES = {"export_model": "keras_model", "verify": "verification"}


def __getattr__(name: str) -> Any:
    """Finds `export_model` and `verify` when they are first named."""
    import importlib

    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
