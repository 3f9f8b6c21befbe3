"""Two files of figures against each other, and what is refused."""

import copy
import json

import compare_bench
import pytest

MACHINE = {"cpus": 2, "processor": "One", "platform": "Linux", "python": "3.11", "tensorflow": "2.21", "torch": None}


def results(**seconds):
    return [{"name": name, "median_seconds": value} for name, value in seconds.items()]


def layers():
    rows = [{"row": "1,2,3,4,5", "results": results(rnnapps=0.2, Keras=0.5)}, {"row": "9,9,9,9,9", "results": []}]
    settings = {"threads": None, "precision": "float32", "warm": 0, "rounds": 7}
    return {"benchmark": "train", "cell": "lstm", **settings, "rows": rows, "machine": dict(MACHINE)}


def text():
    settings = {"model": "2 x 8", "tokens": 64, "threads": 2, "rounds": 7}
    return {"benchmark": "generate", **settings, "results": results(rnnapps=0.001), "machine": dict(MACHINE)}


@pytest.fixture
def run(tmp_path):
    def run(a, b):
        for name, figures in (("A.json", a), ("B.json", b)):
            (tmp_path / name).write_text(json.dumps(figures))
        return compare_bench.main([str(tmp_path / "A.json"), str(tmp_path / "B.json")])

    return run


def test_ratio_of_medians_by_contender_and_row(run, capsys):
    a, b = layers(), layers()
    b["rows"] = [
        {"row": "1,2,3,4,5", "results": results(Keras=0.6, rnnapps=0.1, PyTorch=0.3)},
        {"row": "8,8,8,8,8", "results": results(rnnapps=1)},
    ]
    assert run(a, b) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["1,2,3,4,5", "A,", "ms", "B,", "ms", "B", "/", "A"],
        ["rnnapps", "200.00", "100.00", "0.500"],
        ["Keras", "500.00", "600.00", "1.200"],
        ["PyTorch", "-", "300.00", "-"],
        [],
        ["only", "in", "A:", "9,9,9,9,9"],
        ["only", "in", "B:", "8,8,8,8,8"],
    ]


def test_settings_and_versions_that_differ_are_named(run, capsys):
    b = layers() | {"threads": 2, "precision": "mixed_bfloat16"}
    b["machine"]["tensorflow"] = "2.22"
    assert run(layers(), b) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "threads: None in A, 2 in B",
        "precision: float32 in A, mixed_bfloat16 in B",
        "tensorflow: 2.21 in A, 2.22 in B",
    ]


def test_a_benchmark_without_rows_is_one(run, capsys):
    b = text()
    b["results"] = results(rnnapps=0.002)
    assert run(text(), b) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["rnnapps", "1.00", "2.00", "2.000"]


def change(figures, path, value):
    figures = copy.deepcopy(figures)
    *folders, name = path.split("/")
    place = figures
    for folder in folders:
        place = place[folder]
    place[name] = value
    return figures


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (
            layers(),
            change(layers(), "benchmark", "infer"),
            "benchmarks: benchmark is 'train' in A and 'infer' in B",
        ),
        (layers(), change(layers(), "cell", "gru"), "different benchmarks: cell is 'lstm' in A and 'gru' in B"),
        (layers(), change(layers(), "machine/cpus", 4), "different machines: cpus is 2 in A and 4 in B"),
        (layers(), change(layers(), "machine/processor", "Two"), "different machines: processor is 'One'"),
        (layers(), text(), "different benchmarks"),
        (text(), change(text(), "tokens", 65), "no row is in both: A has 2 x 8, 64 tokens, B has 2 x 8, 65 tokens"),
        (layers(), [], "B.json is no result of bench.py: wanted a file that its --json wrote"),
        (layers(), {"benchmark": "train"}, "B.json is no result of bench.py"),
        (change(layers(), "machine", None), layers(), "A.json is no result of bench.py"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(run, capsys, a, b, words):
    assert run(a, b) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("compare_bench: ") and words in line and not printed.out


def test_missing_file(capsys, tmp_path):
    assert compare_bench.main([str(tmp_path / "no.json"), str(tmp_path / "no.json")]) == 2
    assert "no.json: No such file or directory" in capsys.readouterr().err
