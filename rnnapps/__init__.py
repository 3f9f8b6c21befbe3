"""Recurrent networks that are ready to use, for Keras.

`import rnnapps` is quick: it imports neither TensorFlow nor Keras. The parts arrive when they are first named:

    import rnnapps

    layer = rnnapps.layers.LSTM(64)      # imports TensorFlow, Keras and rnnapps.layers now

A saved `.keras` file that holds a layer of this package needs that layer's class to be registered with Keras first, and
importing `rnnapps` alone registers nothing. Say `import rnnapps.layers` before `keras.models.load_model(path)`. A
SavedModel that `export` wrote needs no part of this package.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_SUBMODULES = (
    "captioning",
    "cells",
    "config",
    "data",
    "decoding",
    "errors",
    "exchange",
    "forecasting",
    "forecasts",
    "gradient_flow",
    "inspect",
    "layers",
    "models",
    "neurons",
    "ops",
    "portable",
    "runtime",
    "sampler",
    "serving",
    "text_generation",
    "training",
    "translation",
)

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str) -> ModuleType:
    """Imports a part of the package when it is first named."""
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
