"""Two results of `bench.py` against each other: `python tools/compare_bench.py A.json B.json`.

Prints the medians of each contender in each row, and B's as a share of A's: below 1, B is faster. Results of different
benchmarks or machines are refused; settings and versions that differ are named, since they may be what is compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnapps.errors import UsageError

_MACHINE = ("cpus", "processor", "platform")
_SAME = ("benchmark", "cell")
_SETTINGS = ("threads", "precision", "warm", "rounds", "temperature")
_VERSIONS = ("python", "tensorflow", "keras", "torch", "numpy")


def read(path: Path) -> dict[str, Any]:
    """A result of `bench.py`.

    Raises:
        UsageError: The file is not there, or holds something else.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        medians(figures)
        _ = figures["benchmark"], figures["machine"]["cpus"]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no result of bench.py: wanted a file that its --json wrote") from error
    return figures


def medians(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds by row and contender; a benchmark without rows is one row."""
    rows = figures.get("rows") or [{"row": f"{figures['model']}, {figures['tokens']} tokens", **figures}]
    return {row["row"]: {r["name"]: float(r["median_seconds"]) for r in row["results"]} for row in rows}


def compare(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The table.

    Raises:
        UsageError: The two cannot be compared.
    """
    for kind, names, left, right in (("benchmarks", _SAME, a, b), ("machines", _MACHINE, a["machine"], b["machine"])):
        for name, one, other in _differences(names, left, right):
            raise UsageError(f"these are results of different {kind}: {name} is {one!r} in A and {other!r} in B")
    rows_a, rows_b = medians(a), medians(b)
    common = [row for row in rows_a if row in rows_b]
    if not common:
        raise UsageError(f"no row is in both: A has {', '.join(rows_a)}, B has {', '.join(rows_b)}")
    lines = [
        f"{name}: {one} in A, {other} in B"
        for names, left, right in ((_SETTINGS, a, b), (_VERSIONS, a["machine"], b["machine"]))
        for name, one, other in _differences(names, left, right)
    ]
    width = max(len(name) for row in common for name in (row, *rows_a[row], *rows_b[row]))
    for row in common:
        lines += ["", f"{row:{width}}  {'A, ms':>10}  {'B, ms':>10}  {'B / A':>6}"]
        for name in {**rows_a[row], **rows_b[row]}:
            lines.append(f"{name:{width}}  {_figures(rows_a[row].get(name), rows_b[row].get(name))}")
    alone = [f"only in {file}: {row}" for file, rows in (("A", rows_a), ("B", rows_b)) for row in rows]
    alone = [line for line in alone if line.partition(": ")[2] not in common]
    return "\n".join([*lines, *([""] if alone else []), *alone]).strip("\n")


def _differences(names: Sequence[str], a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)]


def _figures(a: float | None, b: float | None) -> str:
    one, other = (f"{'-':>10}" if seconds is None else f"{1e3 * seconds:10.2f}" for seconds in (a, b))
    ratio = f"{'-':>6}" if a is None or b is None else f"{b / a:6.3f}"
    return f"{one}  {other}  {ratio}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, metavar="A.json", help="the result that counts as 1")
    parser.add_argument("b", type=Path, metavar="B.json", help="the result that is held against it")
    options = parser.parse_args(arguments)
    try:
        print(compare(read(options.a), read(options.b)))
    except UsageError as error:
        print(f"compare_bench: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
