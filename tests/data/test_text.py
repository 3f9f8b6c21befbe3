"""Windows against a construction by hand."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from rnnapps.data import text
from rnnapps.data.corpus import Corpus
from rnnapps.data.text import windows, windows_per_epoch
from rnnapps.errors import UsageError

Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def distinct(lengths: Sequence[int]) -> list[str]:
    """Documents in which every character is another one, so that the ids are 1, 2, 3, ... in order."""
    ends = list(itertools.accumulate(lengths))
    return ["".join(chr(0x4E00 + i) for i in range(end - n, end)) for n, end in zip(lengths, ends, strict=True)]


def by_hand(spans: Sequence[tuple[int, int]], batch_size: int, steps: int) -> list[Batch]:
    """One epoch over a corpus whose token at place i is i + 1."""
    cut = []
    for start, stop in spans:
        ids = [i + 1 for i in range(start, stop)]
        for first in range(0, len(ids), steps):
            targets = ids[first : first + steps]
            tokens = [ids[first - 1] if first else 0, *targets[:-1]]
            pad = [0] * (steps - len(targets))
            cut.append((tokens + pad, first == 0, targets + pad, [1.0] * len(targets) + [0.0] * len(pad)))
    length = len(cut) // batch_size
    epoch = []
    for k in range(length):
        rows = [cut[row * length + k] for row in range(batch_size)]
        tokens, reset, targets, weights = zip(*rows, strict=True)
        reset = np.array(reset) | (k == 0)
        tokens = np.where(np.c_[reset, np.zeros((batch_size, steps - 1), bool)], 0, np.array(tokens))
        epoch.append((tokens, reset, np.array(targets), np.array(weights)))
    return epoch


def batches(*arguments: object, **options: object) -> Iterator[Batch]:
    for inputs, targets, weights in windows(*arguments, **options).as_numpy_iterator():
        assert set(inputs) == {"tokens", "reset"}
        yield inputs["tokens"], inputs["reset"], targets, weights


def assert_same(got: Sequence[Batch], wanted: Sequence[Batch]) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", [*range(8), *(pytest.param(i, marks=pytest.mark.full) for i in range(8, 60))])
def test_windows_equal_those_made_by_hand(
    case: int, corpus: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(case)
    lengths = [chance.choice([1, 2, 3, 5, 8, 21, 40]) for _ in range(chance.randint(1, 6))]
    steps = chance.choice([1, 2, 3, 4, 7, 50])
    most = sum(-(-n // steps) for n in lengths)
    batch_size = chance.randint(1, min(most, 9))
    monkeypatch.setattr(text, "_BLOCK", chance.choice([1, 2 * batch_size * steps, 1 << 18]))
    made = corpus(distinct(lengths))
    epoch = by_hand(made.splits["train"], batch_size, steps)
    assert windows_per_epoch(made, "train", batch_size, steps) == len(epoch)
    assert_same(list(batches(made, "train", batch_size, steps, epochs=2)), epoch + epoch)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_each_part_is_its_own_text_with_a_cold_start(split: str, corpus: Callable[..., Corpus]) -> None:
    made = corpus(["abcabcabca", "bcabcabcab"], validation_fraction=0.25, test_fraction=0.25)
    assert made.splits == {"train": [(0, 10)], "validation": [(10, 15)], "test": [(15, 20)]}
    (tokens, reset, targets, weights), *_ = batches(made, split, 1, 5, epochs=1)
    start = made.splits[split][0][0]
    np.testing.assert_array_equal(targets[0], made.read(start, start + 5))
    np.testing.assert_array_equal(tokens[0], [0, *made.read(start, start + 4)])
    assert reset.all() and weights.all()


@pytest.mark.parametrize(("lengths", "steps"), [([1], 5), ([7, 1, 13, 2], 4), ([30, 30], 10), ([100], 1)])
def test_a_batch_of_one_counts_every_token_once(lengths: list[int], steps: int, corpus: Callable[..., Corpus]) -> None:
    made = corpus(distinct(lengths))
    counted = [
        int(t) for _, _, targets, weights in batches(made, "train", 1, steps, epochs=1) for t in targets[weights == 1]
    ]
    assert counted == list(range(1, sum(lengths) + 1))


def test_a_row_goes_on_where_it_ended_unless_it_is_reset(corpus: Callable[..., Corpus]) -> None:
    """What carried states need: the first input of a window is the last target of the row's window before it."""
    made = corpus(distinct([50, 9, 23, 1, 1, 40]))
    before: Batch | None = None
    kept = 0
    for batch in batches(made, "train", 3, 6, epochs=2):
        tokens, reset, targets, weights = batch
        for row in range(3):
            if before is not None and not reset[row]:
                assert before[3][row].all() and tokens[row, 0] == before[2][row, -1]
                kept += 1
        np.testing.assert_array_equal(tokens[:, 1:] * weights[:, 1:], targets[:, :-1] * weights[:, 1:])
        before = batch
    assert kept > 20


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.full)])
def test_resuming_anywhere_gives_the_rest_of_the_stream(
    every: int, corpus: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_BLOCK", 30)  # Several blocks an epoch, which resumption need not meet.
    made = corpus(distinct([31, 17, 2, 44]))
    whole = list(batches(made, "train", 2, 5, epochs=3))
    assert len(whole) == 3 * windows_per_epoch(made, "train", 2, 5)
    for position in range(0, len(whole) + 2, every):
        assert_same(list(batches(made, "train", 2, 5, position=position, epochs=3)), whole[position:])


def test_without_epochs_it_never_ends(corpus: Callable[..., Corpus]) -> None:
    made = corpus(distinct([10]))
    epoch = by_hand([(0, 10)], 2, 3)
    got = list(itertools.islice(batches(made, "train", 2, 3, position=1_000_001), 5))
    assert_same(got, [epoch[(1_000_001 + k) % len(epoch)] for k in range(5)])


def test_shapes_and_types_are_static(corpus: Callable[..., Corpus]) -> None:
    inputs, targets, weights = windows(corpus(["hello there"]), "train", 2, 3).element_spec
    assert [(s.shape.as_list(), s.dtype.name) for s in (inputs["tokens"], inputs["reset"], targets, weights)] == [
        ([2, 3], "int32"), ([2], "bool"), ([2, 3], "int32"), ([2, 3], "float32"),
    ]  # fmt: skip


def test_a_text_shorter_than_one_window_per_row_is_refused(corpus: Callable[..., Corpus]) -> None:
    made = corpus(["abcdefghij"])
    assert windows_per_epoch(made, "train", 4, 3) == 1
    for function in (windows, windows_per_epoch):
        with pytest.raises(UsageError, match=r"train part is shorter.* 10 tokens .*4 windows of 3 steps .*batch of 5"):
            function(made, "train", 5, 3)
    with pytest.raises(UsageError, match="test part is shorter than one window per row: its 0 tokens"):
        windows(made, "test", 1, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", 0, 3), "batch_size must be at least 1, not 0"),
        (("train", 1, 0), "steps must be at least 1, not 0"),
        (("train", 1, 3, -1), "position must be at least 0, not -1"),
        (("training", 1, 3), "split must be one of train, validation, test, not 'training'"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[object, ...], message: str, corpus: Callable[..., Corpus]) -> None:
    with pytest.raises(UsageError, match=message):
        windows(corpus(["abcdefghij"]), *arguments)
