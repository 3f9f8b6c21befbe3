"""The C API's session: from several threads, closed, and without leaks; in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import cpp_process
import pytest
from server_process import Sums

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the names of the libraries are those of Linux")

HEAD = """
import gc, re, sys, threading
from pathlib import Path
import numpy as np
from rnnapps.serving.c_session import CSession, TensorFlowError
path, much = sys.argv[1], sys.argv[2] == "much"
def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
"""
MEMORY = """
def work(session, rounds):
    several = {"i": np.ones(20, "int32"), "f": np.ones((20, 2), "float32"), "s": [b"x" * 5000] * 20, "b": [True] * 20}
    for _ in range(rounds):
        session.run("several", several)
        try:
            session.run("picky", {"x": np.full(25_000, -1, "float32")})
        except TensorFlowError as error:
            assert error.code == 3
        try:
            session.run("several", {**several, "i": ["no number"]})
        except ValueError:
            pass
few, many = (100, 500) if much else (40, 120)
session = CSession(path)
work(session, few)
before = resident()
work(session, many)
# One leak of the strings, or of the others, would be 100 kB a round.
assert resident() - before < many / 25, (before, resident())
session.close()
def load():
    with CSession(path) as session:
        session.run("serving_default", {"x": [1.0]})
for _ in range(10 if much else 5):
    load()
before = resident()
for _ in range(30 if much else 10):
    load()
assert resident() - before < (20 if much else 7), (before, resident())
print("ok")
"""
THREADS = """
session = CSession(path, inter_op_threads=2, intra_op_threads=1)
wrong = []
def client(number):
    for i in range(200 if much else 30):
        x = np.arange(number + 1, dtype="float32") + i
        try:
            if not np.array_equal(session.run("serving_default", {"x": x})["y"], x):
                wrong.append((number, i))
            session.run("picky", {"x": -x - 1})
            wrong.append("no error")
        except TensorFlowError as error:
            if "assertion failed" not in str(error):
                wrong.append(error)
threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not wrong, wrong[:3]
running = threading.Thread(target=session.run, args=("slow", {"x": [1.0], "turns": [300_000 if much else 50_000]}))
running.start()
while not session._running:
    pass
session.close()  # waits for what runs
assert not session._running
running.join()
session.close()
try:
    session.run("serving_default", {"x": [1.0]})
except RuntimeError as error:
    assert "closed" in str(error)
else:
    raise AssertionError("it runs on")
print("ok")
"""
OUTPUTS = """
with CSession(path) as session:
    several = {"i": [1], "f": [[1, 2]], "s": ["a"], "b": [True]}
    assert list(session.run("several", several, ["not", "text"])) == ["not", "text"]
    assert session.run("scalar", {"x": 2.5})["y"].shape == () and session.run("scalar", {"x": 2.5})["y"] == 5
    for bad in (("several", several, ["nope"]), ("nope", {}, None), ("several", {"i": [1]}, None)):
        try:
            session.run(*bad)
        except KeyError:
            continue
        raise AssertionError(bad)
print("ok")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return Sums().save(tmp_path_factory.mktemp("sums") / "1")


@pytest.mark.parametrize("much", ["little", pytest.param("much", marks=pytest.mark.full)])
@pytest.mark.parametrize("code", [MEMORY, THREADS, OUTPUTS], ids=["memory", "threads", "outputs"])
def test_a_session(code: str, much: str, saved: Path) -> None:
    done = cpp_process.run(HEAD + code, saved, much)
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr[-3000:].decode()


def test_ssl_can_be_imported_after_the_library() -> None:
    """TensorFlow's library holds other cryptography, whose functions have the names of Python's own."""
    code = "import sys; assert 'ssl' not in sys.modules; import ssl; ssl.create_default_context(); print('ok')"
    done = cpp_process.run(code)  # in a fork of a process that has loaded the library
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr[-3000:].decode()
