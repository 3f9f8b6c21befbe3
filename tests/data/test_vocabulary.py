"""Ids of symbols and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.errors import RunError, UsageError

EVERY_CHARACTER = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
BAD = "\N{REPLACEMENT CHARACTER}"


def test_ids_start_at_one_and_zero_is_unseen() -> None:
    vocabulary = Vocabulary("char", "aé😀")
    assert vocabulary.size == 4
    ids = vocabulary.encode("é?a😀\ud800")
    assert ids.dtype == np.int32
    assert ids.tolist() == [2, 0, 1, 3, 0]
    assert vocabulary.decode(ids) == f"é{BAD}a😀{BAD}"
    assert vocabulary.encode("é?".encode()).tolist() == [2, 0]
    assert vocabulary.encode(b"a\xffa").tolist() == [1, 0, 1]
    assert vocabulary.encode("").tolist() == [] and vocabulary.decode([]) == ""


@pytest.mark.parametrize("characters", [EVERY_CHARACTER[::17], pytest.param(EVERY_CHARACTER, marks=pytest.mark.full)],
                         ids=["some", "all"])  # fmt: skip
def test_every_character_survives_a_file(characters: str, tmp_path: Path) -> None:
    vocabulary = Vocabulary("char", characters)
    vocabulary.save(tmp_path / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert loaded == vocabulary and [p.name for p in tmp_path.iterdir()] == ["vocabulary.json"]
    ids = loaded.encode(characters)
    np.testing.assert_array_equal(ids, np.arange(1, len(characters) + 1))
    assert loaded.decode(ids) == characters


def test_every_byte_survives_a_file(tmp_path: Path) -> None:
    every = bytes(range(256))
    Vocabulary("byte", [bytes([b]) for b in every]).save(tmp_path / "v.json")
    loaded = Vocabulary.load(tmp_path / "v.json")
    assert loaded.size == 257
    assert loaded.decode_bytes(loaded.encode(every)) == every
    assert loaded.decode(loaded.encode("naïve")) == "naïve"
    assert loaded.decode(loaded.encode(b"a\xc3")) == f"a{BAD}"


def test_words_are_pieces_with_their_space(tmp_path: Path) -> None:
    vocabulary = Vocabulary("word", ["the", " the", " ", "\n", "é"])
    vocabulary.save(tmp_path / "v.json")
    loaded = Vocabulary.load(tmp_path / "v.json")
    ids = loaded.encode("the the  the\né cat")
    assert ids.tolist() == [1, 2, 3, 2, 4, 5, 0] and ids.dtype == np.int32
    assert loaded.decode(ids[:-1]) == "the the  the\né"
    assert loaded.encode("").tolist() == []


def test_from_counts_orders_and_cuts() -> None:
    counts = {"é".encode(): 1, b"b": 5, "😀".encode(): 9, b"a": 1}
    assert Vocabulary.from_counts("char", counts, max_vocabulary=1).symbols == (
        b"a", b"b", "é".encode(), "😀".encode(),
    )  # fmt: skip
    words = {b" b": 2, b" a": 2, b" z": 7, b" rare": 1}
    assert Vocabulary.from_counts("word", words).symbols == (b" z", b" a", b" b", b" rare")
    assert Vocabulary.from_counts("word", words, max_vocabulary=2).symbols == (b" z", b" a")
    with pytest.raises(UsageError, match="max_vocabulary must be at least 1, not 0"):
        Vocabulary.from_counts("word", words, max_vocabulary=0)


@pytest.mark.parametrize(
    ("kind", "symbols"), [("char", ["ab"]), ("char", ["a", "a"]), ("byte", ["é"]), ("word", [""]),
                          ("word", [b"\xff"]), ("char", [])]
)  # fmt: skip
def test_symbols_that_are_none_are_refused(kind: str, symbols: list[str | bytes]) -> None:
    with pytest.raises(ValueError):
        Vocabulary(kind, symbols)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UsageError, match="tokens must be one of char, byte, word, not 'chars'"):
        Vocabulary("chars", "ab")


@pytest.mark.parametrize("ids", [[3], [-1], [0, 7, 1]])
def test_ids_outside_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="ids must be 0 to 2"):
        Vocabulary("char", "ab").decode(ids)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_stream_gives_whole_characters(size: int) -> None:
    text = "aé→😀\n" * 3
    vocabulary = Vocabulary("byte", [bytes([b]) for b in range(256)])
    ids = vocabulary.encode(text)
    decoder = vocabulary.stream()
    parts = [decoder.push(ids[i : i + size]) for i in range(0, len(ids), size)]
    assert BAD not in "".join(parts) and "".join(parts) == text
    assert decoder.finish() == ""


def test_a_stream_that_breaks_off_says_so() -> None:
    vocabulary = Vocabulary("byte", [bytes([b]) for b in range(256)])
    decoder = vocabulary.stream()
    assert decoder.push(vocabulary.encode("😀")[:3]) == ""
    assert decoder.finish() == BAD
    assert decoder.push([0]) == BAD  # As `decode` shows what is unseen.


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"kind": "char"}', '{"kind": "chars", "symbols": ["a"]}',
                '{"kind": "byte", "symbols": [300]}', '{"kind": "char", "symbols": ["a", "a"]}',
                '{"kind": "char", "symbols": [1.5]}', '{"kind": "char", "symbols": ["\\ud800"]}']
)  # fmt: skip
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"vocabulary\.json is not a readable vocabulary \(.+\)"):
        Vocabulary.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"v\.json is not a readable vocabulary \(No such file or directory\)"):
        Vocabulary.load(tmp_path / "v.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.json"
    Vocabulary("char", "ab").save(path)

    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", stop)
    with pytest.raises(KeyboardInterrupt):
        Vocabulary("char", "xyz").save(path)
    assert Vocabulary.load(path).symbols == (b"a", b"b")


@pytest.mark.parametrize(
    ("kind", "symbols", "text", "unseen"),
    [
        ("char", ["a", "b"], "a\N{SNOWMAN}bz\N{SNOWMAN}", ["z", "\N{SNOWMAN}"]),
        ("byte", [b"a", b"b"], "ab\N{LATIN SMALL LETTER E WITH ACUTE}", [r"\xa9", r"\xc3"]),
        ("word", ["to", " be"], "to be or to be", [" or", " to"]),
        ("char", ["a"], "", []),
    ],
)
def test_unseen_names_each_unknown_piece_once(kind, symbols, text, unseen):
    assert Vocabulary(kind, symbols).unseen(text) == unseen
