"""Which form of a cell's step a subclass has changed: `call`, or the parts that the engine runs in its place."""

from __future__ import annotations

from typing import Any

# `step` is what a wrapper of a cell overrides.
_WHOLE = ("call", "step")


def overridden_call(cell: Any) -> str:
    """What overrides a cell's step and leaves its parts alone, such as "Half.call"; empty if nothing does.

    The parts are named by `parts_of_step` of the cell's base. A class that writes both a step and some of the parts is
    taken at its word that they agree, and so is the base.
    """
    for cls in type(cell).__mro__:
        written = vars(cls)
        if "parts_of_step" in written:
            return ""
        steps = [name for name in _WHOLE if name in written]
        if steps:
            parts = getattr(cell, "parts_of_step", None)
            return "" if parts is None or parts & written.keys() else f"{cls.__name__}.{steps[0]}"
    return ""


def overridden_parts(cell: Any) -> bool:
    """Whether a subclass of a cell with the `call` of Keras, which says `follows_keras`, has changed a part of it."""
    parts = cell.parts_of_step - {"is_three_part"}  # says how to run a step, not what it is
    changed = False
    for cls in type(cell).__mro__:
        if "follows_keras" in vars(cls):
            return changed
        changed = changed or bool(parts & vars(cls).keys())
    return False
