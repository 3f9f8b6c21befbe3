"""A `serve` in a process of its own, and the models that it serves in tests."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import tensorflow as tf

ROOT = Path(__file__).parents[1]
# The process must end well, and must never have imported TensorFlow's Python or Keras.
_CODE = """
import sys
from rnnapps import cli
status = cli.overview(sys.argv[1:])
assert not hasattr(sys.modules["tensorflow"], "__version__") and "keras" not in sys.modules
sys.exit(status)
"""


class Server:
    """`python -m rnnapps serve` on free ports, ready when it is made. Use it in a `with`."""

    def __init__(self, models: Path, *options: str):
        command = [sys.executable, "-c", _CODE, "serve", "--models", str(models), "--rest-port", "0"]
        ports = () if "--grpc-port" in options else ("--grpc-port", "0")
        self.process = subprocess.Popen(
            [*command, *ports, "--poll-interval", "0.1", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
        self.log: list[str] = []
        lines: queue.Queue[str] = queue.Queue()
        said = itertools.chain(self.process.stdout, [""])
        reads = (lambda: self.log.extend(self.process.stderr), lambda: [lines.put(line) for line in said])
        self.readers = [threading.Thread(target=read, daemon=True) for read in reads]
        for reader in self.readers:
            reader.start()
        self.said = []
        while not self.said or not self.said[-1].startswith("gRPC"):
            line = lines.get(timeout=120)
            if not line:
                raise AssertionError(f"the server ended with {self.stop()}: {''.join(self.log)}")
            self.said.append(line.strip())
        words = {line.split()[0]: line.split()[-1] for line in self.said}
        self.port = int(words["REST"].rpartition(":")[2].partition("/")[0])
        self.grpc = words["gRPC"]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind, *_) -> None:
        status = self.stop()
        if kind is None:
            assert status == 0, "".join(self.log)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        for thread in self.readers:
            thread.join(60)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def ask(self, path: str, body=None, method: str | None = None, headers=None):
        """Status and answer: JSON as an object, other answers as text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            return ask(connection, path, body, method, headers)
        finally:
            connection.close()

    def predict(self, model: str, **body):
        return self.ask(f"/v1/models/{model}:predict", body)

    def wait_for(self, model: str, condition, seconds: float = 60):
        """Waits until the states and messages by version of a model fulfil a condition; returns them."""
        end = time.monotonic() + seconds
        while True:
            status, content = self.ask(f"/v1/models/{model}")
            states = content.get("model_version_status", [])
            found = {int(one["version"]): (one["state"], one["status"]["error_message"]) for one in states}
            if condition(found):
                return found
            assert time.monotonic() < end, (status, content, self.log)
            time.sleep(0.05)


def ask(connection: http.client.HTTPConnection, path: str, body=None, method: str | None = None, headers=None):
    """As `Server.ask`, on a connection that is kept."""
    data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
    connection.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    if answer.getheader("Content-Type", "").startswith("application/json"):
        return answer.status, json.loads(content)
    return answer.status, content.decode()


def raw(server, *parts, pause=0.0):
    """Sends bytes as they are; returns status and body of the first answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


class Sums(tf.Module):
    """Endpoints of all kinds; `offset` tells versions apart."""

    def __init__(self, offset: float = 0.0, assets: str | None = None):
        super().__init__()
        self.offset = tf.Variable(offset, dtype=tf.float32)
        if assets is not None:
            table = tf.lookup.TextFileInitializer(
                assets, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            )
            self.table = tf.lookup.StaticHashTable(table, -1)

    def save(self, path: Path, **functions) -> Path:
        tf.saved_model.save(self, str(path), signatures={**self.endpoints(), **functions})
        return path

    def endpoints(self):
        def rows(dtype, *more, name):
            return tf.TensorSpec((None, *more), dtype, name=name)

        def add(x):
            return {"y": x + self.offset}

        def several(i, f, s, b):
            total = tf.cast(i, tf.float32)[:, None] + f
            return {"total": total, "same_bytes": s, "text": tf.identity(s), "not": ~b}

        def picky(x):
            with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
                return {"y": tf.sqrt(x)}

        def slow(x, turns):
            _, y = tf.while_loop(
                lambda i, _: i < tf.reduce_max(turns), lambda i, y: (i + 1, tf.sin(y) + tf.cos(y)), (0, x)
            )
            return {"y": y, "rows": tf.fill(tf.shape(x), tf.size(x))}

        def wide(x):
            return {"y": tf.reduce_sum(x, axis=1)}

        def scalar(x):
            return {"y": x * 2}

        signatures = {
            "serving_default": (add, rows(tf.float32, name="x")),
            "several": (
                several,
                rows(tf.int32, name="i"), rows(tf.float32, 2, name="f"), rows(tf.string, name="s"),
                rows(tf.bool, name="b"),
            ),
            "picky": (picky, rows(tf.float32, name="x")),
            "slow": (slow, rows(tf.float32, name="x"), rows(tf.int32, name="turns")),
            "wide": (wide, rows(tf.float32, None, name="x")),
            "scalar": (scalar, tf.TensorSpec((), tf.float32, name="x")),
        }  # fmt: skip
        return {
            name: tf.function(function, input_signature=specs, autograph=False)
            for name, (function, *specs) in signatures.items()
        }
