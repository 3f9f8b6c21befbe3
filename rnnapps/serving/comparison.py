"""Answers beside each other: joined and cut as a server does it, and whether two of them are the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.errors import RunError
from rnnapps.serving.capi import bytes_again
from rnnapps.serving.client_files import plain

Answer = dict[str, np.ndarray]


def padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays under each other; a shorter one is filled up with its own first element, as the server does it."""
    shape = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))

    def filled(array: np.ndarray) -> np.ndarray:
        if array.shape[1:] == shape:
            return array
        full = np.full((len(array), *shape), array.flat[0] if array.size else array.dtype.type(), array.dtype)
        full[tuple(map(slice, array.shape))] = array
        return full

    return np.concatenate([filled(array) for array in arrays])


def alike(members: Sequence[int], requests: Sequence[Answer]) -> list[int]:
    """Those that have the shapes of the last one."""
    shapes = {i: [value.shape for value in requests[i].values()] for i in members}
    return [i for i in members if shapes[i] == shapes[members[-1]]]


def cut(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The part of an array that was not filled up, by its shape."""
    return array[tuple(itertools.chain([slice(None)], map(slice, shape[1:])))]


def same(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> bool:
    """Whether shapes, types and values are the same, numbers within a tolerance, relative or absolute."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if wanted.dtype.kind in "Ob":
        return bool((found == wanted).all())
    return bool(np.allclose(found.astype(np.float64), wanted.astype(np.float64), tolerance, tolerance, equal_nan=True))


def short(array: np.ndarray) -> str:
    """An array in a few words."""
    flat = array.reshape(-1)[:3].tolist()
    return f"{array.dtype.name} {list(array.shape)} {flat}"


def check_expected(
    client: Path, dtypes: Callable[[str], Mapping[str, Any]], ask: Callable[..., Answer], tolerance: float
) -> str:
    """Asks what `client/request_column.json` asks, and compares the answer with `expected.json`.

    Args:
        client: The folder of both, beside the versions of a model.
        dtypes: From an endpoint to NumPy's type of each of its inputs.
        ask: Answers a request, of an endpoint's name and its inputs.
        tolerance: Of numbers.

    Returns:
        A sentence.

    Raises:
        RunError: A file is missing or damaged, or the answer is another.
    """
    try:
        request, expected = (
            json.loads((client / name).read_text(encoding="utf-8")) for name in ("request_column.json", "expected.json")
        )
        key, wanted = request["signature_name"], expected["column"]["outputs"]
        types = dtypes(key)
        inputs = {name: np.array(bytes_again(value), types[name]) for name, value in request["inputs"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{client} has no request with its answer ({error}): wanted what export wrote") from error
    answer = {name: plain(value, binary=name.endswith("_bytes")) for name, value in ask(key, inputs).items()}
    found = answer if len(answer) > 1 else next(iter(answer.values()))
    if not _alike_json(found, wanted, tolerance):
        raise RunError(f"the answer to {client / 'request_column.json'} is {found!s:.80}: wanted {wanted!s:.80}")
    return f"that of {client.name}/expected.json"


def _alike_json(found: Any, wanted: Any, tolerance: float) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return set(found) == set(wanted) and all(_alike_json(found[key], wanted[key], tolerance) for key in wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = zip(found, wanted, strict=False)
        return len(found) == len(wanted) and all(_alike_json(one, other, tolerance) for one, other in pairs)
    if isinstance(wanted, float) and isinstance(found, float):
        return bool(np.isclose(found, wanted, tolerance, tolerance, equal_nan=True))
    return type(found) is type(wanted) and bool(found == wanted)
