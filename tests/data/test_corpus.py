"""A text becomes token ids: what they are, where the parts end, and how much memory that takes."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rnnapps.data import corpus as corpus_module
from rnnapps.data.corpus import Corpus
from rnnapps.data.sources import Document
from rnnapps.data.text import windows
from rnnapps.errors import RunError, UsageError

MIXED = "naïve café 日本語\n😀 x_1 = 12.5  the\tend\u0301 \0 "


# A byte at a time cuts every character at each of its places.
@pytest.mark.parametrize("chunk", [1, *(pytest.param(n, marks=pytest.mark.full) for n in (2, 5)), 3, 1 << 20])
@pytest.mark.parametrize("tokens", ["char", "byte", "word"])
def test_ids_are_those_of_the_vocabulary_however_the_text_arrives(
    tokens: str, chunk: int, document: Callable[..., Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_module, "_BLOCK", 7)
    texts = [MIXED, "the 語 the", MIXED * 3]
    made = Corpus.prepare([document(text, chunk=chunk) for text in texts], tmp_path / "c", tokens, 0.0, 0.0)
    ids = [made.vocabulary.encode(text) for text in texts]
    assert made.splits == {"train": _spans(ids), "validation": [], "test": []}
    np.testing.assert_array_equal(made.read(0, made.num_tokens), np.concatenate(ids))
    assert made.unseen == {"train": 0, "validation": 0, "test": 0}
    assert [made.vocabulary.decode(made.read(*span)) for span in made.splits["train"]] == texts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    assert sorted(path.name for path in made.folder.iterdir()) == ["corpus.json", "tokens.bin", "vocabulary.json"]


def _spans(ids: list[np.ndarray]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *map(len, ids)]).tolist()
    return list(zip(ends[:-1], ends[1:], strict=True))


def test_words_of_a_long_text_do_not_depend_on_blocks(
    corpus: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnapps.data.coding._WORD_BLOCK", 3)
    made = corpus(["some longer words,  and   spaces\n\n  in_between 123456789"], tokens="word")
    pieces = [made.vocabulary.decode([i]) for i in made.read(0, made.num_tokens)]
    assert pieces == ["some", " longer", " words", ",", " ", " and", " ", " ", " spaces", "\n", "\n", " ",
                      " in_between", " 123456789"]  # fmt: skip


def test_the_vocabulary_is_that_of_the_training_part(corpus: Callable[..., Corpus]) -> None:
    made = corpus(["bbaab" + "ba" + "xay"], validation_fraction=0.2, test_fraction=0.3)
    assert made.vocabulary.symbols == (b"a", b"b")
    assert made.splits == {"train": [(0, 5)], "validation": [(5, 7)], "test": [(7, 10)]}
    assert made.read(0, 10).tolist() == [2, 2, 1, 1, 2, 2, 1, 0, 1, 0]
    assert made.unseen == {"train": 0, "validation": 0, "test": 2}
    assert [made.tokens_in(split) for split in made.splits] == [5, 2, 3]


def test_the_most_frequent_words_of_the_training_part_are_kept(corpus: Callable[..., Corpus]) -> None:
    train = " a a a a b b b c c d" + " e"
    made = corpus([train + " z" * 11], tokens="word", test_fraction=0.5, max_vocabulary=3)
    assert Counter(train.split()).most_common(3) == [("a", 4), ("b", 3), ("c", 2)]
    assert made.vocabulary.symbols == (b" a", b" b", b" c")
    assert made.unseen == {"train": 2, "validation": 0, "test": 11}


@pytest.mark.parametrize("length", [1, 9, 10, 99, 100, 1115])
@pytest.mark.parametrize("fractions", [(0.0, 0.1), (0.05, 0.05), (0.02, 0.1), (0.0, 0.0), (0.3, 0.6), (0.1, 0.2)])
def test_parts_end_at_the_fraction_exactly(
    length: int, fractions: tuple[float, float], corpus: Callable[..., Corpus]
) -> None:
    kept, tested = {
        (0.0, 0.1): (0.9, 0.9), (0.05, 0.05): (0.9, 0.95), (0.02, 0.1): (0.88, 0.9),
        (0.0, 0.0): (1.0, 1.0), (0.3, 0.6): (0.1, 0.4), (0.1, 0.2): (0.7, 0.8),
    }[fractions]  # fmt: skip
    options = dict(zip(("validation_fraction", "test_fraction"), fractions, strict=True))
    if int(length * kept) == 0:
        with pytest.raises(UsageError, match=f"of a text of {length} tokens none is left for training"):
            corpus(["x" * length], **options)
        return
    made = corpus(["x" * length], **options)
    borders = [0, int(length * kept), int(length * tested), length]
    for split, start, stop in zip(made.splits, borders[:-1], borders[1:], strict=True):
        assert made.splits[split] == ([(start, stop)] if start < stop else [])


def test_a_document_on_a_border_is_cut_and_empty_ones_are_left_out(corpus: Callable[..., Corpus]) -> None:
    made = corpus(["", "abc", "", "\ufeff", "defg", "hij"], validation_fraction=0.1, test_fraction=0.4)
    assert made.documents == [("note", 3), ("note", 4), ("note", 3)]
    assert made.splits == {"train": [(0, 3), (3, 5)], "validation": [(5, 6)], "test": [(6, 7), (7, 10)]}


@pytest.mark.parametrize(("symbols", "width"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4)])
def test_ids_take_the_smallest_type(symbols: int, width: int, corpus: Callable[..., Corpus]) -> None:
    text = "".join(chr(0x10000 + i) for i in range(symbols))
    made = corpus([text])
    assert (made.folder / "tokens.bin").stat().st_size == width * symbols
    np.testing.assert_array_equal(made.read(0, symbols), np.arange(1, symbols + 1))
    assert Corpus.open(made.folder).read(symbols - 1, symbols).tolist() == [symbols]


def test_a_byte_order_mark_is_dropped_at_the_start_only(corpus: Callable[..., Corpus]) -> None:
    text = "\ufeffa\ufeffb"
    assert corpus([text]).vocabulary.symbols == (b"a", b"b", "\ufeff".encode())
    assert corpus([text, text]).documents == [("note", 3), ("note", 3)]
    assert corpus([text], tokens="byte").num_tokens == 8


@pytest.mark.parametrize("tokens", ["char", "word"])
@pytest.mark.parametrize("chunk", [1, pytest.param(4, marks=pytest.mark.full), 1 << 20])
@pytest.mark.parametrize(
    ("data", "byte", "offset"),
    [(b"abc\xffdef", "ff", 3), ("é\n".encode() + b"\xc3(", "c3", 3), ("日本".encode()[:-1], "e6", 3),
     (b"\xef\xbb\xbfab\x80", "80", 5), (b"a" * 100 + b"\xed\xa0\x80", "ed", 100)],
)  # fmt: skip
def test_what_is_not_utf8_is_named(
    data: bytes, byte: str, offset: int, chunk: int, tokens: str, document: Callable[..., Document], tmp_path: Path
) -> None:
    made = document(data, name="notes/latin.txt", chunk=chunk)
    with pytest.raises(UsageError, match=f"notes/latin.txt .*byte 0x{byte} at offset {offset} .*--tokens byte"):
        Corpus.prepare([made], tmp_path / "c", tokens)
    assert list(tmp_path.iterdir()) == []
    assert Corpus.prepare([made], tmp_path / "c", "byte", 0, 0).num_tokens == len(data)


@pytest.mark.parametrize("texts", [[], [""], ["\ufeff", ""]])
@pytest.mark.parametrize("tokens", ["char", "word"])
def test_an_empty_text_is_refused(texts: list[str], tokens: str, corpus: Callable[..., Corpus]) -> None:
    with pytest.raises(UsageError, match="the text is empty"):
        corpus(texts, tokens=tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": "letter"}, "tokens must be one of char, byte, word, not 'letter'"),
        ({"test_fraction": 1.0}, "together below 1, not 0.0 and 1.0"),
        ({"test_fraction": -0.1}, "at least 0 .* not 0.0 and -0.1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "not 0.5 and 0.5"),
        ({"validation_fraction": float("nan")}, "not nan and 0.0"),
        ({"tokens": "word", "max_vocabulary": 0}, "max_vocabulary must be at least 1, not 0"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str, corpus: Callable[..., Corpus]) -> None:
    with pytest.raises(UsageError, match=message):
        corpus(["abcdefghij"], **options)


def test_a_corpus_is_replaced_and_nothing_else_is(document: Callable[..., Document], tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "c"
    old = Corpus.prepare([document("aaaa")], folder)
    Corpus.prepare([document("bbbbbb")], folder)
    assert Corpus.open(folder).num_tokens == 6 and [p.name for p in folder.parent.iterdir()] == ["c"]
    assert old.read(0, 4).tolist() == [1, 1, 1, 1]  # Its file is open still.
    (tmp_path / "empty").mkdir()
    assert Corpus.prepare([document("aaaa")], tmp_path / "empty").num_tokens == 4
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one").write_text("x")
    for path in (tmp_path / "photos", tmp_path / "photos" / "one"):
        with pytest.raises(UsageError, match="a corpus wants a folder"):
            Corpus.prepare([document("aaaa")], path)
    assert (tmp_path / "photos" / "one").read_text() == "x"


def test_a_broken_off_text_leaves_the_old_corpus(document: Callable[..., Document], tmp_path: Path) -> None:
    Corpus.prepare([document("aaaa")], tmp_path / "c")

    def chunks() -> Iterator[bytes]:
        yield b"bbbb"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Corpus.prepare([Document("cut", chunks)], tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    assert Corpus.open(tmp_path / "c").vocabulary.symbols == (b"a",)


def test_a_folder_that_cannot_be_written_is_named(document: Callable[..., Document], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"corpus .*file/c cannot be written \(Not a directory\)"):
        Corpus.prepare([document("aaaa")], tmp_path / "file" / "c")


def test_opening_gives_what_prepare_gave(corpus: Callable[..., Corpus]) -> None:
    made = corpus(["some text", "more"], test_fraction=0.3)
    opened = Corpus.open(str(made.folder))
    for name in ("folder", "vocabulary", "num_tokens", "documents", "splits", "unseen"):
        assert getattr(opened, name) == getattr(made, name)
    np.testing.assert_array_equal(opened.read(2, 11), made.read(2, 11))
    assert opened.read(3, 3).tolist() == [] and opened.read(3, 3).dtype == np.int32
    for start, stop in ((-1, 2), (3, 2), (0, 14)):
        with pytest.raises(ValueError, match="not within 0 to 13"):
            opened.read(start, stop)


@pytest.mark.parametrize("name", ["corpus.json", "tokens.bin", "vocabulary.json"])
@pytest.mark.parametrize("harm", ["remove", "cut", "empty", "other"])
def test_a_damaged_corpus_is_named(name: str, harm: str, corpus: Callable[..., Corpus]) -> None:
    folder = corpus(["some text"]).folder
    path = folder / name
    if harm == "remove":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:-1], "empty": b"", "other": b"[7]"}[harm])
    with pytest.raises(RunError, match=r"(holds no readable corpus|is not a readable vocabulary) \(.+\)$"):
        Corpus.open(folder)


def test_a_missing_corpus_or_another_format_is_named(corpus: Callable[..., Corpus], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere holds no readable corpus \(No such file or directory\)"):
        Corpus.open(tmp_path / "nowhere")
    folder = corpus(["some text"]).folder
    content = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(RunError, match="format 2 in place of 1"):
        Corpus.open(folder)


def test_a_file_that_shrinks_while_open_is_noticed(corpus: Callable[..., Corpus]) -> None:
    made = corpus(["some text"])
    os.truncate(made.folder / "tokens.bin", 4)
    with pytest.raises(RunError, match="ends before token 9"):
        made.read(0, 9)


def test_the_file_is_closed_with_the_corpus(corpus: Callable[..., Corpus]) -> None:
    made = corpus(["some text"])
    number = made._file
    del made
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(number)


@pytest.mark.parametrize(
    ("tokens", "thousands", "block"),
    [("word", (3, 13), 1 << 12), pytest.param("char", (40, 800), 1 << 14, marks=pytest.mark.full)],
)
def test_little_of_a_text_is_held_at_a_time(
    tokens: str, thousands: tuple[int, int], block: int, document: Callable[..., Document], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As far as Python and NumPy hold it; what a whole process takes is weighed below."""
    for name in ("corpus._BLOCK", "text._BLOCK", "coding._WORD_BLOCK"):
        monkeypatch.setattr(f"rnnapps.data.{name}", block)
    lines, peaks = "".join(f"word{i % 97} and 日本 {i % 89}\n" for i in range(1000)), []
    for size in thousands:
        text = document(lines * size, chunk=block)
        tracemalloc.start()
        try:
            made = Corpus.prepare([text], tmp_path / f"{size}", tokens)
            preparing = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            assert sum(1 for _ in windows(made, "train", 4, 128, epochs=1).take(5)) == 5
            peaks.append((preparing, tracemalloc.get_traced_memory()[1]))
        finally:
            tracemalloc.stop()
    more = (thousands[1] - thousands[0]) * len(lines.encode("utf-8"))
    for small, large in zip(*peaks, strict=True):
        assert large - small < more / 2, f"{small:,} and {large:,} bytes, for a text that is {more:,} bytes longer"


MEMORY = """
import resource, sys
from pathlib import Path
from rnnapps.data.corpus import Corpus
from rnnapps.data.sources import documents
from rnnapps.data.text import windows

folder, tokens = Path(sys.argv[1]), sys.argv[2]
peaks = []
for size in (1, 20):
    corpus = Corpus.prepare(documents(text=[folder / f"{size}.txt"]), folder / f"c{size}", tokens)
    batches = sum(1 for _ in windows(corpus, "train", 64, 256, epochs=1))
    assert batches == -(-corpus.splits["train"][0][1] // 256) // 64, batches
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(*peaks)
"""


@pytest.mark.full
@pytest.mark.parametrize("tokens", ["char", "word"])
def test_memory_does_not_grow_with_the_text(tokens: str, tmp_path: Path) -> None:
    line = "".join(f"word{i % 977} and 日本 {i}\n" for i in range(5000)).encode("utf-8")
    for size in (1, 20):
        (tmp_path / f"{size}.txt").write_bytes((line * (1 + (size << 20) // len(line)))[: size << 20] + b"\n")
    command = [sys.executable, "-c", MEMORY, str(tmp_path), tokens]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    small, large = map(float, done.stdout.split())
    # Held in memory, 19 MiB more of text are at least 19 MiB as bytes and 76 MiB as codes or as ids.
    assert large - small < 40, f"{small:.0f} MiB for 1 MiB of text, {large:.0f} MiB for 20 MiB"
