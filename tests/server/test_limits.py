"""Requests that are too large or too slow."""

from __future__ import annotations

import http.client
import json
import socket
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from server_process import Server, ask, raw
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

PREDICT = "/v1/models/sums:predict"


@pytest.fixture(scope="module")
def small(sums):
    with Server(sums, "--max-request-bytes", "1000000", "--request-timeout", "0.6", "--xla") as server:
        yield server


def test_a_body_of_100_mb(small):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n"
    piece = b"x" * 1_000_000
    status, body = raw(small, f"{head}Content-Length: 100000000\r\n\r\n".encode(), *[piece] * 100)
    assert status == 413 and "larger than 1000000 bytes" in json.loads(body)["error"]
    chunk = b"f4240\r\n" + piece + b"\r\n"
    status, body = raw(small, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), *[chunk] * 100)
    assert status == 413
    assert small.predict("sums", instances=[1]) == (200, {"predictions": [1.0]})


def test_curl_s_expect_header(small):
    body = b'{"instances": [1]}'
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=60) as connection:
        connection.sendall((head % len(body)).encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())) == (200, {"predictions": [1.0]})
    assert raw(small, (head % 10**9).encode())[0] == 413


@pytest.mark.parametrize(
    "begin",
    [
        f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n",
        *(pytest.param(begin, marks=pytest.mark.full) for begin in ("P", "POST ")),
    ],
)
def test_slow_headers(small, begin):
    letters = [bytes([letter]) for letter in b"POST /v1/m"[len(begin) :][:9] or b"X-Header"]
    status, body = raw(small, begin.encode(), *letters, pause=0.15)
    assert status == 408 and "headers did not arrive" in json.loads(body)["error"]


def test_a_slow_body(small):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    status, body = raw(small, head.encode(), *[b" "] * 8, pause=0.15)
    assert status == 408 and "body did not arrive" in json.loads(body)["error"]


def test_slow_headers_on_a_connection_that_is_kept(small):
    connection = http.client.HTTPConnection("127.0.0.1", small.port, timeout=60)
    for _ in range(2):
        assert ask(connection, PREDICT, {"instances": [1]})[0] == 200
        time.sleep(0.7)  # idle is not slow
    connection.sock.sendall(b"GET ")
    answer = http.client.HTTPResponse(connection.sock)
    answer.begin()
    assert answer.status == 408
    answer.close()
    connection.close()


def test_the_size_of_a_message(small):
    with grpc.insecure_channel(small.grpc) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "sums"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(1_000_000, np.float32)))
        with pytest.raises(grpc.RpcError) as caught:
            predict(request, timeout=60)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(1000, np.float32)))
        assert len(predict(request, timeout=60).outputs["y"].float_val) == 1000
