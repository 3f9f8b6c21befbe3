"""The arrays of a state dict that torch has saved, read without torch and without running anything in the file.

`torch.save` wrote files in the form that is read here up to torch 1.5, and writes it still with
`_use_new_zipfile_serialization=False`: five pickles, which are a magic number, the version of the form, facts on the
machine, the state dict with a key in place of each storage, and the list of the keys; then, in the order of that list,
each storage as its number of elements (int64) and its bytes. A pickle is a program. Of its instructions, those that
build dicts, tuples, numbers and texts are followed; those that call something are compared with the three calls that
a state dict needs, and each other one is refused.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.errors import UsageError

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {"torch FloatStorage": "<f4", "torch HalfStorage": "<f2", "torch DoubleStorage": "<f8",
           "torch LongStorage": "<i8", "torch IntStorage": "<i4"}  # fmt: skip
_DICT, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays by torch's names, as views of the file's bytes: they cannot be written to.

    Raises:
        UsageError: The file cannot be read, holds something else, or asks for a call that no state dict needs.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"weights {path} cannot be read ({error.strerror})") from None
    if content.startswith(b"PK\x03\x04"):
        raise UsageError(f"weights {path} is a zip file: wanted the older form of torch, five pickles and the storages")
    try:
        return _state_dict(io.BytesIO(content))
    except _NotFollowed as error:
        raise UsageError(f"weights {path} is refused, and nothing in it was run: {error}") from None
    except Exception as error:  # bytes from elsewhere fail in as many ways as there are lines below
        raise UsageError(f"weights {path} is no state dict of torch, or only a part of one ({error})") from None


class _NotFollowed(Exception):
    """The file asks for something that no state dict needs."""


@dataclass(frozen=True)
class _Global:
    """A class or a function that the file names, as a name alone."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    elements: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor whose bytes come later in the file; `start` and `strides` count elements of the storage."""

    storage: _Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _state_dict(file: io.BytesIO) -> dict[str, np.ndarray]:
    magic, version = _Pickle(file).value(), _Pickle(file).value()
    if (magic, version) != (_MAGIC, _VERSION):
        raise ValueError(f"it starts with {magic!r}, {version!r}: wanted {_MAGIC}, {_VERSION}")
    if not _Pickle(file).value()["little_endian"]:
        raise ValueError("its numbers are big-endian: wanted little-endian ones")
    tensors, keys = _Pickle(file).value(), _Pickle(file).value()
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and isinstance(tensor, _Tensor)):
            raise ValueError(f"{name!r} is a {type(tensor).__name__}: wanted only tensors by their names")
    dtypes = {tensor.storage.key: np.dtype(tensor.storage.dtype) for tensor in tensors.values()}
    storages = {}
    for key in keys:
        (elements,) = np.frombuffer(file.read(8), "<i8").tolist()
        size = elements * dtypes[key].itemsize
        storages[key] = file.read(size) if elements >= 0 else b""
        if len(storages[key]) != size:
            raise ValueError(f"storage {key} has {len(storages[key])} bytes: wanted {size}")
    return {name: _array(name, tensor, storages) for name, tensor in tensors.items()}


def _array(name: str, tensor: _Tensor, storages: dict[str, bytes]) -> np.ndarray:
    dtype, storage = np.dtype(tensor.storage.dtype), storages[tensor.storage.key]
    # A stride of 0 would make a small storage as large as the file likes.
    if math.prod(tensor.shape) * dtype.itemsize > len(storage):
        raise ValueError(f"{name} has shape {tensor.shape}: wanted no more than its {len(storage)} bytes")
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    # NumPy refuses what would reach outside of the storage.
    return np.ndarray(tensor.shape, dtype, storage, tensor.start * dtype.itemsize, strides)


class _Pickle:
    """One pickle, from where the file stands; `value` leaves the file behind its end.

    Named after the instructions that they follow, in lower case, the methods take the instruction's argument.
    """

    _CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
    _ARGUMENTS = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"}

    def __init__(self, file: io.BytesIO):
        self.file = file
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what the stack was at each mark that is still open
        self.memo: dict[int, Any] = {}
        self.follow: dict[str, Callable[[Any], None]] = {
            "GLOBAL": self._global,
            "BINPERSID": lambda _: self.stack.append(self._storage(*self.stack.pop())),
            "REDUCE": self._reduce,
            "BUILD": lambda _: self.stack.pop(),  # attributes of the dict, which no array needs
            "MARK": self._mark,
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "TUPLE": lambda _: self._push(tuple(self._since_mark())),
            "TUPLE1": lambda _: self._push((self.stack.pop(),)),
            "TUPLE2": lambda _: self._push(self._last(2)),
            "TUPLE3": lambda _: self._push(self._last(3)),
            "SETITEM": lambda _: self._update(self._last(2)),
            "SETITEMS": lambda _: self._update(self._since_mark()),
            "APPEND": lambda _: self._extend([self.stack.pop()]),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "BINGET": lambda index: self.stack.append(self.memo[index]),
            "LONG_BINGET": lambda index: self.stack.append(self.memo[index]),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
        }

    def value(self) -> Any:
        for instruction, argument, _ in pickletools.genops(self.file):
            name = instruction.name
            if name in self._ARGUMENTS:
                self.stack.append(argument)
            elif name in self._CONSTANTS:
                self.stack.append(self._CONSTANTS[name])
            elif name in self.follow:
                self.follow[name](argument)
            elif name not in ("PROTO", "STOP"):
                raise _NotFollowed(f"it has the instruction {name}, which no state dict needs")
        return self.stack.pop()

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def _last(self, count: int) -> tuple[Any, ...]:
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def _remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _update(self, flat: Any) -> None:
        self.stack[-1].update(zip(flat[::2], flat[1::2], strict=True))

    def _extend(self, values: list[Any]) -> None:
        self.stack[-1].extend(values)

    def _global(self, name: str) -> None:
        if name not in (_DICT, _TENSOR, *_DTYPES):
            raise _NotFollowed(f"it names {name.replace(' ', '.')!r}, which no state dict needs")
        self.stack.append(_Global(name))

    def _storage(self, kind: str, storage: _Global, key: str, _device: str, elements: int, view: Any) -> _Storage:
        if kind != "storage" or view is not None:
            raise _NotFollowed(f"it has a {kind!r} with a view {view!r}: wanted a whole storage")
        return _Storage(key, _DTYPES[storage.name], elements)

    def _reduce(self, _: Any) -> None:
        called, arguments = self._last(2)
        if called == _Global(_DICT) and arguments == ():
            self.stack.append({})
        elif called == _Global(_TENSOR):
            storage, start, shape, strides, *_ = arguments
            self.stack.append(_Tensor(storage, start, shape, strides))
        else:
            raise _NotFollowed(f"it calls {getattr(called, 'name', called)!r} with {len(arguments)} arguments")
