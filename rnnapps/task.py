"""What a task package is: the names that the command line and the tests expect of `rnnapps.<task>`.

A task is a folder `rnnapps/<task>/` with `__init__.py`, `__main__.py`, `config.py`, `task.py` and `README.md`. Its
`config.py` holds the options and does not import TensorFlow; its `task.py` holds the functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

# Verb of the command line (and function of `task.py`): class of its options in `config.py`.
VERBS = {"train": "Config", "tune": "Tune", "evaluate": "Evaluate", "predict": "Predict", "export": "Export"}
# Verbs that every task shares, and that no `task.py` has a function for: class of their options, and the modules that
# are imported for them in this order; the last has a function `run` that takes the options.
SHARED_VERBS = {"serve": ("Serve", ("rnnapps.server.apis", "rnnapps.server.main"))}


class ConfigModule(Protocol):
    """What `rnnapps/<task>/config.py` holds."""

    Config: type
    """Options of `train`: a frozen dataclass with, at least, the fields `preset`, `run` and `resume`.

    A class attribute `ALTERNATIVES` may list groups of options; giving one of a group sets the others to `None`,
    whatever the preset says.
    """
    Tune: type
    """Options of `tune`: those of `rnnapps.space.SearchOptions` and of `Config`."""
    Evaluate: type
    Predict: type
    Export: type
    Serve: type
    PRESETS: Mapping[str, Any]
    """Name to `Config`; at least `DEFAULT_PRESET` and "tiny", which trains in seconds."""
    DEFAULT_PRESET: str
    EXAMPLES: Sequence[tuple[str, str]]
    """Three commands, from the verb on, each with what it does."""


class TaskModule(Protocol):
    """What `rnnapps/<task>/task.py` holds: one function for each verb.

    Each writes its result to standard output and everything else to standard error. It raises `UsageError` for what
    the user has to change and `RunError` for a run that could not go on; `train` saves and raises `KeyboardInterrupt`
    again when it is interrupted. What a function returns is for callers from Python; the command line ignores it.
    """

    def train(self, config: Any) -> Any: ...
    def tune(self, options: Any) -> Any: ...  # by rnnapps.training.tuning, for any task
    def evaluate(self, options: Any) -> Any: ...
    def predict(self, options: Any) -> Any: ...
    def export(self, options: Any) -> Any: ...
