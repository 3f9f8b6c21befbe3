"""State dicts that torch saved: what is read, and what is refused without being run."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from torch_files import Tensor, written

from rnnapps.errors import UsageError
from rnnapps.models.torch_file import read_state_dict

ARRAY = np.arange(24, dtype="float32").reshape(2, 3, 4)


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def read(tmp_path):
    def read(content):
        (tmp_path / "weights.pth").write_bytes(content)
        return read_state_dict(tmp_path / "weights.pth")

    return read


def test_arrays_types_and_orders(read):
    state_dict = {
        "plain": ARRAY,
        "half": ARRAY.astype("float16") / 7,
        "double": ARRAY.astype("float64") / 7,
        "long": np.array(-5),
        "int": np.array([2**31 - 1, 0], "int32"),
        "turned": ARRAY.transpose(2, 0, 1),
        "empty": np.zeros((0, 3), "float32"),
    }
    assert not state_dict["turned"].flags.c_contiguous
    found = read(written(state_dict))
    assert list(found) == list(state_dict)
    for name, array in state_dict.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_parts_of_one_storage(read):
    parts = {
        "row": Tensor(ARRAY, start=4, shape=(4,), strides=(1,)),
        "column": Tensor(ARRAY, start=1, shape=(6,), strides=(4,)),
    }
    found = read(written(parts))
    np.testing.assert_array_equal(found["row"], [4, 5, 6, 7])
    np.testing.assert_array_equal(found["column"], [1, 5, 9, 13, 17, 21])


def test_many_arrays_and_long_names(read):
    # More than 256 entries of the pickle's memo, whose instructions then have other names.
    state_dict = {f"{'layer.' * 50}{i}": np.full((3,), i, "float32") for i in range(300)}
    found = read(written(state_dict))
    assert len(found) == 300
    for name, array in state_dict.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda call: {"values": call}, "values"),
        (lambda call: {"values": OrderedDict(a=call)}, "an array"),
        (lambda call: {"magic": call}, "the first pickle"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize(
    ("function", "argument", "words"),
    [(os.system, "echo > {}", f"names '{os.name}.system'"), (eval, "open('{}', 'w')", "names '__builtin__.eval'")],
)
def test_a_call_is_refused_and_not_made(read, tmp_path, change, name, function, argument, words):
    proof = tmp_path / "proof"
    content = written({}, **change(Calls(function, argument.format(proof))))
    with pytest.raises(UsageError, match=f"weights.pth is refused, and nothing in it was run: it {words}, which"):
        read(content)
    assert not proof.exists()


def test_the_files_of_that_test_do_harm_where_pickle_reads_them(tmp_path):
    pickle.loads(pickle.dumps(Calls(eval, f"open({str(tmp_path / 'proof')!r}, 'w').close()"), protocol=2))
    assert (tmp_path / "proof").exists()


def test_what_may_be_named_may_not_be_called_with_anything(read):
    with pytest.raises(UsageError, match="calls 'collections OrderedDict' with 1 arguments"):
        read(written({}, values=Calls(OrderedDict, ((("a", 1),),))))
    # INST makes an instance without REDUCE; DUP is harmless, and not needed.
    for program, instruction in ((b"\x80\x02(ios\nsystem\n.", "INST"), (b"\x80\x02K\x012.", "DUP")):
        with pytest.raises(UsageError, match=f"has the instruction {instruction}, which no state dict needs"):
            read(program)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (2, 3, 5)},
        {"start": 1},
        {"start": -1},
        {"start": 10**18},
        {"strides": (12, 4, 2)},
        {"strides": (-12, 4, 1)},
        {"shape": (10**12,), "strides": (0,)},
        {"shape": (-2, -3, 4)},
        {"strides": (12, 4)},
        {"shape": "abc"},
    ],
    ids=str,
)
def test_a_tensor_that_leaves_its_storage(read, changes):
    with pytest.raises(UsageError, match="weights.pth is no state dict of torch, or only a part of one"):
        read(written({"a": Tensor(ARRAY, **changes)}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"magic": 1}, "starts with 1, 1001: wanted 119547037146038801333356, 1001"),
        ({"version": 2}, "starts with 119547037146038801333356, 2: wanted"),
        ({"machine": {"little_endian": False}}, "numbers are big-endian"),
        ({"values": OrderedDict(a=3)}, "'a' is a int: wanted only tensors by their names"),
        ({"values": OrderedDict(state=OrderedDict(a=Tensor(ARRAY)))}, "'state' is a dict: wanted only tensors"),
        ({"values": [1]}, "is no state dict"),
    ],
    ids=["magic", "version", "machine", "number", "dict", "list"],
)
def test_other_files(read, changes, words):
    with pytest.raises(UsageError, match=words):
        read(written({}, **changes))


def test_every_part_of_a_file_is_refused(read):
    content = written({"a": ARRAY, "b": ARRAY[0]})
    assert len(read(content)) == 2
    for length in range(0, len(content), 3):
        with pytest.raises(UsageError, match=r"weights.pth is no state dict of torch, or only a part of one \("):
            read(content[:length])


def test_files_that_are_no_such_files(read, tmp_path):
    with pytest.raises(UsageError, match="weights.pth is a zip file: wanted the older form"):
        read(b"PK\x03\x04")
    for content in (b"", b"words", bytes(100), b"\x80\x02X\xff\xff\xff\xffabc"):
        with pytest.raises(UsageError, match="weights.pth is no state dict of torch"):
            read(content)
    with pytest.raises(UsageError, match=r"no.pth cannot be read \(No such file or directory\)"):
        read_state_dict(tmp_path / "no.pth")
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        read_state_dict(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_torch_itself_writes_such_files(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state_dict = {**module.state_dict(), "turned": torch.arange(6.0).reshape(2, 3).T}
    torch.save(state_dict, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    torch.save(module.state_dict(), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name, array in read_state_dict(tmp_path / "a.pth").items():
        np.testing.assert_array_equal(array, state_dict[name].numpy(), strict=True)
    assert list(read_state_dict(tmp_path / "b.pth")) == list(module.state_dict())
