"""Everything a run needs to go on as if it had never stopped, in one file."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from rnnapps.errors import RunError
from rnnapps.files import write_whole

_STATE = "state.json"


def save(path: Path, variables: Sequence[keras.Variable], state: dict) -> None:
    """Writes the values of `variables` and a JSON object to an `.npz` file.

    Raises:
        RunError: The file cannot be written.
    """
    arrays = {name: keras.ops.convert_to_numpy(v) for name, v in _named(variables).items()}
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    write_whole(path, lambda file: np.savez(file, allow_pickle=False, **{_STATE: text, **arrays}))


def load(path: Path, variables: Sequence[keras.Variable]) -> dict:
    """Sets `variables` to what `save` wrote and returns its JSON object. Nothing is set unless everything fits.

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
    named = _named(variables)
    if {name: array.shape for name, array in arrays.items()} != {n: tuple(v.shape) for n, v in named.items()}:
        raise RunError(f"{path} belongs to a model of other weights: wanted the options that the run began with")
    for name, variable in named.items():
        variable.assign(arrays[name])
    return state


def _named(variables: Sequence[keras.Variable]) -> dict[str, keras.Variable]:
    # By position: Keras numbers the layers of a process, so a path may differ from one run of it to the next.
    return {f"{i:03d}_{variable.name}": variable for i, variable in enumerate(variables)}
