"""Many clients at once, and clients that send nonsense."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading

import pytest
from server_process import Server, ask

PREDICT = "/v1/models/sums:predict"


def _at_once(server, requests):
    """Answers to requests that are sent side by side, in their order."""
    answers = [None] * len(requests)

    def client(i):
        answers[i] = server.predict("sums", **requests[i])

    threads = [threading.Thread(target=client, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


@pytest.fixture(scope="module")
def one_worker(sums):
    options = ("--batching", "--workers", "1", "--max-batch-size", "16", "--max-queue", "50", "--grpc-port", "-1")
    with Server(sums, *options) as server:
        assert server.grpc == "off"
        yield server


def test_batches_of_strangers_get_their_own_answers(one_worker):
    slow = [{"signature_name": "slow", "instances": [{"x": i, "turns": 5_000}]} for i in range(40)]
    answers = _at_once(one_worker, slow)
    assert {status for status, _ in answers} == {200}
    rows = [answer["predictions"][0]["rows"] for _, answer in answers]
    assert rows[0] >= 1 and 1 < max(rows) <= 16  # they did run together, and in no batch that was too large
    expected = [one_worker.predict("sums", **one)[1]["predictions"][0]["y"] for one in slow[:3]]
    assert [answer["predictions"][0]["y"] for _, answer in answers[:3]] == pytest.approx(expected, rel=1e-5)
    # One in five is bad; lists of three widths cannot all be joined.
    picky = [{"signature_name": "picky", "instances": [-1.0 if i % 5 == 0 else float(i * i)]} for i in range(40)]
    for i, (status, answer) in enumerate(_at_once(one_worker, picky)):
        assert status == 400 if i % 5 == 0 else answer == {"predictions": [float(i)]}
    wide = [{"signature_name": "wide", "instances": [[1.0] * (i % 3)]} for i in range(30)]
    assert _at_once(one_worker, wide) == [(200, {"predictions": [float(i % 3)]}) for i in range(30)]


def test_a_client_that_hangs_up_while_it_waits_is_forgotten(one_worker):
    before = _runs(one_worker)
    body = json.dumps({"signature_name": "slow", "instances": [{"x": 1, "turns": 50_000}]})
    request = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", one_worker.port)) as connection:
            connection.sendall(request)
    assert one_worker.predict("sums", instances=[1])[0] == 200
    assert _runs(one_worker) - before < 21


def _runs(server):
    _, text = server.ask("/monitoring/prometheus/metrics")
    (runs,) = [line for line in text.splitlines() if line.startswith(":tensorflow:serving:runtime_latency_count{")]
    return float(runs.split()[-1])


def test_a_full_queue_is_503(one_worker):
    slow = {"signature_name": "slow", "instances": [{"x": 1, "turns": 20_000}]}
    answers = _at_once(one_worker, [slow] * 150)
    assert {status for status, _ in answers} == {200, 503}
    refused = [answer["error"] for status, answer in answers if status == 503]
    assert all("the queue is full" in error for error in refused)
    assert one_worker.predict("sums", instances=[1])[0] == 200


SEEDS = [
    b'{"instances": [1.0, 2, -3e5]}',
    b'{"signature_name": "several", "instances": [{"i": 1, "f": [0.5, 2], "s": "\\u00e9", "b": true}]}',
    b'{"signature_name": "several", "inputs": {"i": [1], "f": [[1, 2]], "s": [{"b64": "YQ=="}], "b": [false]}}',
    b'{"signature_name": "wide", "inputs": [[1, 2], [3, 4]]}',
    b'{"inputs": {"x": [NaN, Infinity]}}',
]
PATHS = [
    PREDICT,
    "/v1/models/sums/versions/1:predict",
    "/v1/models/sums/labels/stable:predict",
    "/v1/models/sums:stream",
]
PIECES = [
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"1e999", b"-", b"\xff", b"\0", b"\\ud800", b'{"b64": "?"}',
    b"NaN", b"1" * 30, b"9" * 5000, b"true", b'"x"', b"[" * 2000, b"\xef\xbb\xbf", b"1.0", b"{}", b"[]", b'"\\"',
    b"'", b"/**/",
]  # fmt: skip


def _mutated(rng, content):
    content = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(content) + 1)
        what = rng.randrange(4)
        if what == 0:
            content[place:place] = rng.choice(PIECES)
        elif what == 1:
            del content[place : place + rng.randrange(1, 8)]
        elif what == 2:
            content[place : place + rng.randrange(1, 8)] = rng.choice(PIECES)
        elif content:
            content[place % len(content)] = rng.randrange(256)
    return bytes(content)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2))])
def test_nonsense_is_never_our_fault(server, seed):
    rng = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    answered = {}
    for _ in range(500):
        body = rng.choice(SEEDS)
        if rng.random() < 0.9:
            body = _mutated(rng, body)
        path = rng.choice(PATHS)
        if rng.random() < 0.3:
            path = "/" + "".join(chr(b) for b in _mutated(rng, path.encode()) if 33 <= b < 127).lstrip("/")
        method = rng.choice(["POST"] * 8 + ["GET", "PUT"])
        status, answer = ask(connection, path, body, method)
        answered[status] = answered.get(status, 0) + 1
        assert status < 500 or status == 501, (method, path, body, answer)
        if status != 200:
            assert list(answer) == ["error"] and isinstance(answer["error"], str) and "\n" not in answer["error"]
    connection.close()
    assert {200, 400, 404, 405} <= set(answered)
    assert server.predict("sums", instances=[1]) == (200, {"predictions": [1.0]})


@pytest.mark.parametrize("seed", range(2))
def test_bytes_that_are_no_http_do_no_harm(server, seed):
    rng = random.Random(seed)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n".encode() + b'{"instances":[1]}'
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(_mutated(rng, head))
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := _received(connection):
                answer += piece
        assert answer == b"" or answer.split()[1] in (b"200", b"400", b"404", b"405", b"413"), answer
    assert server.predict("sums", instances=[1]) == (200, {"predictions": [1.0]})


def _received(connection):
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.full)])
def test_memory_does_not_grow(server, rounds):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    row = {"i": 1, "f": [0.5, 2], "s": "x" * 100_000, "b": True}
    good = json.dumps({"signature_name": "several", "instances": [row] * 5})  # 500 kB of strings, in and out
    bad = json.dumps({"signature_name": "picky", "instances": [-1.0] * 2_000})

    def work(rounds):
        for _ in range(rounds):
            assert ask(connection, PREDICT, good)[0] == 200
            assert ask(connection, PREDICT, bad)[0] == 400
        _, text = ask(connection, "/monitoring/prometheus/metrics")
        (size,) = [line for line in text.splitlines() if line.startswith("process_resident_memory_bytes ")]
        return float(size.split()[1])

    before = work(rounds // 4)
    after = work(rounds)
    connection.close()
    assert after - before < rounds * 200_000 + 2**22, (before, after)  # less than half of a leak of the strings
