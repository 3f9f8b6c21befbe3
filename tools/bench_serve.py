"""Speed of `rnnapps serve`: `python tools/bench_serve.py [cold] [latency] [load] [options]`, by default all three.

    cold      from the start of the process to the first answer
    latency   one client: a text over REST, and the same request in TensorFlow's C API in another process, by turns
    load      many clients at the same time, without and with --batching: requests per second, errors, memory

The servers are processes of their own, on free ports. Batches need a model whose requests may be joined; the request is
that of a text model: a text of --chars tokens after a short prompt, another seed each time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.config import shipped_model
from rnnapps.errors import RnnappsError, RunError

_WARM = 10  # requests before those that are measured
_LOAD_WARM = 3.0  # seconds of load before memory and requests are counted


class ServeProcess:
    """A server of one model, ready when it is made.

    Args:
        model: Folder NAME of the model.
        options: More options of `serve`.
    """

    def __init__(self, model: Path, *options: str):
        command = [sys.executable, "-m", "rnnapps.text_generation", "serve", "--model", os.fspath(model)]
        ports = ["--rest-port", "0", "--grpc-port", "-1"]
        self._process = subprocess.Popen([*command, *ports, *options], stdout=subprocess.PIPE, text=True)
        self.port, self.name = 0, model.name
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("REST"):
                self.port = int(line.rpartition(":")[2].partition("/")[0])
            if line.startswith("gRPC"):
                return
        raise RunError(f"the server ended with status {self._process.wait()}")

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def memory(self) -> float:
        """MiB that the process holds, as it says itself."""
        connection = self.connect()
        connection.request("GET", "/monitoring/prometheus/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        sizes = [line.split()[1] for line in text.splitlines() if line.startswith("process_resident_memory_bytes ")]
        return float(sizes[0]) / 2**20

    def stop(self) -> None:
        self._process.terminate()
        if status := self._process.wait():
            raise RunError(f"the server ended with status {status}")
        assert self._process.stdout is not None
        self._process.stdout.close()


def request(chars: int, seed: int) -> dict[str, Any]:
    """One row of a text model's `serving_default`."""
    return {"prompt": "ROMEO:", "num_chars": chars, "temperature": 0.7, "seed": seed}


def ask(connection: http.client.HTTPConnection, name: str, row: dict[str, Any]) -> str:
    """The text that answers a row."""
    connection.request("POST", f"/v1/models/{name}:predict", json.dumps({"instances": [row]}))
    answer = connection.getresponse()
    content = json.loads(answer.read())
    if answer.status != 200:
        raise RunError(f"the server says {answer.status}: {content}")
    return content["predictions"][0]


# === cold ===


def cold(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the start of the process to the first answer."""
    seconds = []
    for _ in range(options.starts):
        begun = time.perf_counter()
        with _server(options) as server:
            with contextlib.closing(server.connect()) as connection:
                ask(connection, server.name, request(options.chars, 1))
            seconds.append(time.perf_counter() - begun)
    print(f"cold start to first answer: median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s")
    return {"seconds": seconds}


# === latency ===


def latency(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a request over REST beside the bare C API, by turns; prints both."""
    with _server(options) as server, _bare(options) as bare, contextlib.closing(server.connect()) as connection:

        def served(seed: int) -> float:
            begun = time.perf_counter()
            ask(connection, server.name, request(options.chars, seed))
            return time.perf_counter() - begun

        for seed in range(_WARM):
            served(seed)
            bare(seed)
        turns = [(served(seed), bare(seed)) for seed in range(options.rounds)]
    found = {}
    for name, seconds in zip(("serve, REST", "C API alone"), zip(*turns, strict=True), strict=True):
        found[name] = {f"p{p}": float(np.percentile(seconds, p)) * 1e3 for p in (50, 90, 99)}
        figures = "  ".join(f"{key} {value:7.2f} ms" for key, value in found[name].items())
        print(f"{name:12}  {figures}")
    ratios = {key: found["serve, REST"][key] / found["C API alone"][key] for key in ("p50", "p90", "p99")}
    print("ratio         " + "  ".join(f"{key} {value:7.3f}   " for key, value in ratios.items()))
    return {**found, "ratio": ratios}


@contextlib.contextmanager
def _bare(options: argparse.Namespace) -> Iterator[Callable[[int], float]]:
    """A process that runs the same requests in the C API; what is given runs one and returns its seconds."""
    command = [sys.executable, __file__, "--bare", *_shared(options)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None

    def run(seed: int) -> float:
        print(seed, file=process.stdin, flush=True)
        return float(process.stdout.readline())  # type: ignore[union-attr]

    yield run
    process.stdin.close()
    process.wait()
    process.stdout.close()


def _run_bare(options: argparse.Namespace) -> None:
    """The other process: a seed a line in, seconds a line out."""
    from rnnapps.serving.c_session import CSession

    version = max((path for path in options.model.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    threads = options.threads or len(os.sched_getaffinity(0))
    with CSession(version, inter_op_threads=threads, intra_op_threads=1) as session:
        for line in sys.stdin:
            row = request(options.chars, int(line))
            inputs = {
                "prompt": np.array([row["prompt"]], object), "num_chars": np.array([row["num_chars"]], np.int32),
                "temperature": np.array([row["temperature"]], np.float32), "seed": np.array([row["seed"]], np.int32),
            }  # fmt: skip
            begun = time.perf_counter()
            session.run("serving_default", inputs)
            print(time.perf_counter() - begun, flush=True)


# === load ===


def load(options: argparse.Namespace) -> dict[str, Any]:
    """Requests per second of many clients, without and with batching; prints both."""
    found = {}
    for name, more in (("alone", ()), ("batched", ("--batching", "--max-batch-size", str(options.clients)))):
        with _server(options, *more) as server:
            found[name] = asyncio.run(_clients(server, options))
        one = found[name]
        print(
            f"{name:8} {one['per_second']:8.1f} requests/s  p50 {one['p50']:7.1f} ms  p99 {one['p99']:7.1f} ms  "
            f"{one['errors']} errors  memory {one['memory_before']:.0f} -> {one['memory_after']:.0f} MiB"
        )
    ratio = found["batched"]["per_second"] / found["alone"]["per_second"]
    print(f"batching answers {ratio:.2f} times as many of {options.clients} clients")
    return {**found, "ratio": ratio}


async def _clients(server: ServeProcess, options: argparse.Namespace) -> dict[str, Any]:
    """Clients that ask again as soon as they have an answer, for `options.seconds`."""
    import aiohttp

    seconds: list[float] = []
    errors = 0
    url = f"http://127.0.0.1:{server.port}/v1/models/{server.name}:predict"
    begun = time.perf_counter()
    counting = begun + _LOAD_WARM
    end = counting + options.seconds

    async def client(http_session: aiohttp.ClientSession, number: int) -> None:
        nonlocal errors
        seed = number
        while (asked := time.perf_counter()) < end:
            seed += options.clients
            async with http_session.post(url, json={"instances": [request(options.chars, seed)]}) as answer:
                content = await answer.json()
            if asked >= counting:
                good = answer.status == 200 and len(content["predictions"][0]) == options.chars
                errors += not good
                seconds.append(time.perf_counter() - asked)

    connector = aiohttp.TCPConnector(limit=options.clients)
    async with aiohttp.ClientSession(connector=connector) as http_session:
        clients = [asyncio.create_task(client(http_session, number)) for number in range(options.clients)]
        await asyncio.sleep(_LOAD_WARM)
        memory_before = await asyncio.to_thread(server.memory)
        await asyncio.gather(*clients)
        lasted = time.perf_counter() - counting
    return {
        "per_second": len(seconds) / lasted, "errors": errors, "requests": len(seconds),
        "p50": float(np.percentile(seconds, 50)) * 1e3, "p99": float(np.percentile(seconds, 99)) * 1e3,
        "memory_before": memory_before, "memory_after": server.memory(),
    }  # fmt: skip


# === command line ===


@contextlib.contextmanager
def _server(options: argparse.Namespace, *more: str) -> Iterator[ServeProcess]:
    server = ServeProcess(options.model, "--threads", str(options.threads), *more)
    yield server
    server.stop()


def _shared(options: argparse.Namespace) -> list[str]:
    return ["--model", os.fspath(options.model), "--chars", str(options.chars), "--threads", str(options.threads)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="cold, latency, load (default: all)")
    parser.add_argument("--model", type=Path, help="folder NAME of a text model (default: the shipped shakespeare)")
    parser.add_argument("--chars", type=int, default=100, help="length of a text (default %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="TensorFlow's threads; 0 takes all cores")
    parser.add_argument("--rounds", type=int, default=300, help="requests of latency (default %(default)s)")
    parser.add_argument("--starts", type=int, default=5, help="starts of cold (default %(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="clients of load (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each load lasts (default %(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    functions = {"cold": cold, "latency": latency, "load": load}
    if unknown := [name for name in options.what if name not in functions]:
        parser.error(f"{unknown[0]}: wanted cold, latency or load")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        options.model = options.model or shipped_model("shakespeare").parent
        if options.bare:
            _run_bare(options)
            return 0
        figures = {
            name: function(options) for name, function in functions.items() if name in (options.what or functions)
        }
    except RnnappsError as error:
        print(f"bench_serve: {error}", file=sys.stderr)
        return error.exit_status
    if options.json is not None:
        from rnnapps.files import write_whole

        settings = {name: str(value) for name, value in vars(options).items()}
        content = json.dumps({"options": settings, **figures}, indent=2) + "\n"
        write_whole(options.json, lambda path: path.write_text(content, encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
