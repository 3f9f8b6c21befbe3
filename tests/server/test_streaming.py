"""Text as it is written, from the server and from a client that keeps the state: as the model writes it at once."""

from __future__ import annotations

import http.client
import json
import socket
import time

import numpy as np
import pytest
import serving_client
import tensorflow as tf
from server_process import Server, ask

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.errors import RunError, UsageError
from rnnapps.models.text_generator import text_generator
from rnnapps.ops import random, sampling
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.text_endpoints import TextEndpoints
from rnnapps.serving.tokenization import TextCodec
from rnnapps.step_writer import StepWriter, draw, uniform

PREDICT = "/v1/models/sums:predict"
VOCABULARIES = {
    "char": Vocabulary("char", "abcé😀 \n"),
    # Every byte, so that what is drawn is mostly no UTF-8: and some whole characters by their first bytes.
    "byte": Vocabulary("byte", [bytes([i]) for i in range(256)]),
    "word": Vocabulary("word", ["the", " the", " cat", "é", " ", "."]),
}


def text_endpoints(kind):
    model = text_generator(VOCABULARIES[kind].size, "lstm", 8, 1, seed=3)
    for variable in model.variables:  # far from uniform, so that the temperature matters
        variable.assign(variable * 4)
    return TextEndpoints(model, TextCodec(VOCABULARIES[kind]))


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    for kind, vocabulary in VOCABULARIES.items():
        manifest = {"task": "text_generation", "vocabulary": vocabulary.to_dict()}
        write_saved_model(text_endpoints(kind), folder, kind, manifest)
    with Server(folder, "--batching", "--request-timeout", "5") as server:
        yield server


CASES = [
    ("text", "ab é", 40, 1.0, 7),
    ("text", "z中", 30, 0.0, 0),
    ("text", "abc", 0, 1.0, 1),
    ("text", "", 25, 0.5, -3),
]
KINDS = [
    ("byte", "é", 31, 1.3, 5),
    ("word", "the cat. é the", 20, 1.0, 1),
    ("char", "z😀", 30, 1.0, 7),
    ("byte", "", 61, 1.0, 2**31 - 1),
    ("char", "", 25, 0.5, -3),
    ("word", "", 10, 0.0, 0),
]


def _whole(server, kind, prompt, num_chars, temperature, seed):
    row = {"prompt": prompt, "num_chars": num_chars, "temperature": temperature, "seed": seed}
    status, answer = server.predict(kind, instances=[row])
    assert status == 200, answer
    return answer["predictions"][0]


def _events(text):
    return [
        {line.partition(": ")[0]: line.partition(": ")[2] for line in event.splitlines()}
        for event in text.split("\n\n")[:-1]
    ]


def _streams_what_it_writes_at_once(server, kind, prompt, num_chars, temperature, seed):
    whole = _whole(server, kind, prompt, num_chars, temperature, seed)
    asked = {"prompt": prompt, "num_chars": num_chars, "temperature": temperature, "seed": seed}
    status, text = server.ask(f"/v1/models/{kind}:stream", asked)
    assert status == 200
    *pieces, last = _events(text)
    assert all(list(event) == ["data"] for event in pieces)
    assert "".join(json.loads(event["data"])["text"] for event in pieces) == whole
    assert (last["event"], json.loads(last["data"])) == ("done", {"num_chars": num_chars})


@pytest.mark.parametrize("case", CASES)
def test_the_server_streams_what_it_writes_at_once(server, case):
    _streams_what_it_writes_at_once(server, *case)


@pytest.mark.full
@pytest.mark.parametrize("case", KINDS)
def test_the_server_streams_every_kind_as_it_writes_at_once(every_kind, case):
    _streams_what_it_writes_at_once(every_kind, *case)


@pytest.mark.parametrize(("kind", "prompt", "num_chars", "temperature", "seed"), KINDS[:3])
def test_a_writer_writes_what_the_model_writes_at_once(kind, prompt, num_chars, temperature, seed):
    """In this process, each operation by itself, so that fewer tokens have to do."""
    num_chars //= 2
    tf.config.run_functions_eagerly(True)
    try:
        functions = text_endpoints(kind).endpoints()
        write = functions["serving_default"]
        given = zip((prompt, num_chars, temperature, seed), write.input_signature, strict=True)
        whole = write(*(tf.constant([value], spec.dtype) for value, spec in given))["text"].numpy()[0].decode()
        states = {spec.name: (1, spec.shape[1]) for spec in functions["step"].input_signature[1].values()}
        writer, pieces = StepWriter(VOCABULARIES[kind], states, prompt, num_chars, temperature, seed), []
        while (inputs := writer.inputs()) is not None:
            tokens = tf.constant(inputs.pop("tokens"))
            answer = functions["step"](tokens, {name: tf.constant(state) for name, state in inputs.items()})
            pieces.append(writer.take({name: value.numpy() for name, value in answer.items()}))
    finally:
        tf.config.run_functions_eagerly(False)
    assert "".join(pieces) == whole and len(set(whole)) > 3


@pytest.mark.parametrize("case", CASES)
def test_the_client_streams_the_same_over_standard_calls(server, models, capsys, case):
    kind, prompt, num_chars, temperature, seed = case
    whole = _whole(server, *case)
    options = ["--url", f"http://127.0.0.1:{server.port}", "--model", kind, "--num-chars", str(num_chars)]
    options += ["--manifest", str(models / kind / "1" / "manifest.json"), f"--prompt={prompt}"]
    assert serving_client.main(["stream", *options, "--temperature", str(temperature), f"--seed={seed}"]) == 0
    assert capsys.readouterr().out == whole + "\n"


def test_the_clients_ask_over_rest_and_grpc(server, capsys):
    inputs = {"prompt": ["ab", "é"], "num_chars": [5, 3], "temperature": [0.5, 1.0], "seed": [1, 2]}
    expected = [_whole(server, "text", *row) for row in zip(*inputs.values(), strict=True)]
    shared = ["--model", "text", "--inputs", json.dumps(inputs)]
    assert serving_client.main(["predict", "--url", f"http://127.0.0.1:{server.port}", *shared]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": expected}
    assert serving_client.main(["grpc", "--address", server.grpc, *shared]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": expected}
    with pytest.raises(RunError, match="NOT_FOUND"):
        serving_client.grpc_predict(server.grpc, "nope", inputs)
    with pytest.raises(RunError, match="INVALID_ARGUMENT: input size"):
        serving_client.grpc_predict(server.grpc, "text", {"prompt": ["a"]})
    assert (
        serving_client.main(["predict", "--url", f"http://127.0.0.1:{server.port}", "--model", "no", "--inputs", "{}"])
        == 1
    )
    assert capsys.readouterr().err == "error: the server says 404: Servable not found for request: Latest(no)\n"
    assert serving_client.main(["predict", "--inputs", "["]) == 2
    assert "--inputs is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "body", "status", "words"),
    [
        ("text", {"num_chars": -1}, 400, "num_chars must be 0 to 65536"),
        ("text", {"num_chars": 65537}, 400, "num_chars must be 0 to 65536"),
        ("text", {"num_chars": 1.0}, 400, "num_chars is a float: wanted int"),
        ("text", {"num_chars": True}, 400, "num_chars is a bool: wanted int"),
        ("text", {"temperature": "hot"}, 400, "temperature is a str: wanted float"),
        ("text", {"temperature": float("nan")}, 400, "finite number"),
        ("text", {"temperature": 10**400}, 400, "too big"),
        ("text", {"prompt": "\ud800", "num_chars": 1}, 200, ""),
        ("text", {"seed": 2**100, "num_chars": 1}, 200, ""),
        ("text", {"top_k": 3}, 400, "Unknown key top_k"),
        ("text", [], 400, "Is not object"),
        ("nope", {}, 404, "Servable not found"),
    ],
)
def test_bad_streams(server, model, body, status, words):
    got, answer = server.ask(f"/v1/models/{model}:stream", body)
    assert got == status
    if status != 200:
        assert list(answer) == ["error"] and words in answer["error"]


def test_only_text_models_stream(server):
    status, answer = server.ask("/v1/models/sums:stream", {})
    assert status == 501 and "sums is no text model" in answer["error"]


def _steps(server):
    _, text = server.ask("/monitoring/prometheus/metrics")
    name = ":tensorflow:serving:runtime_latency_count{"
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_a_client_that_hangs_up_stops_the_work(server):
    body = json.dumps({"num_chars": 65536})
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = f"POST /v1/models/text:stream HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.getheader("Content-Type") == "text/event-stream"
        assert answer.readline().startswith(b"data: ")
        answer.close()
    end, before = time.monotonic() + 60, -1.0
    while (now := _steps(server)) != before:
        assert time.monotonic() < end, "it still writes"
        before = now
        time.sleep(0.2)
    assert now < 65536


def test_what_has_begun_is_finished_before_the_server_stops(models):
    body = b'{"instances": [1]}'
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with Server(models) as server:
        idle = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        waiting, streaming = (http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(2))
        assert ask(waiting, PREDICT, body)[0] == 200
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(head + body[:5])
            streaming.request("POST", "/v1/models/text:stream", json.dumps({"num_chars": 300}))
            stream = streaming.getresponse()
            first = stream.readline()
            server.process.terminate()
            while _is_open(server):
                time.sleep(0.05)
            assert ask(waiting, PREDICT, body) == (503, {"error": "The server stops"})
            connection.sendall(body[5:])
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, json.loads(answer.read())) == (200, {"predictions": [1.0]})
            events = _events((first + stream.read()).decode())
            assert events[-1]["event"] == "done" and len(events) > 100
        # Nor does the server wait for clients that are silent.
        assert server.process.wait(5) == 0
        for connection in (idle, waiting, streaming):
            connection.close()


def _is_open(server):
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_draws_are_those_of_the_model():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 300)).astype(np.float32) * 3
    seeds = rng.integers(-(2**31), 2**31, 50).astype(np.int32)
    steps = rng.integers(0, 10_000, 50).astype(np.int32)
    temperatures = np.where(np.arange(50) % 5 == 0, 0, rng.uniform(0.1, 2, 50)).astype(np.float32)
    numbers = random.uniform(tf.constant(seeds), tf.constant(steps), 299)
    scaled = sampling.scale(tf.constant(logits[:, 1:]), tf.constant(temperatures))
    wanted = sampling.draw(scaled, tf.cast(temperatures > 0, tf.float32), numbers).numpy() + 1
    for i in range(50):
        np.testing.assert_array_equal(uniform(int(seeds[i]), int(steps[i]), 299), numbers[i])
    drawn = [draw(logits[i], float(temperatures[i]), int(seeds[i]), int(steps[i])) for i in range(50)]
    assert drawn == wanted.tolist()


def test_what_a_writer_refuses():
    vocabulary = VOCABULARIES["char"]
    with pytest.raises(UsageError, match="num_chars must be 0 to 65536, not -1"):
        StepWriter(vocabulary, {}, num_chars=-1)
    with pytest.raises(UsageError, match="temperature must be a finite number, not inf"):
        StepWriter(vocabulary, {}, temperature=float("inf"))
