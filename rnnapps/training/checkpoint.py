"""Everything a run needs to go on as if it had never stopped, in one file."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnnapps.errors import RunError
from rnnapps.files import write_whole

_STATE = "state.json"


def save(path: Path, names: Sequence[str], arrays: Sequence[np.ndarray], state: dict) -> None:
    """Writes the values of variables and a JSON object to an `.npz` file.

    Raises:
        RunError: The file cannot be written.
    """
    named = dict(zip(_keys(names), arrays, strict=True))
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    write_whole(path, lambda file: np.savez(file, allow_pickle=False, **{_STATE: text, **named}))


def load(path: Path, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[list[np.ndarray], dict]:
    """What `save` wrote, if it is of variables of these names and shapes.

    Raises:
        RunError: There is no such file, it is damaged, or it belongs to another model.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        state = json.loads(bytes(arrays.pop(_STATE)))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist: wanted a checkpoint that a run wrote") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is no whole checkpoint ({error}): wanted one that a run wrote") from error
    keys = _keys(names)
    if {key: array.shape for key, array in arrays.items()} != dict(zip(keys, shapes, strict=True)):
        raise RunError(f"{path} belongs to a model of other weights: wanted the options that the run began with")
    return [arrays[key] for key in keys], state


def _keys(names: Sequence[str]) -> list[str]:
    # By position: Keras numbers the layers of a process, so a path may differ from one run of it to the next.
    return [f"{i:03d}_{name}" for i, name in enumerate(names)]
