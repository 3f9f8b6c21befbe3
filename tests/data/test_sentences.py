"""Vocabularies of sentences: what is learned, from clean and from messy text, and what a file keeps."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import pytest

from rnnapps.data.sentences import END, FIRST, PAD, UNSEEN, SentenceVocabulary
from rnnapps.errors import RunError, UsageError

KINDS = ["subword", "word", "char"]
BLOCKS = "\N{LOWER ONE EIGHTH BLOCK}\N{LOWER FIVE EIGHTHS BLOCK}"
PROSE = [line for line in Path(argparse.__file__).read_text(encoding="utf-8").splitlines() if line.strip()][:1500]
MESS: list[bytes | str] = [
    "", " ", "\n", "a\tb\t7\n", "nul\0nul", b"\xff\xfe bad \xc3", "\ud800 lone", f"{BLOCKS} a{BLOCKS[0]}b {BLOCKS[1]}",
    "<unk> <s> </s>", "x" * 5000, "😀👩\u200d👩 🇩🇪", "\ufffe\uffff\U0010ffff", "Cafe\u0301 Straße ﬁn",
    "日本語の文です。", "]^-\\[",
]  # fmt: skip


def test_the_ids_before_the_symbols() -> None:
    assert (PAD, END, UNSEEN, FIRST) == (0, 1, 2, 3)
    assert SentenceVocabulary("word", [" a", " b"]).size == 5


def test_words_go_by_count_and_then_by_text() -> None:
    batches = [["the cat", "the dog!"], [], [b"(the) dog, a  cat"]]
    learn = SentenceVocabulary.learn
    # Twice " cat", " dog" and " the"; "the" without its space, after the bracket, is another word.
    assert learn("word", batches, 100).symbols[:3] == (b" cat", b" dog", b" the")
    assert learn("word", batches, 100).symbols[3:] == (b" (", b" a", b"!", b")", b",", b"the")
    assert learn("word", batches, 5).symbols == (b" cat", b" dog")
    assert learn("word", batches, 100, minimum_count=2).symbols == (b" cat", b" dog", b" the")


def test_characters_go_by_count() -> None:
    assert SentenceVocabulary.learn("char", [["baa", "a b", "É"]], 100).symbols == (b"a", b"b", b" ", "É".encode())
    assert SentenceVocabulary.learn("char", [["baa", "a b"]], 4).symbols == (b"a",)


@pytest.mark.parametrize("kind", ["subword", "word", pytest.param("char", marks=pytest.mark.full)])
def test_small_letters(kind: str) -> None:
    small = SentenceVocabulary.learn(kind, [["Der HUND", "ÉTÉ"]], 100, lowercase=True)
    assert small.lowercase and small == SentenceVocabulary.learn(kind, [["der hund", "été"]], 100, lowercase=True)
    assert small != SentenceVocabulary.learn(kind, [["der hund", "été"]], 100)


def test_subwords_are_merges_and_then_characters() -> None:
    symbols = [s.decode("utf-8") for s in SentenceVocabulary.learn("subword", [PROSE], 600).symbols]
    assert len(symbols) == 597
    first_character = next(i for i, symbol in enumerate(symbols) if len(symbol) == 1)
    assert 300 < first_character and all(len(symbol) == 1 for symbol in symbols[first_character:])
    assert " " in symbols and " the" in symbols
    assert not any(" " in symbol[1:] for symbol in symbols)  # none goes from one word into the next
    for symbol in symbols[:first_character]:  # each is made of two others
        assert any({symbol[:cut], symbol[cut:]} <= set(symbols) for cut in range(1, len(symbol)))


def test_every_character_has_a_subword_of_its_own() -> None:
    symbols = SentenceVocabulary.learn("subword", [PROSE, [f"{BLOCKS} ü"]], 600).symbols
    assert len(symbols) == 597
    assert {c.encode("utf-8") for c in "".join(PROSE) + BLOCKS + "ü" if c.isprintable()} <= set(symbols)


def test_a_script_of_thousands_leaves_room_for_merges() -> None:
    chance = random.Random(1)
    text = ["日本" * 3 + "".join(chr(chance.randint(0x4E00, 0x6000)) for _ in range(20)) for _ in range(200)]
    symbols = [s.decode("utf-8") for s in SentenceVocabulary.learn("subword", [text], 403).symbols]
    assert len(symbols) == 400 and sum(len(symbol) == 1 for symbol in symbols) == 300
    assert "日本" in symbols


def test_rare_characters_have_no_subword() -> None:
    symbols = SentenceVocabulary.learn("subword", [["aaab aaab aaac"]], 50, minimum_count=2).symbols
    assert b"b" in symbols and b" aaa" in symbols and not any(b"c" in symbol for symbol in symbols)


@pytest.mark.parametrize("kind", KINDS)
def test_learning_twice_gives_the_same(kind: str) -> None:
    halves = [PROSE[:700], PROSE[700:]]
    assert SentenceVocabulary.learn(kind, halves, 500) == SentenceVocabulary.learn(kind, [PROSE], 500)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4, 5, 12, 50, 5000])
def test_a_mess_is_learned(kind: str, size: int, tmp_path: Path) -> None:
    vocabulary = SentenceVocabulary.learn(kind, [MESS, PROSE[:50], MESS], size)
    assert FIRST < vocabulary.size <= size
    text = b"".join(vocabulary.symbols).decode("utf-8")
    assert not any(c.isspace() and c != " " for c in text) and "\0" not in text
    vocabulary.save(tmp_path / "v.json")
    assert SentenceVocabulary.load(tmp_path / "v.json") == vocabulary
    if size == 5000 and kind != "word":
        assert set("日語😀é\ufffd\uffff\U0010ffff]^-\\[<>" + BLOCKS) <= set(text)


def test_ten_thousand_words() -> None:
    words = " ".join(f"w{i:05}".translate(str.maketrans("0123456789", "abcdefghij")) for i in range(10_000))
    assert SentenceVocabulary.learn("word", [[words]], 20_000).size == 10_003
    assert SentenceVocabulary.learn("subword", [[words]], 1000).size == 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches", [[], [[]], [["", " \n\0"]]])
def test_nothing_to_learn_from_is_said(kind: str, batches: list[list[str]]) -> None:
    with pytest.raises(UsageError, match=f"there is no {kind} that the sentences hold 1 times or more"):
        SentenceVocabulary.learn(kind, batches, 100)


@pytest.mark.parametrize("text", ["a", "ab", BLOCKS, "1"])
def test_a_tiny_text_has_subwords(text: str) -> None:
    symbols = SentenceVocabulary.learn("subword", [[text]], 100).symbols
    assert {character.encode("utf-8") for character in text} <= set(symbols)


def test_without_sentencepiece_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UsageError, match=r"no subwords could be learned from 2 different words \(.*sentencepiece.*\)"):
        SentenceVocabulary.learn("subword", [["two words"]], 100)
    assert SentenceVocabulary.learn("word", [["two words"]], 100).size == 5


def test_arguments_out_of_range_are_named() -> None:
    with pytest.raises(UsageError, match="must be one of subword, word, char, not 'byte'"):
        SentenceVocabulary.learn("byte", [["a"]], 100)
    with pytest.raises(UsageError, match="the size of a vocabulary must be at least 4, not 3"):
        SentenceVocabulary.learn("word", [["a"]], 3)
    with pytest.raises(UsageError, match="minimum_count must be at least 1, not 0"):
        SentenceVocabulary.learn("word", [["a"]], 100, minimum_count=0)


@pytest.mark.parametrize(
    ("kind", "symbols"), [("char", ["ab"]), ("char", ["a", "a"]), ("word", [""]), ("word", [b"\xff"]), ("subword", [])]
)  # fmt: skip
def test_symbols_that_are_none_are_refused(kind: str, symbols: list[str | bytes]) -> None:
    with pytest.raises(ValueError):
        SentenceVocabulary(kind, symbols)


def test_equality_counts_everything() -> None:
    one = SentenceVocabulary("word", ["a", "b"])
    others = [SentenceVocabulary("word", ["b", "a"]), SentenceVocabulary("char", ["a", "b"]),
              SentenceVocabulary("word", ["a", "b"], lowercase=True)]  # fmt: skip
    assert one == SentenceVocabulary("word", [b"a", b"b"]) and len({one, *others}) == 4
    assert hash(one) == hash(SentenceVocabulary("word", [b"a", b"b"])) and one != "word"


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"kind": "char", "symbols": ["a"]}',
                '{"kind": "byte", "symbols": ["a"], "lowercase": false}',
                '{"kind": "char", "symbols": ["a", "a"], "lowercase": false}',
                '{"kind": "char", "symbols": ["a"], "lowercase": 1}',
                '{"kind": "char", "symbols": [1.5], "lowercase": false}',
                '{"kind": "word", "symbols": [3], "lowercase": false}',
                '{"kind": "char", "symbols": ["\\ud800"], "lowercase": false}']
)  # fmt: skip
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"vocabulary\.json is not a readable vocabulary \(.+\)"):
        SentenceVocabulary.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"v\.json is not a readable vocabulary \(No such file or directory\)"):
        SentenceVocabulary.load(tmp_path / "v.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.json"
    SentenceVocabulary("char", "ab").save(path)

    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", stop)
    with pytest.raises(KeyboardInterrupt):
        SentenceVocabulary("char", "xyz").save(path)
    assert SentenceVocabulary.load(path).symbols == (b"a", b"b")
