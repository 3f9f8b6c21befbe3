"""Wherever files are read by line, a line ends at LF, CRLF or CR, and nowhere else; a byte-order mark is no text."""

import io
import sys

import pytest

from rnnapps.data.caption_files import Findings, read_captions
from rnnapps.data.pair_files import lines, split_lines
from rnnapps.files import read_lines, read_text
from rnnapps.text_generation.config import Predict as Text
from rnnapps.text_generation.task import _prompts
from rnnapps.translation.answers import _sentences
from rnnapps.translation.config import Predict as Translation

# What `str.splitlines` takes for an end beside them: vertical tab, form feed, separators, NEL, U+2028, U+2029.
OTHERS = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"
WANTED = [OTHERS, "", "second", " third ", "last"]


@pytest.fixture(params=["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def file(request, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(("\ufeff" + request.param.join(WANTED)).encode())
    return path


def test_every_reader_finds_the_same_lines(file):
    assert read_lines("--file", file) == WANTED
    assert list(lines(file)) == WANTED
    assert _prompts(Text(file=file)) == WANTED
    assert _sentences(Translation(file=file)) == (WANTED, None)


def test_an_end_ends_a_line_and_begins_none(tmp_path):
    path = tmp_path / "lines.txt"
    for content, wanted in (
        (b"", []),
        (b"\n", [""]),
        (b"a\r", ["a"]),
        (b"a\r\n\r\n", ["a", ""]),
        (b"a\n\r", ["a", ""]),
    ):
        path.write_bytes(content)
        assert read_lines("--file", path) == list(lines(path)) == wanted, content


def test_standard_input_has_the_same_lines(file, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes()), encoding="utf-8"))
    asked, more = _sentences(Translation())
    assert asked == [] and list(more) == WANTED


def test_captions_of_a_file_that_ends_lines_by_cr(tmp_path):
    path = tmp_path / "captions.tsv"
    path.write_bytes("\ufeffa.png\ta dog\rb.png\ta cat\u2028and a hat\r".encode())
    assert read_captions(path, Findings()) == {"a.png": ("a dog",), "b.png": ("a cat and a hat",)}


def test_pieces_may_end_between_cr_and_lf():
    text = b"a\r\nb\rc\n\r\rd\r\n"
    for size in range(1, len(text) + 1):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert list(split_lines([b"", *pieces])) == [b"a\r\n", b"b\r", b"c\n", b"\r", b"\r", b"d\r\n"], size


def test_a_text_has_no_byte_order_mark(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffROMEO:".encode())
    assert read_text("--file", path) == "ROMEO:"
