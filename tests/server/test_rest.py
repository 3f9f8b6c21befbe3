"""The REST API: what it answers, and what it says to bad requests."""

from __future__ import annotations

import base64
import http.client
import json

import numpy as np
import pytest
from server_process import raw

PREDICT = "/v1/models/sums:predict"
SEVERAL = {"i": 1, "f": [0.5, 2], "s": "é", "b": True}


def test_one_value_a_row(server):
    assert server.predict("sums", instances=[1, 2.5, -3]) == (200, {"predictions": [1.0, 2.5, -3.0]})
    assert server.predict("sums", instances=[{"x": 1.5}]) == (200, {"predictions": [1.5]})
    assert server.predict("sums", inputs=[1, 2]) == (200, {"outputs": [1.0, 2.0]})
    assert server.predict("sums", inputs={"x": [0.1]}) == (200, {"outputs": [0.1]})
    for path in ("/versions/1", "/labels/stable"):
        assert server.ask(f"/v1/models/sums{path}:predict", {"instances": [7]}) == (200, {"predictions": [7.0]})


def test_several_inputs_and_outputs_of_all_types(server):
    raw = b"\xff\0a"
    rows = [SEVERAL, {"i": -1, "f": [0, 1e-3], "s": {"b64": base64.b64encode(raw).decode()}, "b": False}]
    expected = {
        "total": [[1.5, 3.0], [-1.0, float(np.float32(-0.999))]],
        "same_bytes": [{"b64": base64.b64encode(value).decode()} for value in ("é".encode(), raw)],
        "text": ["é", "\N{REPLACEMENT CHARACTER}\0a"],
        "not": [False, True],
    }
    status, answer = server.predict("sums", signature_name="several", instances=rows)
    assert status == 200
    assert answer["predictions"][0] == {name: values[0] for name, values in expected.items()}
    np.testing.assert_allclose(answer["predictions"][1].pop("total"), expected["total"][1], rtol=1e-6)
    assert answer["predictions"][1] == {name: values[1] for name, values in expected.items() if name != "total"}
    columns = {name: [row[name] for row in rows] for name in SEVERAL}
    status, answer = server.predict("sums", signature_name="several", inputs=columns)
    assert status == 200 and list(answer["outputs"]) == sorted(expected)
    assert answer["outputs"]["same_bytes"] == expected["same_bytes"] and answer["outputs"]["not"] == [False, True]


def test_numbers_come_back_as_they_were(server):
    values = np.array([0.2, 2e-38, 3.4e38, 16777215, 1 / 3], np.float32)
    body = '{"instances": [NaN, Infinity, -Infinity, ' + ", ".join(map(str, values.tolist())) + "]}"
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", PREDICT, body)
    text = connection.getresponse().read().decode()
    connection.close()
    assert text.startswith('{"predictions": [NaN, Infinity, -Infinity, 0.2, 2e-38, ')
    np.testing.assert_array_equal(np.array(json.loads(text)["predictions"][3:], np.float32), values)


@pytest.mark.parametrize("rows", [1, 3])
def test_no_columns(server, rows):
    inputs = [[]] * rows
    assert server.predict("sums", signature_name="wide", inputs=inputs) == (200, {"outputs": [0.0] * rows})


def test_no_rows(server):
    assert server.predict("sums", inputs=[]) == (200, {"outputs": []})


def test_status_and_metadata(server):
    one = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("", "/versions/1", "/labels/stable"):
        assert server.ask(f"/v1/models/sums{path}") == (200, {"model_version_status": [one]})
    status, answer = server.ask("/v1/models/sums/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "sums", "signature_name": "", "version": "1"}
    several = answer["metadata"]["signature_def"]["signature_def"]["several"]
    assert several["method_name"] == "tensorflow/serving/predict"
    assert several["inputs"]["f"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in several["inputs"]["f"]["tensor_shape"]["dim"]] == ["-1", "2"]


def _row(**changes):
    return {"signature_name": "several", "instances": [SEVERAL, {**SEVERAL, **changes}]}


def _columns(**changes):
    columns = {"i": [1, 2], "f": [[1, 2], [3, 4]], "s": ["a", "b"], "b": [True, False], **changes}
    return {"signature_name": "several", "inputs": {key: value for key, value in columns.items() if value is not None}}


BAD = {
    "empty body": (b"", "The document is empty"),
    "no JSON": (b"{", "JSON Parse error"),
    "no UTF-8": (b'{"instances": ["\xff"]}', "Invalid encoding in string"),
    "half a pair": (b'{"signature_name": "several", "inputs": {"i": [1], "f": [[1,1]], "s": ["\\ud800"], "b": [true]}}',
                    "surrogate pair"),
    "no object": ([1], "Is not object"),
    "deep": (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
    "long number": (b'{"instances": [' + b"1" * 5000 + b"]}", "Number too big to be stored in double"),
    "deep lists": ({"instances": [[[[[[[[1.0]]]]]]]]}, "has the shape"),
    "no key": ({"signature_name": "serving_default"}, "Missing 'inputs' or 'instances' key"),
    "both keys": ({"instances": [1], "inputs": [1]}, "only one of 'inputs' or 'instances'"),
    "no list": ({"instances": 1}, "to be an list/array"),
    "empty batch": ({"instances": []}, "No values in 'instances'"),
    "signature's type": ({"signature_name": 1, "instances": [1]}, "must be a string"),
    "signature": ({"signature_name": "nope", "instances": [1]}, 'Serving signature key "nope" not found'),
    "text for a number": ({"instances": ["1"]}, "Type: str is not of expected type: float32"),
    "true for a number": ({"instances": [True]}, "Type: bool is not of expected type: float32"),
    "null": ({"instances": [None]}, "is not of expected type: float32"),
    "too large for float32": ({"instances": [1e39]}, "without loss of precision"),
    "ragged": ({"signature_name": "wide", "instances": [[1, 2], [3]]}, "unexpected size"),
    "ragged kinds": ({"signature_name": "wide", "instances": [[1, 2], 3]}, "unexpected size"),
    "list in list": ({"instances": [1, [2]]}, "Type: list is not of expected type"),
    "shape": ({"instances": [[1, 2]]}, "has the shape [1, 2]: wanted [?]"),
    "scalar": ({"inputs": 1}, "has the shape []: wanted [?]"),
    "plain list": ({"signature_name": "several", "instances": [1]}, "expecting list of objects as multiple"),
    "plain columns": ({"signature_name": "several", "inputs": [1]}, "expecting an object as multiple"),
    "mixed": ({"instances": [1, {"x": 1}]}, "Expecting value/list but got object at item 1"),
    "mixed too": ({"instances": [{"x": 1}, 1]}, "Expecting object but got list at item 1"),
    "unknown": (_row(z=1), "keys must be equal to: b,f,i,s"),
    "missing": ({"signature_name": "several", "instances": [{"i": 1}]}, "keys must be equal to: b,f,i,s"),
    "missing column": (_columns(i=None), "Missing named input: i in 'inputs' object"),
    "1.0 for int32": (_row(i=1.0), "is not of expected type: int32"),
    "too large for int32": (_row(i=2**31), "is not of expected type: int32"),
    "1 for bool": (_row(b=1), "is not of expected type: bool"),
    "number for string": (_row(s=1), "is not of expected type: string"),
    "b64": (_row(s={"b64": "?"}), "Unable to base64 decode"),
    "b64's type": (_row(s={"b64": 1}), "not formatted correctly for base64"),
    "inner size": (_columns(f=[[1], [2]]), "has the shape [2, 1]: wanted [?, 2]"),
    "rows": (_columns(i=[1]), "as many rows as each other"),
    "the model's own": ({"signature_name": "picky", "instances": [-1]}, "assertion failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_400_and_one_sentence(server, case):
    body, words = BAD[case]
    status, answer = server.ask(PREDICT, body)
    assert status == 400 and list(answer) == ["error"]
    assert words in answer["error"] and "\n" not in answer["error"]


def test_what_the_server_overlooks(server):
    assert server.predict("sums", inputs={"x": [1], "z": [2]}, more=1) == (200, {"outputs": [1.0]})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/nope:predict", 404),
        ("POST", "/v1/models/sums/versions/2:predict", 404),
        ("POST", "/v1/models/sums/labels/canary:predict", 400),
        ("GET", "/v1/models/nope", 404),
        ("GET", "/v1/models/sums/versions/3", 404),
        ("GET", "/v1/models/sums/labels/nope", 400),
        ("GET", "/v1/models/nope/metadata", 404),
        ("GET", "/v1/models/..", 404),
        ("GET", "/v1/models/../models/sums", 404),
        ("GET", "/v1/models/%2e%2e%2fsums", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/models/sums%00", 404),
        ("GET", "/v1/models/sums%2f1", 404),
        ("GET", "/v1/models/sums/", 404),
        ("GET", "/v1//models/sums", 404),
        ("GET", "/else", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/sums/versions/99999999999999999999", 400),
        ("POST", "/v1/models/sums:forget", 400),
        ("POST", "/v1/models/sums:classify", 501),
        ("POST", "/v1/models/sums:regress", 501),
        ("GET", PREDICT, 405),
        ("PUT", PREDICT, 405),
        ("DELETE", "/v1/models/sums", 405),
        ("POST", "/v1/models/sums/metadata", 405),
    ],
)
def test_paths_and_methods(server, method, path, status):
    got, answer = server.ask(path, b'{"instances": [1]}' if method != "GET" else None, method)
    assert got == status and list(answer) == ["error"]


def test_what_is_no_http_gets_json_too(server):
    for request in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nA b c\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\r\n\r\n"):
        status, body = raw(server, request)
        assert status == 400 and list(json.loads(body)) == ["error"]
    chunked = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
    status, body = raw(server, chunked)
    assert status == 400 and list(json.loads(body)) == ["error"]


def test_metrics(server):
    server.predict("sums", instances=[1])
    server.ask("/v1/models/made_up_name:predict", {"instances": [1]})
    status, text = server.ask("/monitoring/prometheus/metrics")
    assert status == 200 and "made_up_name" not in text
    counts = [line for line in text.splitlines() if line.startswith(":tensorflow:serving:request_count{")]
    assert any('model_name="sums",status="OK"' in line and float(line.split()[-1]) >= 1 for line in counts)
    assert "process_resident_memory_bytes" in text
