"""Batches of pairs: each pair once an epoch, beside its own translation, in few shapes, always in the same order."""

from __future__ import annotations

import functools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.pair_files import Pair
from rnnapps.data.pair_sources import Splits
from rnnapps.data.pairs import _Plan, batches, batches_per_epoch, order
from rnnapps.errors import UsageError

SIZES: list[dict[str, Any]] = [{"batch_size": 16}, {"batch_size": 7, "bucket": 1}, {"batch_tokens": 200},
                               {"batch_tokens": 1000}, {"batch_tokens": 5, "bucket": 4}]  # fmt: skip
FIRST = 3
COUNT = 1_001  # pairs


def encode(sentences: list[str]) -> list[np.ndarray]:
    return [np.array(sentence.split(), np.int32) for sentence in sentences]


def make(folder: Path, count: int, longest: int = 30) -> PairCorpus:
    """Pair i is its number and i's source length in words; its target is its number negated, as often as it is long.

    The number makes up the ids, so that a row says which pair it is: ids of the source are 3 + i, of the target
    100,003 + i.
    """
    rng = np.random.default_rng(count)
    lengths = rng.integers(1, longest + 1, (count, 2))
    lengths[:, 1] = np.clip(lengths[:, 0] + rng.integers(-5, 6, count), 1, longest)
    pairs = [Pair(f"{FIRST + i} " * source, f"{100_000 + FIRST + i} " * target)
             for i, (source, target) in enumerate(lengths.tolist())]  # fmt: skip
    parts = (functools.partial(iter, some) for some in (pairs, pairs[:40], pairs[:0]))
    return PairCorpus.prepare(Splits(*parts), folder, encode, encode, longest)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PairCorpus:
    return make(tmp_path_factory.mktemp("pairs"), COUNT)


def read(corpus: PairCorpus, **options: Any) -> list[Any]:
    dataset = batches(corpus, options.pop("split", "train"), **options)
    return [(x["source"], x["target"], y, w) for x, y, w in dataset.as_numpy_iterator()]


def numbers(batch: Any) -> list[int]:
    """Which pairs the rows of a batch are, from their sources."""
    return (batch[0][:, 0] - FIRST).tolist()


def equal(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(a, b) for one, other in zip(some, others, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("size", "seed"),
    [*((size, 0) for size in SIZES[:3]), (SIZES[3], None), *(pytest.param(*case, marks=pytest.mark.full) for case in (
        (SIZES[3], 0), (SIZES[4], 0), *((size, None) for size in (*SIZES[:3], SIZES[4]))))],
)  # fmt: skip
def test_each_pair_is_there_once_beside_its_own_translation(
    size: dict[str, Any], seed: int | None, corpus: PairCorpus
) -> None:
    lengths = corpus.lengths("train")
    found = read(corpus, seed=seed, **size)
    assert sorted(i for batch in found for i in numbers(batch)) == list(range(COUNT))
    for batch in found:
        source, target, targets, weights = batch
        assert source.dtype == target.dtype == targets.dtype == np.int32 and weights.dtype == np.float32
        assert target.shape == targets.shape == weights.shape
        for row, i in enumerate(numbers(batch)):
            s, t = lengths[i]
            sentence = [100_000 + FIRST + i] * t
            assert source[row].tolist() == [FIRST + i] * s + [0] * (source.shape[1] - s)
            assert target[row].tolist() == [0, *sentence] + [0] * (target.shape[1] - t - 1)
            assert targets[row].tolist() == [*sentence, 1] + [0] * (target.shape[1] - t - 1)
            assert weights[row].tolist() == [1.0] * (t + 1) + [0.0] * (target.shape[1] - t - 1)


@pytest.mark.parametrize("size", SIZES[:4])
def test_shapes_are_bounded(size: dict[str, Any], corpus: PairCorpus) -> None:
    bucket = size.get("bucket", 8)
    per_epoch = batches_per_epoch(corpus, "train", **size)
    short: Counter[int] = Counter()
    shapes = set()
    found = read(corpus, seed=3, epochs=2, **size)
    for i, (source, target, _, weights) in enumerate(found):
        rows, longest = len(source), max(source.shape[1], target.shape[1])
        assert source.shape[1] % bucket == target.shape[1] % bucket == 0
        # Not wider than it must be.
        assert source.shape[1] - bucket < (source != 0).sum(1).max() <= source.shape[1]
        assert weights.sum(1).max() > target.shape[1] - bucket
        wanted = size.get("batch_size") or max(1, size["batch_tokens"] // longest)
        if "batch_tokens" in size:
            wanted = wanted // 8 * 8 if wanted > 8 else wanted
        assert rows <= wanted
        if rows < wanted:
            short[i // per_epoch * 1000 + (longest if "batch_tokens" in size else 0)] += 1
        shapes.add((source.shape, target.shape))
    assert all(count == 1 for count in short.values())
    if bucket == 8:
        assert len(shapes) <= 40 < len(found)


@pytest.mark.parametrize(
    ("count", "size"),
    [(COUNT, SIZES[0]), *(pytest.param(3_001, size, marks=pytest.mark.full) for size in SIZES[:4]), (COUNT, SIZES[2])],
)
def test_the_order_follows_from_seed_and_epoch(
    count: int, size: dict[str, Any], corpus: PairCorpus, tmp_path: Path
) -> None:
    corpus = corpus if count == COUNT else make(tmp_path, count)
    per_epoch = batches_per_epoch(corpus, "train", **size)
    first = read(corpus, seed=1, epochs=2, **size)
    assert len(first) == 2 * per_epoch
    assert equal(first, read(corpus, seed=1, epochs=2, **size))
    orders = [[numbers(batch) for batch in some] for some in
              (first[:per_epoch], first[per_epoch:], read(corpus, seed=2, **size))]  # fmt: skip
    assert orders[0] != orders[1] != orders[2] != orders[0]
    # Other pairs stand beside each other, too.
    together = [{tuple(sorted(batch)) for batch in some if len(batch) > 1} for some in orders]
    assert len(together[0] & together[1]) < 0.2 * len(together[0])


@pytest.mark.parametrize("size", [SIZES[3], pytest.param(SIZES[0], marks=pytest.mark.full)])
def test_a_position_goes_on_exactly(size: dict[str, Any], corpus: PairCorpus) -> None:
    per_epoch = batches_per_epoch(corpus, "train", **size)
    whole = read(corpus, seed=5, epochs=2, **size)
    for position in (1, per_epoch - 1, per_epoch, per_epoch + 3, 2 * per_epoch):
        assert equal(read(corpus, seed=5, epochs=2, position=position, **size), whole[position:])
    endless = batches(corpus, "train", seed=5, position=2 * per_epoch - 1, epochs=None, **size)
    last, further = list(endless.take(2).as_numpy_iterator())
    assert np.array_equal(last[1], whole[-1][2])
    assert np.array_equal(further[1], read(corpus, seed=5, epochs=3, position=2 * per_epoch, **size)[0][2])


def test_batches_hold_alike_lengths_in_no_order_of_length(corpus: PairCorpus) -> None:
    found = read(corpus, seed=0, batch_size=16)
    targets = [batch[3].sum(1) for batch in found]
    spread = np.mean([np.ptp(some) for some in targets])
    assert spread < 2 < 20 < np.mean([np.ptp(some) for some in np.array_split(np.concatenate(targets), 10)])
    means = np.array([some.mean() for some in targets])
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.3
    for batch, some in zip(found, targets, strict=True):  # By the source too, where targets are as long.
        lengths = [*zip(some.tolist(), (batch[0] != 0).sum(1).tolist(), strict=True)]
        assert lengths == sorted(lengths)


@pytest.mark.parametrize(
    ("split", "size"),
    [*(("train", size) for size in SIZES[:4]), ("validation", SIZES[0]), ("validation", SIZES[4]),
     *(pytest.param("validation", size, marks=pytest.mark.full) for size in SIZES[1:4]),
     pytest.param("train", SIZES[4], marks=pytest.mark.full)],
)  # fmt: skip
def test_without_a_seed_they_go_by_length_and_can_be_put_back(
    size: dict[str, Any], split: str, corpus: PairCorpus
) -> None:
    found = read(corpus, split=split, **size)
    rows = order(corpus, split, **size)
    assert [i for batch in found for i in numbers(batch)] == rows.tolist()
    assert sorted(rows.tolist()) == list(range(corpus.pairs_in(split)))
    assert len(found) == batches_per_epoch(corpus, split, **size)
    lengths = corpus.lengths(split)[rows] + (0, 1)
    if "batch_size" in size:
        assert (np.diff(lengths[:, 1]) >= 0).all()
    else:
        assert (np.diff(-(-lengths.max(1) // size.get("bucket", 8))) >= 0).all()
    answers = np.concatenate([batch[2][:, 0] for batch in found])
    back = np.empty_like(answers)
    back[rows] = answers
    assert back.tolist() == [100_000 + FIRST + i for i in range(corpus.pairs_in(split))]


def test_sentences_without_tokens_have_rows_too(tmp_path: Path) -> None:
    held_out = [Pair("", "5"), Pair("4", ""), Pair("", "")]
    parts = (functools.partial(iter, some) for some in ([Pair("4", "5")], held_out, ()))
    corpus = PairCorpus.prepare(Splits(*parts), tmp_path, encode, encode, 5)
    ((source, target, targets, weights),) = read(corpus, split="validation", batch_size=9)
    rows = order(corpus, "validation", batch_size=9).tolist()
    assert source.shape == target.shape == (3, 8)
    assert source[rows.index(1)].tolist()[:2] == [4, 0] and not source[rows.index(0)].any()
    assert targets[rows.index(1)].tolist()[:2] == [1, 0] and weights.sum() == 4


def test_wrong_arguments_are_named(corpus: PairCorpus) -> None:
    for options, sentence in (
        ({}, "one of batch_size and batch_tokens is wanted, not None and None"),
        ({"batch_size": 4, "batch_tokens": 9}, "one of batch_size and batch_tokens is wanted, not 4 and 9"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"batch_tokens": -1}, "batch_tokens must be at least 1, not -1"),
        ({"batch_size": 1, "bucket": 0}, "bucket must be at least 1, not 0"),
        ({"batch_size": 1, "position": -1}, "position must be at least 0, not -1"),
        ({"batch_size": 1, "split": "dev"}, "split must be one of train, validation, test, not 'dev'"),
        ({"batch_size": 1, "split": "test"}, "the test part of .* holds no pair"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read(corpus, **options)  # type: ignore[arg-type]


def test_an_epoch_of_many_pairs_takes_little_time(tmp_path: Path) -> None:
    corpus = make(tmp_path, 29_000)
    start = time.process_time()
    plan = _Plan(corpus, "train", 64, None, 8)
    total = sum(len(plan.read(batch)[1]) for batch in plan.epoch(0, 0))
    assert total == 29_000 and time.process_time() - start < 3
