"""Which model a verb asks where its options name none."""

from __future__ import annotations

import sys
from pathlib import Path

from rnnapps import config as configs


def run_or_model(run: Path | None, model: Path | None, usual: Path, shipped: str) -> tuple[Path, bool]:
    """What a verb asks: a run or an export. Where the options name neither, standard error says which was taken.

    Args:
        run: A run's folder that the options name.
        model: An export that the options name.
        usual: Where `train` writes to when nothing else is said: a run there is what the user has just trained.
        shipped: Name of the trained model that comes with a checkout, for where there is no such run.

    Returns:
        The folder, and whether it is a run's.

    Raises:
        UsageError: There is neither.
    """
    if run is not None:
        return run, True
    if model is not None:
        return model, False
    if (usual / "model.keras").is_file():
        print(f"model: the run in {usual} (--model NAME takes an export)", file=sys.stderr)
        return usual, True
    found = configs.shipped_model(shipped)
    print(f"model: {shipped}, which is shipped, as there is no run in {usual}", file=sys.stderr)
    return found, False
