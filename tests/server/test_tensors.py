"""Tensors on the wire: as TensorFlow writes and reads them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rnnapps.server.status import ServingError
from rnnapps.server.tensors import to_array, to_proto

LIMIT = 10**6
ARRAYS = {
    "float32": np.array([[0.1, np.nan], [np.inf, -0.0]], np.float32),
    "float64": np.array([1e300, 0.1]),
    "float16": np.array([0.1, -7], np.float16),
    "bfloat16": np.array([[0.1], [-7]], tf.bfloat16.as_numpy_dtype),
    "int8": np.array([-128, 127], np.int8),
    "uint8": np.array([0, 255], np.uint8),
    "int16": np.array([-(2**15), 2**15 - 1], np.int16),
    "uint16": np.array([0, 2**16 - 1], np.uint16),
    "int32": np.array([-(2**31), 2**31 - 1], np.int32),
    "uint32": np.array([0, 2**32 - 1], np.uint32),
    "int64": np.array([-(2**63), 2**63 - 1], np.int64),
    "uint64": np.array([0, 2**64 - 1], np.uint64),
    "bool": np.array([[True, False]]),
    "string": np.array([[b"a\0", b""], ["é".encode(), b"\xff" * 300]], object),
    "scalar": np.array(3, np.int32),
    "empty": np.zeros((0, 2), np.float32),
    "no strings": np.zeros((2, 0), object),
}


def _same(got, wanted):
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", ARRAYS)
def test_both_forms_of_every_type(name):
    array = ARRAYS[name]
    dtype = tf.string if array.dtype == object else None
    _same(to_array(tf.make_tensor_proto(array, dtype), LIMIT), array)  # numbers in tensor_content
    ours = to_proto(array)
    assert not ours.tensor_content
    if array.size:
        _same(np.asarray(tf.make_ndarray(ours)).reshape(array.shape), array)
    _same(to_array(ours, LIMIT), array)


def test_strings_in_tensor_content():
    """As `Tensor::AsProtoTensorContent` writes them: lengths as varints, then the strings."""
    proto = to_proto(np.array([b"", b""], object))
    proto.ClearField("string_val")
    long = b"x" * 300
    proto.tensor_content = bytes([1, 0b10101100, 0b10]) + b"a" + long
    assert to_array(proto, LIMIT).tolist() == [b"a", long]
    for bad in (proto.tensor_content[:-1], proto.tensor_content + b"b", b"\xff", b"\x01"):
        proto.tensor_content = bad
        with pytest.raises(ServingError, match="tensor_content"):
            to_array(proto, LIMIT)


@pytest.mark.parametrize("values", [[5.0], [5.0, 6.0], [], [1.0, 2.0, 3.0, 4.0]])
def test_too_few_values_are_repeated_as_tensorflow_does(values):
    proto = tf.make_tensor_proto(np.zeros((2, 2), np.float32))
    proto.ClearField("tensor_content")
    proto.float_val.extend(values)
    _same(to_array(proto, LIMIT), tf.io.parse_tensor(proto.SerializeToString(), tf.float32).numpy())


def test_what_is_refused():
    proto = tf.make_tensor_proto(np.zeros(3, np.float32))
    proto.tensor_content = b"123"
    with pytest.raises(ServingError, match="3 bytes: wanted 12"):
        to_array(proto, LIMIT)
    proto = tf.make_tensor_proto(1.0, shape=(1000, 1000))
    with pytest.raises(ServingError, match="larger than the 1000000 bytes"):
        to_array(proto, LIMIT)
    proto.tensor_shape.dim[0].size, proto.tensor_shape.dim[1].size = 2**62, 0
    with pytest.raises(ServingError, match="larger than"):
        to_array(proto, LIMIT)
    proto.tensor_shape.dim[0].size = -1
    with pytest.raises(ServingError, match="all of its sizes"):
        to_array(proto, LIMIT)
    with pytest.raises(ServingError, match="type number 18"):
        to_array(tf.make_tensor_proto(1j), LIMIT)
