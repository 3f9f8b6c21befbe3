"""Which documents each source gives."""

from __future__ import annotations

import os
import sysconfig
import threading
from pathlib import Path

import pytest

import rnnapps.data.sources as sources
from rnnapps.data.sources import CHUNK_BYTES, DATASETS, documents
from rnnapps.errors import RunError, UsageError


def text_of(document: sources.Document) -> bytes:
    return b"".join(document.chunks())


def test_python_source_is_this_python() -> None:
    found = documents()
    names = [document.name for document in found]
    assert {"heapq.py", "json/decoder.py", "asyncio/tasks.py"} <= set(names) and len(set(names)) == len(names)
    assert not [name for name in names if {"test", "tests", "idle_test", "site-packages"} & set(name.split("/"))]
    heapq = found[names.index("heapq.py")]
    assert text_of(heapq) == Path(sysconfig.get_paths()["stdlib"], "heapq.py").read_bytes()
    assert text_of(heapq) == text_of(heapq)  # Again from the start.
    assert [document.name for document in documents("python_source")] == names


def test_python_source_leaves_out_what_is_no_text(tmp_path: Path) -> None:
    content = {"a.py": b"x = 1\n", "empty.py": b"", "latin.py": b"# \xe9\n", "pkg/b.py": "# é\n".encode(),
               "test/c.py": b"x", "lib2to3/tests/d.py": b"x", "site-packages/e.py": b"x", "notes.txt": b"x",
               "idlelib/idle_test/f.py": b"x", "testing.py": b"kept"}  # fmt: skip
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = sources._python_source(tmp_path)
    # In the order of their hashes, which no file system and no other file changes.
    assert [document.name for document in found] == ["pkg/b.py", "testing.py", "a.py"]
    assert text_of(found[2]) == b"x = 1\n"


def test_a_python_without_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no source files in .*--text FILE"):
        sources._python_source(tmp_path)


def test_own_files_come_in_their_order_in_bounded_chunks(tmp_path: Path) -> None:
    first, second = tmp_path / "z.txt", tmp_path / "a.txt"
    data = os.urandom(2 * CHUNK_BYTES + 5)
    first.write_bytes(data)
    second.write_bytes(b"short")
    one, two = documents(text=[first, second])
    assert (one.name, two.name) == (str(first), str(second))
    assert text_of(one) == data and text_of(two) == b"short"
    assert max(len(chunk) for chunk in one.chunks()) == CHUNK_BYTES


def test_a_pipe_will_do(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(b"through a pipe"))
    writer.start()
    (found,) = documents(text=[path])
    assert text_of(found) == b"through a pipe"
    writer.join()


def test_wrong_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    for name, message in (
        (".", "is a folder, and a text file is wanted"),
        ("nowhere.txt", r"nowhere\.txt does not exist"),
        ("empty.txt", r"empty\.txt is empty, and at least one character is wanted"),
    ):
        with pytest.raises(UsageError, match=message):
            documents(text=[tmp_path / name])


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone.txt"
    path.write_text("here")
    (found,) = documents(text=[path])
    path.unlink()
    with pytest.raises(UsageError, match=r"gone\.txt cannot be read \(No such file or directory\)"):
        text_of(found)


def test_options_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a")
    with pytest.raises(UsageError, match="--text .* without --dataset tiny_shakespeare"):
        documents("tiny_shakespeare", text=[path])
    with pytest.raises(UsageError, match=f"--text .* without --source {tmp_path}"):
        documents(source=tmp_path, text=[path])
    with pytest.raises(UsageError, match="--source .* does not go with python_source"):
        documents("python_source", source=tmp_path)
    with pytest.raises(UsageError, match="--dataset must be one of python_source, .*, not 'shakespeare'"):
        documents("shakespeare")


@pytest.mark.parametrize(
    "dataset",
    [pytest.param(name, marks=() if name == "tiny_shakespeare" else pytest.mark.full)
     for name in DATASETS if name != "python_source"],
)  # fmt: skip
def test_a_local_copy_is_one_document(dataset: str, tmp_path: Path) -> None:
    from rnnapps.data.builders import BUILDERS

    for name in BUILDERS[dataset].file_names:
        copy = tmp_path / name
        copy.mkdir()
        data = f"text of {name}, é\n".encode()
        (copy / name).write_bytes(data)
        (found,) = documents(dataset, copy, (), tmp_path / "scratch")
        assert found.name == dataset
        assert text_of(found) == data == text_of(found)
