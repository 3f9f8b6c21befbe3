"""Checks which part of the package imports which: `python tools/check_imports.py [FOLDER]`.

    ops -> cells -> layers -> models -> task packages     an arrow reads "is imported by"
    data, decoding, forecasts, sampler, neurons, serving, training, runtime feed the tasks; no task imports another
    exchange and inspect stand on layers; the command gradient_flow stands on inspect, the command portable on serving

Imports inside functions and under `if TYPE_CHECKING` count too. Prints one line for each import that goes the wrong
way, and leaves with status 1 when there is one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "rnnapps"

# Part of the package: the other parts that it may import. Everything may import `errors`.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "config": {"files"},
    "task": set(),
    "cli": {"config", "task", ""},
    "ops": set(),
    "cells": {"ops"},
    "layers": {"cells", "ops"},
    "models": {"layers", "cells", "ops"},
    "exchange": {"layers", "cells"},
    "inspect": {"layers", "cells", "files"},
    "gradient_flow": {"cli", "config", "inspect"},
    "data": {"files", "ops"},
    "decoding": {"ops"},
    "forecasts": {"ops"},
    "sampler": {"data", "decoding", "ops"},
    "serving": {"data", "decoding", "forecasts", "ops"},
    "portable": {"cli", "config", "data", "decoding", "files", "serving"},
    "neurons": set(),
    "training": {
        "config",
        "data",
        "files",
        "decoding",
        "forecasts",
        "layers",
        "ops",
    },  # layers: for saved models
    "runtime": {"config", "ops"},
    "": {"cli"},  # rnnapps/__init__.py and rnnapps/__main__.py
}
# A folder that is not listed above is a task's: it may import all parts but these, and no other task.
NOT_FOR_TASKS = {"task"}
# Parts whose business is TensorFlow itself. The others speak to Keras, or to neither.
TENSORFLOW = {
    "ops",
    "data",
    "decoding",
    "forecasts",
    "inspect",
    "portable",
    "sampler",
    "serving",
    "training",
    "runtime",
}
# Parts and files that `--help` imports, and that therefore import neither TensorFlow nor Keras.
LIGHT = {"", "errors", "files", "config", "task", "cli", "gradient_flow"}
LIGHT_FILES = {"__init__.py", "__main__.py", "config.py"}


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yields the line and the full name of every module, or name in one, that `module` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def problem(path: Path, importer: str, name: str, parts: set[str]) -> str | None:
    """Says what is wrong with the file `path` of the part `importer` importing `name`, or returns None."""
    top, _, rest = name.partition(".")
    task = importer not in ALLOWED
    if top in ("tensorflow", "keras"):
        if importer in LIGHT or (task and path.name in LIGHT_FILES):
            return f"imports {top}, and --help would wait for it"
        if top == "tensorflow" and importer not in TENSORFLOW:
            return "imports tensorflow: wanted keras.ops, or a function in " + ", ".join(sorted(TENSORFLOW))
    if top != PACKAGE:
        return None
    # `from rnnapps import __version__` names no part: it is the package itself that is imported.
    part = rest.partition(".")[0] if rest.partition(".")[0] in parts else ""
    if part in (importer, "errors"):
        return None
    if not task:
        return None if part in ALLOWED[importer] else f"{importer or PACKAGE} imports {part or PACKAGE}"
    if part == "cli":
        return None if path.name == "__main__.py" else f"{importer} imports cli outside of __main__.py"
    if part not in ALLOWED:
        return f"task {importer} imports task {part}"
    return f"{importer} imports {part}" if part in NOT_FOR_TASKS else None


def check(folder: Path) -> list[str]:
    """Checks the package `folder`, such as `rnnapps`; returns one line for each import that goes the wrong way."""
    problems = []
    parts = {path.stem if path.is_file() else path.name for path in folder.iterdir()}
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        module = ".".join([PACKAGE, *inside.with_suffix("").parts]).removesuffix(".__init__")
        importer = inside.parts[0].removesuffix(".py")
        importer = "" if importer in ("__init__", "__main__") else importer
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for line, name in imported(tree, module, path.name == "__init__.py"):
            wrong = problem(path, importer, name, parts)
            if wrong:
                problems.append(f"{path}:{line}: {wrong}")
    return problems


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / PACKAGE
    problems = check(folder)
    print("\n".join(problems) if problems else f"{folder.name}: every import goes the right way")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
