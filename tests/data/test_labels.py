"""Windows that end with a label: what is in them, which part they are of, and one sentence for what is amiss."""

import re

import numpy as np
import pytest

from rnnapps.data.gather import prepare
from rnnapps.data.labels import LabelIndex, check_classes, labelled_windows, last_windows, scales
from rnnapps.data.panel import Series, deal
from rnnapps.data.table import Columns, Table
from rnnapps.errors import UsageError

COLUMNS = Columns(("kind",), (), "s", past=("x", "c"), static=("g",), categorical=("kind", "c"))


def panel_of(tmp_path, lines, columns=COLUMNS, header="s,x,c,g,kind", **options):
    folder = tmp_path / f"panel{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    path = tmp_path / "x.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return prepare([Table(path)], columns, folder, **options)


def rows(lengths=(40, 5), label=lambda i: "ab"[i // 3 % 2] if i % 3 == 1 else ""):
    """Series whose x are 100 * series + row, with a label in some rows."""
    return [f"s{s},{100 * s + i},{'uvw'[i % 3]},{s},{label(i)}" for s, n in enumerate(lengths) for i in range(n)]


@pytest.mark.parametrize(("part", "bounds"), [("train", [(0, 24), (0, 3)]), ("validation", [(24, 32), (3, 4)])])
@pytest.mark.parametrize("every", [1, 2])
def test_windows_end_with_a_label_and_stay_in_their_series(tmp_path, part, bounds, every):
    history = 6
    panel = panel_of(tmp_path, rows(), validation_fraction=0.2, test_fraction=0.2)
    x, classes, codes = [], [], []
    for s, ((first, end), length) in enumerate(zip(bounds, (40, 5), strict=True)):
        labelled = [i for i in range(length) if i % 3 == 1]
        if length < history:
            labelled = labelled[-1:]  # the only window of a short series
        else:
            labelled = [i for i in labelled if i + 1 >= history]
        for i in [i for i in labelled if first <= i < end][::every]:
            x.append([100 * s + k if k >= 0 else np.nan for k in range(i - history + 1, i + 1)])
            codes.append([k % 3 + 1 if k >= 0 else np.nan for k in range(i - history + 1, i + 1)])
            classes.append(i // 3 % 2)
    inputs, targets = next(labelled_windows(panel, part, history, 100, every=every).as_numpy_iterator())
    np.testing.assert_array_equal(inputs["past"], np.stack([x, codes], -1))
    np.testing.assert_array_equal(targets, classes)
    np.testing.assert_array_equal(inputs["static"][:, 0], inputs["past"][:, -1, 0] // 100)
    index = LabelIndex(panel, part, history, every)
    assert len(index) == len(x) and index.counts().tolist() == [classes.count(0), classes.count(1)]


def test_a_short_series_begins_with_missing_values(tmp_path):
    panel = panel_of(tmp_path, rows((4, 3), lambda i: "ab"[i % 2]), validation_fraction=0, test_fraction=0)
    inputs, targets = next(labelled_windows(panel, "train", 6, 8).as_numpy_iterator())
    nan = np.nan
    np.testing.assert_array_equal(inputs["past"][..., 0], [[nan, nan, 0, 1, 2, 3], [nan, nan, nan, 100, 101, 102]])
    np.testing.assert_array_equal(targets, [1, 0])


def test_what_comes_after_the_labelled_row_does_not_change_a_window(tmp_path):
    lines = rows((40,))
    shuffled = [*lines[:20], *np.random.default_rng(0).permutation(lines[20:]).tolist()]
    found = []
    for some in (lines, shuffled):
        index = LabelIndex(panel_of(tmp_path, some, validation_fraction=0, test_fraction=0), "train", 6)
        numbers = np.flatnonzero(index.ends <= 20)
        assert len(numbers) == 5
        found.append(index.read(numbers))
    for name, values in found[0][0].items():
        np.testing.assert_array_equal(values, found[1][0][name])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_series_of_one_class_go_whole_to_a_part_by_class_and_seed(tmp_path):
    lines = [f"s{s},{s},u,0,{'' if i < 2 else 'ab'[s % 5 == 0]}" for s in range(50) for i in range(3)]
    parts = []
    for seed in (0, 0, 1):
        panel = panel_of(tmp_path, lines, seed=seed, validation_fraction=0.2, test_fraction=0.2)
        numbers = {}
        for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
            index = LabelIndex(panel, part, 3)
            inputs, _ = index.read(np.arange(len(index)))
            numbers[part] = inputs["past"][:, 0, 0].astype(int).tolist()
            counts = dict(zip(panel.layout.categories["kind"], index.counts().tolist(), strict=True))
            assert counts == {"a": round(40 * share), "b": round(10 * share)}
        assert sorted(sum(numbers.values(), [])) == list(range(50))
        parts.append(numbers)
    assert parts[0] == parts[1] != parts[2]


def test_dealing_counts_by_class():
    series = [Series(str(i), 10 * i, 10) for i in range(8)]
    found = deal(series, ["a"] * 5 + ["b"] * 2 + [None], 0.2, 0.2, seed=3)
    ends = [(one.train_end, one.validation_end) for one in found]
    assert sorted(ends[:5]) == [(0, 0), (0, 10), (10, 10), (10, 10), (10, 10)]
    assert ends[5:] == [(10, 10)] * 3


def test_scales_are_of_all_training_rows_together(tmp_path):
    lines = [f"s{s},{1000 * s + i},u,{s},{'ab'[s % 2] if i == 9 else ''}" for s in range(20) for i in range(10)]
    panel = panel_of(tmp_path, lines, validation_fraction=0.2, test_fraction=0.2)
    learnt = [int(one.name[1:]) for one in panel.series if one.train_end]
    assert 0 < len(learnt) < 20
    x = np.array([1000 * s + i for s in learnt for i in range(10)])
    found = scales(panel)
    np.testing.assert_allclose(found["past"], [[x.mean(), 0], [x.std(), 1]], rtol=1e-6)
    np.testing.assert_allclose(found["static"], [[np.mean(learnt)], [np.std(learnt)]], rtol=1e-6)


def test_batches_resume_and_have_an_order_of_their_own_each_epoch(tmp_path):
    panel = panel_of(tmp_path, rows((100,)))

    def run(**options):
        batches = labelled_windows(panel, "train", 6, 4, seed=5, **options).as_numpy_iterator()
        return [inputs["past"][:, 0, 0].tolist() for inputs, _ in batches]

    two = run(epochs=2)
    first, second = sum(two[: len(two) // 2], []), sum(two[len(two) // 2 :], [])
    assert sorted(first) == sorted(second) and first != second
    assert run(epochs=2, position=3) == two[3:]


def test_a_class_that_training_never_saw_is_told_and_is_no_number(tmp_path):
    lines = rows((40,), lambda i: "z" if i == 39 else "ab"[i % 2])
    panel = panel_of(tmp_path, lines)
    assert panel.notes == ["no training part has kind 'z': windows of a class never seen count as wrong"]
    assert panel.layout.categories["kind"] == ("a", "b")
    index = LabelIndex(panel, "test", 6)
    assert np.isnan(index.read(np.arange(len(index)))[1]).tolist() == [False] * 7 + [True]
    assert index.counts().sum() == 7


def test_last_windows_end_with_the_last_label_or_the_last_row(tmp_path):
    learnt = panel_of(tmp_path, rows()).layout
    new = [line.replace(",u,", ",w,").replace(",v,", ",new,") for line in rows((9, 4))]
    inputs, last = last_windows(panel_of(tmp_path, new, validation_fraction=0, test_fraction=0), learnt, 5)
    assert last.tolist() == [7, 10]
    np.testing.assert_array_equal(inputs["past"][0, :, 0], [3, 4, 5, 6, 7])
    np.testing.assert_array_equal(inputs["past"][1], [[np.nan] * 2] * 3 + [[100, 3], [101, 0]])
    without = Columns((), (), "s", past=("x", "c"), static=("g",), categorical=("c",))
    inputs, last = last_windows(panel_of(tmp_path, new, without), learnt, 5)
    assert last.tolist() == [8, 12]
    np.testing.assert_array_equal(inputs["past"][0], [[4, 0], [5, 3], [6, 3], [7, 0], [8, 3]])


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        (lambda i: "a", "--label kind has one class, 'a' in the training part: wanted two classes or more"),
        (lambda i: "ab"[i > 35], "--label kind has one class, 'a' in the training part"),
        (lambda i: "" if i < 39 else "a", "--label kind has no value in the training part"),
    ],
)
def test_labels_that_cannot_be_learnt(tmp_path, label, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        check_classes(panel_of(tmp_path, rows((40,), label)))


def test_numbers_are_no_classes(tmp_path):
    panel = panel_of(tmp_path, rows((1500,), lambda i: f"{i}.5"))
    with pytest.raises(UsageError, match="--label kind has 1,050 different values: wanted at most 1,000 classes, or"):
        check_classes(panel)


def test_no_label_at_all_and_no_window(tmp_path):
    with pytest.raises(UsageError, match="column 'kind' has no value in any row: wanted names of classes"):
        panel_of(tmp_path, rows((9,), lambda i: ""))
    panel = panel_of(tmp_path, rows((40,), lambda i: "ab"[i % 2] if i < 20 else ""))
    with pytest.raises(UsageError, match="the test part has no row with a 'kind' that ends --history 5 rows"):
        LabelIndex(panel, "test", 5)
