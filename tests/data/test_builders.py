"""Benchmark texts: prepared from a local copy, or downloaded from a server in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rnnapps.data import builders, series_sources
from rnnapps.data.builders import BUILDERS, PIECE_BYTES, prepare, read
from rnnapps.data.sources import DATASETS
from rnnapps.errors import RunError, UsageError

LONG = ("é日😀a\n" * 60_000).encode("utf-8")  # Two pieces and more, with characters on their borders.


def test_every_data_set_has_a_builder() -> None:
    series = {name for name, known in series_sources.DATASETS.items() if not known.file}
    assert set(BUILDERS) == set(DATASETS) - {"python_source"} | series


@pytest.mark.parametrize(
    "data", [b"a", LONG, LONG[:-2], b"\xff" * 700_000, b"\x80" * 300_000 + b"\xe2\x82", b"x" * PIECE_BYTES]
)
def test_pieces_joined_are_the_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "some name.txt"
    path.write_bytes(data)
    pieces = list(read(prepare("war_and_peace", path, tmp_path / "data")))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= PIECE_BYTES and len(pieces) <= len(data) // (PIECE_BYTES - 3) + 2


def test_pieces_are_text(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(LONG)
    pieces = list(read(prepare("tiny_shakespeare", tmp_path, tmp_path / "data")))
    assert len(pieces) == 3
    assert "".join(piece.decode("utf-8") for piece in pieces) == LONG.decode("utf-8")


def test_a_changed_copy_is_read_afresh_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for text in (b"first", b"second"):
        (tmp_path / "linux_input.txt").write_bytes(text)
        assert list(read(prepare("linux_kernel", tmp_path, tmp_path / "data"))) == [text]
    assert capfd.readouterr().out == ""


def test_a_copy_that_lacks_the_file_is_named(tmp_path: Path) -> None:
    wanted = r"tinyshakespeare\.txt or input\.txt"
    with pytest.raises(UsageError, match=f"nowhere does not exist.* {wanted}"):
        prepare("tiny_shakespeare", tmp_path / "nowhere", tmp_path)
    with pytest.raises(UsageError, match=f"holds no data of tiny_shakespeare, and {wanted} is wanted"):
        prepare("tiny_shakespeare", tmp_path, tmp_path)
    (tmp_path / "input.txt").touch()
    for empty in (tmp_path, tmp_path / "input.txt"):
        with pytest.raises(UsageError, match="holds no data of tiny_shakespeare"):
            prepare("tiny_shakespeare", empty, tmp_path)


class _Server(BaseHTTPRequestHandler):
    status = {"HEAD": 200, "GET": 200}
    asked: list[str] = []

    def do_HEAD(self) -> None:
        self._answer("HEAD", b"")

    def do_GET(self) -> None:
        self._answer("GET", LONG)

    def _answer(self, method: str, body: bytes) -> None:
        self.asked.append(method)
        self.send_response(self.status[method])
        self.send_header("Content-Length", str(len(LONG)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Server]]:
    """Stands in for the home of tiny_shakespeare."""
    monkeypatch.setattr(_Server, "asked", [])
    monkeypatch.setattr(_Server, "status", {"HEAD": 200, "GET": 200})
    monkeypatch.setenv("no_proxy", "*")
    with HTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/input.txt"
        monkeypatch.setattr(BUILDERS["tiny_shakespeare"], "url", url)
        yield _Server
        running.shutdown()
        thread.join()


def test_a_download_is_kept(server: type[_Server], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert b"".join(read(prepare("tiny_shakespeare", None, tmp_path))) == LONG
        assert server.asked == ["HEAD", "GET"]  # Nothing more for the second time.
    assert capfd.readouterr().out == ""


def test_a_local_copy_is_never_taken_for_the_download(server: type[_Server], tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(b"a part of it")
    prepare("tiny_shakespeare", tmp_path, tmp_path / "data")
    assert b"".join(read(prepare("tiny_shakespeare", None, tmp_path / "data"))) == LONG
    copy = prepare("tiny_shakespeare", tmp_path, tmp_path / "data")
    assert b"".join(read(copy)) == b"a part of it"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 404), ("HEAD", 503), ("GET", 404)])
def test_a_server_that_refuses_is_told(method: str, status: int, server: type[_Server], tmp_path: Path) -> None:
    server.status[method] = status
    message = r"tiny_shakespeare cannot be downloaded from http://127\.0\.0\.1.*: give a local copy with --source DIR$"
    with pytest.raises(RunError, match=message):
        prepare("tiny_shakespeare", None, tmp_path)
    server.status[method] = 200
    assert b"".join(read(prepare("tiny_shakespeare", None, tmp_path))) == LONG  # Nothing half made is left.


def test_no_network_is_told_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(BUILDERS["war_and_peace"], "url", "http://name.invalid/warpeace_input.txt")
    monkeypatch.setenv("no_proxy", "*")
    start = time.monotonic()
    with pytest.raises(
        RunError, match="war_and_peace cannot be downloaded from .*: give a local copy with --source DIR"
    ):
        prepare("war_and_peace", None, tmp_path)
    assert time.monotonic() - start < 2 * builders._PROBE_SECONDS
