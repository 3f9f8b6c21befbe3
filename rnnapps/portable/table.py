"""What can be converted, and why the rest cannot: every endpoint of every export, tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rnnapps.errors import RunError, UsageError
from rnnapps.portable.convert import FORMATS, WEIGHTS, convert
from rnnapps.portable.core import Core, numeric_core
from rnnapps.serving.saved_model import load_endpoints


def lines(folder: Path) -> Iterator[str]:
    """Lines of a Markdown table: megabytes of each file, and its difference to TensorFlow; or the reason.

    Args:
        folder: Of exports, `NAME/VERSION` each.

    Raises:
        UsageError: There is no export, or a run time is not installed.
        RunError: An export is damaged.
    """
    exports = sorted(path.parent for path in folder.glob("*/*/saved_model.pb") if path.parent.name.isdecimal())
    if not exports:
        raise UsageError(f"{folder} holds no export: wanted a folder with NAME/VERSION in it")
    for form in FORMATS.values():
        form.load()
    columns = [f"{form.name} {weights}" for form in FORMATS.values() for weights in WEIGHTS]
    yield "| " + " | ".join(["export", "endpoint", "in place of text, or why not", *columns]) + " |"
    yield "|" + "---|" * (3 + len(columns))
    for path in exports:
        for name, endpoint in sorted(load_endpoints(path).items()):
            row = [f"{path.parent.name}/{path.name}", f"`{name}`", *_cells(name, endpoint.function)]
            yield "| " + " | ".join(row) + " |"


def _cells(name: str, signature: object) -> list[str]:
    try:
        core = numeric_core(name, signature)
    except (UsageError, RunError) as error:
        reason = str(error).partition(": wanted")[0].removeprefix(f"endpoint {name!r} ")
        return [reason, *["no"] * (len(FORMATS) * len(WEIGHTS))]
    taken = ", ".join(f"`{key}` {core.inputs[key].dtype.name}" for key in core.cut)
    return [taken, *(_cell(core, form, weights) for form in FORMATS for weights in WEIGHTS)]


def _cell(core: Core, form: str, weights: str) -> str:
    try:
        made = convert(core, form, weights)
    except RunError as error:
        return str(error)
    return f"{len(made.content) / 1e6:.1f} MB, {made.difference:.0e}"
