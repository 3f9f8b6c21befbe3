"""The JSON of TensorFlow Serving's predict API: requests in row or column form to arrays, and answers back.

Types are taken as the server takes them: a whole number may stand for a float, 1.0 may not stand for an int32, and a
string of bytes is `{"b64": "..."}`. NaN, Infinity and -Infinity are read and written bare.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from rnnapps.server.signature import Signature, Spec, type_name
from rnnapps.server.status import Code, ServingError, invalid
from rnnapps.serving.c_session import STRING, TYPES, numpy_type

_DEFAULT = "serving_default"
_SHOWN = 60  # characters of a bad value that an error shows
_HALVES = ("float16", "bfloat16")


def _first_of_equal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise invalid("JSON Parse error: Number too big to be stored in double.")
    return number


def _whole(digits: str) -> int:
    _finite(digits)
    return int(digits)


_BLANK = re.compile(r"[ \t\n\r]*")
# Python reads a number that no double holds as infinite; it takes time to ask of each number.
_LONG_NUMBER = re.compile(rb"[eE]\+?\d{3}|\d{300}")
_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_equal_keys)
_STRICT = json.JSONDecoder(object_pairs_hook=_first_of_equal_keys, parse_float=_finite, parse_int=_whole)
_SPACES, _PADDING = str.maketrans("", "", " \t\n\v\f\r"), {0: (0,), 2: (0, 2), 3: (0, 1)}


@dataclass(frozen=True)
class PredictRequest:
    """A request that was read.

    Attributes:
        signature: The endpoint.
        inputs: Arrays by name, checked against the endpoint.
        rows: Whether the request had the row form, which the answer then has too.
    """

    signature: Signature
    inputs: dict[str, np.ndarray]
    rows: bool


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body begins with; as by the server, of two equal keys the first counts, and what follows
    the object is overlooked.

    Raises:
        ServingError: It is no JSON, or no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig")
        decoder = _STRICT if _LONG_NUMBER.search(body) else _DECODER
        content, _ = decoder.raw_decode(text, _BLANK.match(text).end())  # type: ignore[union-attr]
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested thousands deep
        raise invalid("JSON Parse error: The document is too deep, or a number too long") from error
    if not isinstance(content, dict):
        raise invalid(f"JSON Value: {_shown(content)} Is not object")
    return content


def read_predict(body: bytes, signature_of: Callable[[str], Signature]) -> PredictRequest:
    """Reads the body of a predict request.

    Args:
        body: As received.
        signature_of: Gives an endpoint by name, or raises.

    Raises:
        ServingError: It is not a request that the endpoint can take.
    """
    content = read_object(body)
    name = content.get("signature_name", _DEFAULT)
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    signature = signature_of(name or _DEFAULT)
    rows = "instances" in content
    if rows and "inputs" in content:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if not rows and "inputs" not in content:
        raise invalid("Missing 'inputs' or 'instances' key")
    values = _columns(content["instances"], signature) if rows else _by_name(content["inputs"], signature)
    inputs = {key: _array(key, value, signature.inputs[key]) for key, value in values.items()}
    signature.check(inputs)
    return PredictRequest(signature, inputs, rows)


def write_predict(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The answer to a predict request, in row or in column form; the name of a single output is left out.

    Raises:
        ServingError: The outputs cannot be cut into rows, or have a type that JSON has no word for.
    """
    if rows:
        sizes = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
        if len(set(sizes.values())) > 1 or None in sizes.values():
            raise invalid(f"Outputs have no common first size, as the row format wants: {sizes}")
    plain = {name: _plain(name, array) for name, array in sorted(outputs.items())}
    if not rows:
        content: Any = {"outputs": plain if len(plain) > 1 else next(iter(plain.values()))}
    elif len(plain) > 1:
        names = tuple(plain)
        content = {"predictions": [dict(zip(names, row, strict=True)) for row in zip(*plain.values(), strict=True)]}
    else:
        content = {"predictions": next(iter(plain.values()))}
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def _columns(instances: Any, signature: Signature) -> dict[str, list[Any]]:
    """Values by input of the row form: a list of objects, or of the values of a single input."""
    if not isinstance(instances, list):
        raise invalid("Excepting 'instances' to be an list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    names = set(signature.inputs)
    objects = _is_object(instances[0])
    if not objects and len(names) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map: {','.join(sorted(names))}"
        )
    for i, item in enumerate(instances):
        if _is_object(item) != objects:
            expected = ("object", "list") if objects else ("value/list", "object")
            raise invalid(f"Expecting {expected[0]} but got {expected[1]} at item {i} of input list")
        if objects and set(item) != names:
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: {_shown(item)} "
                f"keys must be equal to: {','.join(sorted(names))}"
            )
    if not objects:
        return dict.fromkeys(names, instances)
    return {name: [item[name] for item in instances] for name in names}


def _by_name(inputs: Any, signature: Signature) -> dict[str, Any]:
    """Values by input of the column form: an object, or the value of a single input."""
    if not _is_object(inputs):
        if len(signature.inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map: {','.join(sorted(signature.inputs))}"
            )
        return dict.fromkeys(signature.inputs, inputs)
    for name in sorted(signature.inputs):
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: inputs[name] for name in signature.inputs}  # others are overlooked, as by the server


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _array(name: str, value: Any, spec: Spec) -> np.ndarray:
    """An array of nested lists of equal lengths, whose values must all be of the type that is wanted."""
    if spec.dtype != STRING and TYPES.get(spec.dtype) in (*_HALVES, None):
        raise ServingError(Code.UNIMPLEMENTED, f"Input {name}: JSON has no form for the type {type_name(spec.dtype)}")
    shape: list[int] = []
    level = [value]
    while level and type(level[0]) is list:
        size = len(level[0])
        if any(type(item) is not list or len(item) != size for item in level):
            raise invalid(
                f"Input {name}: Encountered list at unexpected size at level: {len(shape)} expected size: {size}"
            )
        shape.append(size)
        level = list(chain.from_iterable(level))
        if len(shape) > 32:
            raise invalid(f"Input {name}: lists are nested more than 32 deep")
    if spec.dtype == STRING:
        leaves = np.empty(len(level), object)
        leaves[:] = [_string(name, item) for item in level]
        return leaves.reshape(shape)
    return _numbers(name, level, numpy_type(TYPES[spec.dtype])).reshape(shape)


def _string(name: str, item: Any) -> bytes:
    if type(item) is str:
        try:
            return item.encode()
        except UnicodeEncodeError as error:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error
    if type(item) is not dict:
        raise _type_error(name, item, "string")
    if not _is_base64(item):
        raise invalid(f"Input {name}: JSON Value: {_shown(item)} not formatted correctly for base64 data")
    # As by the server: spaces and line breaks anywhere, one alphabet, and all of the padding ("=" or ".") or none.
    padded = item["b64"].translate(_SPACES)
    text = padded.rstrip("=.")
    try:
        if len(padded) - len(text) not in _PADDING.get(len(text) % 4, ()):
            raise ValueError("padding")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"Input {name}: Unable to base64 decode") from error


def _numbers(name: str, level: Sequence[Any], dtype: np.dtype) -> np.ndarray:
    kinds: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
    wanted = kinds[dtype.kind]
    if not set(map(type, level)) <= wanted:
        raise _type_error(name, next(item for item in level if type(item) not in wanted), dtype.name)
    if dtype.kind == "b":
        return np.array(level, bool)
    if dtype.kind == "f":
        array = np.array(level, np.float64)
        if (np.isfinite(array) & (np.abs(array) > np.finfo(dtype).max)).any():
            raise _lossy(name, max(array[np.isfinite(array)], key=abs), dtype)
        return array.astype(dtype)
    range_ = np.iinfo(dtype)
    if level and not (range_.min <= min(level) and max(level) <= range_.max):
        raise _type_error(name, max(level, key=abs), dtype.name)
    return np.array(level, dtype)


def _plain(name: str, array: np.ndarray) -> Any:
    """Nested lists of what JSON holds."""
    if array.dtype == object:
        items = [_text(item, name.endswith("_bytes")) for item in array.reshape(-1)]
        return _nested(items, array.shape)
    if array.dtype.name == "bfloat16":
        raise invalid("Failed to write JSON value for tensor type: bfloat16")
    if array.dtype.kind == "f" and array.dtype != np.float64:
        # Through text: the shortest that gives the number again, 0.2 and not 0.20000000298.
        return _nested(list(map(float, array.reshape(-1).astype("U32").tolist())), array.shape)
    return array.tolist()


def _nested(items: list[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return items[0]
    for size in shape[:0:-1]:
        # With a size of 0 there are no items to tell how many empty lists there are.
        count = len(items) // size if size else int(np.prod(shape[: shape.index(size)]))
        items = [items[i * size : (i + 1) * size] for i in range(count)]
    return items


def _text(item: bytes, is_bytes: bool) -> Any:
    return {"b64": base64.b64encode(item).decode()} if is_bytes else item.decode("utf-8", "replace")


def _type_error(name: str, item: Any, wanted: str) -> ServingError:
    kind = type(item).__name__
    return invalid(f"Input {name}: JSON Value: {_shown(item)} Type: {kind} is not of expected type: {wanted}")


def _lossy(name: str, item: Any, dtype: np.dtype) -> ServingError:
    return invalid(f"Input {name}: Cannot convert JSON value: {item} to {dtype.name} without loss of precision.")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
