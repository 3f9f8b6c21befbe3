"""What a server is asked for beside predictions, and how it ends: probes, browsers, lists, SIGTERM."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time

import pytest
from server_process import Server, ask


@pytest.fixture(scope="module")
def own(models):
    home = models / "sums"
    (home / "MODEL_CARD.md").write_text("# sums <of> all kinds\n")
    (home / "client").mkdir(exist_ok=True)
    (home / "client" / "request_row.json").write_text('{"instances": [{"x": 1.0}]}')
    with Server(models, "--cors", "--run-timeout", "0.5") as server:
        yield server


def answer(server, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path)
    found = connection.getresponse()
    content = found.read()
    connection.close()
    return found, content


def test_models_probes_and_the_page(own):
    status, listed = own.ask("/v1/models")
    assert status == 200 and {"name": "sums", "versions": [{"version": "1", "state": "AVAILABLE"}]} in listed["models"]
    assert own.ask("/healthz") == (200, "ok\n")
    status, page = own.ask("/")
    assert status == 200 and "version 1: AVAILABLE" in page and "sums &lt;of&gt; all kinds" in page
    assert "localhost:8501/v1/models/sums:predict" in page


def test_head_is_get_without_a_body(own):
    for path in ("/v1/models/sums", "/healthz", "/", "/v1/models/sums/metadata"):
        whole, content = answer(own, "GET", path)
        head, nothing = answer(own, "HEAD", path)
        assert (head.status, nothing) == (200, b"") and head.getheader("Content-Length") == str(len(content))
        assert whole.getheader("Content-Type") == head.getheader("Content-Type")


def test_a_page_of_another_origin_may_ask(own):
    for method, path in (("OPTIONS", "/v1/models/sums:predict"), ("GET", "/v1/models/sums"), ("GET", "/v1/models/no")):
        assert answer(own, method, path)[0].getheader("Access-Control-Allow-Origin") == "*"
    assert answer(own, "OPTIONS", "/v1/models/sums:predict")[0].status == 200


def test_grpc_health(own):
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(own.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30) == check(b"\n\x04sums", timeout=30) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as unknown:
            check(b"\n\x02no", timeout=30)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_request_that_takes_too_long_is_504_and_frees_the_server(own):
    begun = time.monotonic()
    forever = {"signature_name": "slow", "instances": [{"x": 1.0, "turns": 2**31 - 1}]}
    status, said = own.predict("sums", **forever)
    assert status == 504 and "0.5 seconds (--run-timeout)" in said["error"] and time.monotonic() - begun < 10
    assert own.predict("sums", instances=[1]) == (200, {"predictions": [1.0]})


@pytest.mark.full  # of the quick tier see how a server ends in `test_streaming`
def test_sigterm_beside_idle_connections_is_quick_and_answers_what_runs(models):
    with Server(models) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        assert ask(kept, "/v1/models/sums")[0] == 200
        idle = [kept, *(socket.create_connection(("127.0.0.1", server.port)) for _ in range(3))]
        answers = []
        slow = {"signature_name": "slow", "instances": [{"x": 1.0, "turns": 30_000}]}
        asking = threading.Thread(target=lambda: answers.append(server.predict("sums", **slow)))
        asking.start()
        time.sleep(0.3)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        took = time.monotonic() - begun
        asking.join()
        assert answers[0][0] == 200 and json.dumps(answers[0][1]) and took < 5, (answers, took)
        for connection in idle:
            connection.close()
