"""Pairs on disk: what was put in comes out, in bounded memory, and damage is named."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from rnnapps.data import pair_corpus
from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.pair_files import Pair
from rnnapps.data.pair_sources import Splits
from rnnapps.errors import RunError, UsageError


def encode(sentences: list[str]) -> list[np.ndarray]:
    """A number for each word, which is its length and 2."""
    return [np.array([len(word) + 2 for word in sentence.split()], np.int32) for sentence in sentences]


def double(sentences: list[str]) -> list[np.ndarray]:
    return [np.repeat(ids, 2) for ids in encode(sentences)]


def splits(train: Sequence[Pair], validation: Sequence[Pair] = (), test: Sequence[Pair] = ()) -> Splits:
    return Splits(*(functools.partial(iter, part) for part in (train, validation, test)), ["a note"])


TRAIN = [Pair("a " * (i % 7 + 1), "bcd " * (i % 5 + 1)) for i in range(50)]
VALIDATION = [Pair("one\u2028two\r", 'a "quoted" \\n\ttext'), Pair("é 😀", "x " * 30), Pair("", "y"), Pair("z", "")]


def test_what_goes_in_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_corpus, "_PAIRS", 8)  # Several blocks, and a last one that is not full.
    made = PairCorpus.prepare(splits(TRAIN, VALIDATION), tmp_path / "pairs", encode, double, max_length=10)
    for corpus in (made, PairCorpus.open(tmp_path / "pairs")):
        assert [corpus.pairs_in(part) for part in ("train", "validation", "test")] == [50, 4, 0]
        for part, pairs in (("train", TRAIN), ("validation", VALIDATION)):
            sources, targets = encode([pair.source for pair in pairs]), double([pair.target for pair in pairs])
            numbers = np.random.default_rng(0).permutation(len(pairs))
            for (source, target), number in zip(corpus.read(part, numbers), numbers, strict=True):
                assert source.dtype == target.dtype == np.int32
                assert np.array_equal(source, sources[number]) and np.array_equal(target, targets[number])
            lengths = [[len(source), len(target)] for source, target in zip(sources, targets, strict=True)]
            assert corpus.lengths(part).tolist() == lengths and corpus.lengths(part).dtype == np.int32
            assert corpus.tokens_in(part) == tuple(np.sum(lengths, 0))
        assert corpus.texts("validation") == tuple(map(list, zip(*VALIDATION, strict=True)))
        assert corpus.texts("test") == ([], []) and corpus.tokens_in("test") == (0, 0)
        assert corpus.lengths("test").shape == (0, 2) and corpus.read("test", []) == []
        assert corpus.notes == ["a note"] and corpus.max_length == 10


def test_rows_are_padded_as_they_are(tmp_path: Path) -> None:
    corpus = PairCorpus.prepare(splits(TRAIN), tmp_path, encode, double, 10)
    numbers = np.array([49, 0, 6, 6, 20])
    block, lengths = corpus.padded("train", "target", numbers, 12)
    assert block.shape == (5, 12) and block.dtype == np.int32
    for row, length, (_, target) in zip(block, lengths, corpus.read("train", numbers), strict=True):
        assert row.tolist() == [*target, *[0] * (12 - len(target))] and length == len(target)


def test_long_and_empty_pairs_are_left_out_of_training_alone(tmp_path: Path) -> None:
    pairs = [Pair("a b", "c"), Pair("a b c", "d"), Pair("a", "b c d e"), Pair(" ", "b"), Pair("a", "\u3000"),
             Pair("a b c d", ""), Pair("e", "f g")]  # fmt: skip
    corpus = PairCorpus.prepare(splits(pairs, pairs), tmp_path, encode, encode, max_length=2)
    assert corpus.lengths("train").tolist() == [[2, 1], [1, 2]]
    assert corpus.pairs_in("validation") == 7 and corpus.texts("validation")[0][2] == "a"
    assert corpus.notes == [
        "a note",
        "3 training pairs have more than 2 tokens on a side: left out",
        "2 training pairs have no token on a side: left out",
    ]


def test_pairs_are_streamed_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_corpus, "_PAIRS", 10)
    read = encoded = passes = 0

    def pairs() -> Iterator[Pair]:
        nonlocal read, passes
        passes += 1
        for pair in TRAIN:
            assert read - encoded <= 10  # Not more than a block is ever waiting.
            read += 1
            yield pair

    def counting(sentences: list[str]) -> list[np.ndarray]:
        nonlocal encoded
        encoded += len(sentences)
        return encode(sentences)

    corpus = PairCorpus.prepare(Splits(pairs, lambda: iter(()), lambda: iter(())), tmp_path, encode, counting, 10)
    assert corpus.pairs_in("train") == read == encoded == 50 and passes == 1


def test_a_corpus_replaces_another_but_never_half(tmp_path: Path) -> None:
    (tmp_path / "source_vocabulary.json").write_text("kept")
    PairCorpus.prepare(splits(TRAIN, VALIDATION), tmp_path, encode, encode, 10)
    assert PairCorpus.prepare(splits(TRAIN[:5]), tmp_path, encode, encode, 10).pairs_in("train") == 5
    assert PairCorpus.open(tmp_path).texts("validation") == ([], [])
    assert (tmp_path / "source_vocabulary.json").read_text() == "kept"

    def broken() -> Iterator[Pair]:
        yield from TRAIN
        raise UsageError("a file went away")

    with pytest.raises(UsageError, match="a file went away"):
        PairCorpus.prepare(Splits(broken, broken, broken), tmp_path, encode, encode, 10)
    with pytest.raises(RunError, match="holds no whole corpus of pairs: .*meta.json is missing"):
        PairCorpus.open(tmp_path)


@pytest.mark.parametrize(
    "name", [f"{part}.{side}.{kind}" for part in ("train", "test") for side in ("source", "target")
             for kind in ("ids", "offsets")]
)  # fmt: skip
def test_files_that_are_cut_or_gone_are_named(name: str, tmp_path: Path) -> None:
    PairCorpus.prepare(splits(TRAIN, TRAIN, TRAIN), tmp_path, encode, encode, 10)
    path = tmp_path / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(RunError, match=rf"{name} holds {len(whole) - 4} bytes in place of {len(whole)}"):
        PairCorpus.open(tmp_path)
    path.unlink()
    with pytest.raises(RunError, match=f"holds no whole corpus of pairs: .*{name} is missing"):
        PairCorpus.open(tmp_path)


def test_other_damage_is_named(tmp_path: Path) -> None:
    corpus = PairCorpus.prepare(splits(TRAIN, VALIDATION), tmp_path, encode, encode, 10)
    text = (tmp_path / "validation.jsonl").read_bytes()
    for content, reason in ((text[:-4], "Expecting value"), (text[: text.index(b"\n") + 1], "holds 1 pairs in pl"),
                            (b"\xff" + text, "utf-8"), (b'["a"]\n' * 4, "argument")):  # fmt: skip
        (tmp_path / "validation.jsonl").write_bytes(content)
        with pytest.raises(RunError, match=f"validation.jsonl is not readable .*{reason}"):
            corpus.texts("validation")
    offsets = np.fromfile(tmp_path / "train.source.offsets", "<i8")
    (offsets + 1).tofile(tmp_path / "train.source.offsets")
    with pytest.raises(RunError, match="train.source.offsets does not end at the .* tokens of train.source.ids"):
        PairCorpus.open(tmp_path)
    for content, reason in ((b"{}", "format"), (b"nothing", "Expecting value"), (b'{"format": 9}', "format 9 in pl")):
        (tmp_path / "meta.json").write_bytes(content)
        with pytest.raises(RunError, match=f"{tmp_path} holds no readable corpus of pairs .*{reason}"):
            PairCorpus.open(tmp_path)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_length must be at least 1, not 0"):
        PairCorpus.prepare(splits(TRAIN), tmp_path, encode, encode, 0)
    with pytest.raises(UsageError, match="no pair has 1 to 2 tokens on both sides"):
        PairCorpus.prepare(splits(TRAIN[4:5]), tmp_path, encode, encode, 2)
    assert not (tmp_path / "meta.json").exists()
    with pytest.raises(ValueError, match="50 sentences were encoded as 49"):
        PairCorpus.prepare(splits(TRAIN), tmp_path, encode, lambda some: encode(some)[1:], 10)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="pairs cannot be written to .*file"):
        PairCorpus.prepare(splits(TRAIN), tmp_path / "file", encode, encode, 10)
    corpus = PairCorpus.prepare(splits(TRAIN), tmp_path, encode, encode, 10)
    for call in (corpus.pairs_in, corpus.tokens_in, corpus.lengths, corpus.texts, lambda part: corpus.read(part, [0])):
        with pytest.raises(UsageError, match="split must be one of train, validation, test, not 'dev'"):
            call("dev")
    with pytest.raises(UsageError, match="the text of the part train is not kept"):
        corpus.texts("train")
    assert json.loads((tmp_path / "meta.json").read_text())["pairs"]["train"] == 50
