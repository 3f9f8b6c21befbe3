"""Files in the older form of `torch.save`, as a process with torch would write them; torch need not be installed."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage", "int64": "LongStorage",
         "int32": "IntStorage"}  # fmt: skip


class Tensor:
    """What pickles as a tensor does: `array` lies in a storage of its own, and in what order its strides say."""

    def __init__(self, array, **changes):
        elements = [stride // array.itemsize for stride in array.strides]
        self.array, self.kind = array, KINDS[str(array.dtype)]
        self.arguments = {"start": 0, "shape": array.shape, "strides": tuple(elements), **changes}

    def __reduce__(self):
        arguments = self.arguments.values()
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (self.array, *arguments, False, OrderedDict())


class _Pickler(pickle.Pickler):
    """Writes the key of a storage where an array would stand, and keeps the array for later."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages = {}

    def persistent_id(self, value):
        if not isinstance(value, np.ndarray):
            return None
        self.storages[str(id(value))] = value
        kind = getattr(sys.modules["torch"], KINDS[str(value.dtype)])
        return "storage", kind, str(id(value)), "cpu", value.size, None


def written(state_dict, **changes):
    """The bytes of the file; a value is a `Tensor`, an array that becomes one, or what a test puts in its place."""
    values = {name: Tensor(value) if isinstance(value, np.ndarray) else value for name, value in state_dict.items()}
    values = OrderedDict(values)
    values._metadata = OrderedDict(version=1)  # as torch's, which makes a BUILD of it
    parts = {"magic": 0x1950A86A20F9469CFC6C, "version": 1001, "machine": {"little_endian": True}, "values": values}
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
        for kind in KINDS.values():
            setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
        utils._rebuild_tensor_v2 = _rebuild_tensor_v2
        torch._utils = utils
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        for value in (parts | changes).values():
            pickler = _Pickler(file)
            pickler.dump(value)
        pickle.dump(sorted(pickler.storages), file, protocol=2)
    for _, array in sorted(pickler.storages.items()):
        file.write(np.int64(array.size).tobytes() + array.ravel(order="K").tobytes())
    return file.getvalue()


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("a test called what only a name stands for")


# Pickle looks a function up by its module and its name.
_rebuild_tensor_v2.__module__ = "torch._utils"
