"""Exports in TensorFlow's C++ runtime, in a process without TensorFlow's Python, with XLA off."""

from __future__ import annotations

import json
import subprocess
import sys

import cpp_process
import numpy as np
import pytest
import small_exports
import tensorflow as tf
from export_helpers import Served, assert_same, own_answers

from rnnapps.errors import RunError
from rnnapps.serving import capi
from rnnapps.serving.capi import run_in_c_api

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the names of the libraries are those of Linux")


def test_same_answers(text_export, monkeypatch):
    """In a process that is started for it, as outside of tests."""
    monkeypatch.setattr(capi, "subprocess", subprocess)
    made = small_exports.text()
    requests = [request for request in made.every_request() if request[0] == "step"]
    assert_same(run_in_c_api(text_export, requests), own_answers(made.endpoints, requests))


def test_every_type_and_any_bytes_come_back(tmp_path):
    values = {
        "string": np.array([[b"a\0b\0", b"", b"\xff\xfe"], ["é".encode(), b"x" * 5000, b"\n"]], object),
        "float32": np.array([[1e-38, np.nan], [-np.inf, 0.1]], np.float32),
        "float16": np.array([0.1, 7], np.float16),
        "bfloat16": np.array([0.1, 7], tf.bfloat16.as_numpy_dtype),
        "int32": np.array([-(2**31), 2**31 - 1], np.int32),
        "int64": np.array([-(2**63), 2**63 - 1], np.int64),
        "bool": np.array([True, False]),
        "empty": np.zeros(0, np.float32),
    }
    specs = [tf.TensorSpec([None, *v.shape[1:]], tf.as_dtype(v.dtype), name) for name, v in values.items()]
    served = Served(lambda *tensors: {s.name: tf.identity(t) for s, t in zip(specs, tensors, strict=True)}, *specs)
    tf.saved_model.save(served, str(tmp_path), signatures={"same": served.functions["serving_default"]})
    (answer,) = run_in_c_api(tmp_path, [("same", values)])
    assert list(answer) == sorted(values)
    for name, value in values.items():
        assert answer[name].dtype == value.dtype and answer[name].shape == value.shape
        np.testing.assert_array_equal(answer[name], value)


def test_xla_is_off_as_in_the_server(tmp_path):
    spec = tf.TensorSpec((None,), tf.float32, "x")
    served = Served(lambda x: {"y": tf.function(tf.sin, jit_compile=True)(x)}, spec)
    tf.saved_model.save(served, str(tmp_path), signatures={"sine": served.functions["serving_default"]})
    with pytest.raises(RunError, match="XLA"):
        run_in_c_api(tmp_path, [("sine", {"x": np.zeros(2, np.float32)})])


def test_errors_are_one_sentence(tmp_path):
    with pytest.raises(RunError, match="Could not find SavedModel"):
        run_in_c_api(tmp_path / "nowhere", [])
    spec = tf.TensorSpec((None,), tf.float32, "x")
    served = Served(lambda x: {"y": tf.reshape(x, (-1, 2))}, spec)
    tf.saved_model.save(served, str(tmp_path), signatures={"pairs": served.functions["serving_default"]})
    for request, message in (
        (("nope", {}), "no signature 'nope', only .*pairs"),
        (("pairs", {"z": [1.0]}), r"pairs takes \['x'\], not \['z'\]"),
        (("pairs", {"x": [1.0, 2.0, 3.0]}), "reshape"),
    ):
        with pytest.raises(RunError, match=message) as caught:
            run_in_c_api(tmp_path, [request])
        assert "\n" not in str(caught.value)


def test_command_prints_json_and_imports_no_tensorflow(tmp_path):
    spec = tf.TensorSpec((None,), tf.string, "x")
    served = Served(lambda x: {"y": tf.strings.upper(x, encoding="utf-8")}, spec)
    tf.saved_model.save(served, str(tmp_path), signatures={"up": served.functions["serving_default"]})
    asked = tmp_path / "requests.json"
    asked.write_text(json.dumps([{"signature": "up", "inputs": {"x": ["é", {"b64": "Yg=="}]}}]))
    code = (
        "import sys; from rnnapps.serving import capi; capi.main(sys.argv[1:]);"
        "assert not hasattr(sys.modules['tensorflow'], '__version__') and 'keras' not in sys.modules"
    )
    result = cpp_process.run(code, tmp_path, asked)
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout) == [{"y": {"dtype": "string", "shape": [2], "values": ["É", "B"]}}]


def test_other_systems_get_a_clear_message(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RuntimeError, match="cannot be loaded on darwin"):
        capi.CSession("anything")
