"""Which pairs each source gives, and one sentence for what is wrong with it."""

from __future__ import annotations

import functools
import gzip
import itertools
import os
import re
import threading
import zipfile
from collections.abc import Sequence
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from rnnapps.data import pair_builders, pair_files, pair_sources
from rnnapps.data.pair_files import Pair, split_lines
from rnnapps.data.pair_sources import DATASETS, DEFAULT_LANGUAGES, PARTS, Splits, pair_splits, read_pairs
from rnnapps.errors import RunError, UsageError

PAIRS = [Pair(f"Satz {i % 400}", f"sentence {i}") for i in range(500)]  # A hundred of the sources occur twice.


def write(path: Path, content: str | bytes | Sequence[Pair]) -> Path:
    if not isinstance(content, str | bytes):
        content = "".join(f"{source}\t{target}\n" for source, target in content)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def read(splits: Splits) -> dict[str, list[Pair]]:
    return {part: list(splits[part]()) for part in PARTS}


def of(tmp_path: Path, content: str | bytes, **options: float) -> list[Pair]:
    """All pairs of one file."""
    options = {"validation_fraction": 0, "test_fraction": 0, **options}
    return list(pair_splits(pairs=[write(tmp_path / "own.tsv", content)], **options).train())  # type: ignore[arg-type]


# === The user's files ===


def test_every_pair_is_in_one_part_and_so_is_every_source(tmp_path: Path) -> None:
    path = write(tmp_path / "own.tsv", PAIRS)
    splits = pair_splits(pairs=[path], validation_fraction=0.1, test_fraction=0.2)
    parts = read(splits)
    assert parts == read(splits)  # Again from the start.
    assert sorted(itertools.chain(*parts.values())) == sorted(PAIRS)
    sources = [{pair.source for pair in parts[part]} for part in PARTS]
    assert not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]
    # A sentence more than wanted at most, which has two translations.
    assert 50 <= len(parts["validation"]) <= 51 and 100 <= len(parts["test"]) <= 101
    assert parts["train"] == [pair for pair in PAIRS if pair in set(parts["train"])]  # In their order.
    # The test part depends on nothing else.
    assert read(pair_splits(pairs=[path], validation_fraction=0.3, test_fraction=0.2))["test"] == parts["test"]


def test_capitals_and_spaces_do_not_part_a_sentence(tmp_path: Path) -> None:
    some = [Pair(form.format(i), f"{i}{form}") for i in range(200) for form in ("Ein Satz {}", "ein  satz {} ")]
    parts = read(pair_splits(pairs=[write(tmp_path / "own.tsv", some)], validation_fraction=0.2, test_fraction=0.2))
    for part in PARTS:
        numbers = [re.findall(r"\d+", pair.source)[0] for pair in parts[part]]
        assert numbers and all(numbers.count(one) == 2 for one in numbers)


def test_what_is_held_out_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_sources, "MAX_HELD_OUT", 30)
    path = write(tmp_path / "own.tsv", PAIRS)
    parts = read(pair_splits(pairs=[path], validation_fraction=0.4, test_fraction=0.01))
    assert 30 <= len(parts["validation"]) <= 31 and 5 <= len(parts["test"]) <= 6
    small = read(pair_splits(pairs=[write(tmp_path / "few.tsv", PAIRS[:3])]))
    assert [len(small[part]) for part in PARTS] == [1, 1, 1]  # As long as there is a sentence for each.
    none = read(pair_splits(pairs=[path], validation_fraction=0, test_fraction=0))
    assert [len(none[part]) for part in PARTS] == [500, 0, 0]


def test_parts_that_are_given_are_not_cut_off(tmp_path: Path) -> None:
    path, other = write(tmp_path / "own.tsv", PAIRS), write(tmp_path / "other.tsv", "a\tb\n")
    parts = read(pair_splits(pairs=[path], validation=[other], test_fraction=0.1))
    assert parts["validation"] == [("a", "b")] and 50 <= len(parts["test"]) <= 51
    assert len(parts["train"]) + len(parts["test"]) == 500
    third = write(tmp_path / "third.tsv", "c\td\n")
    assert read(pair_splits(pairs=[path], validation=[other], test=[third])) == {
        "train": PAIRS, "validation": [("a", "b")], "test": [("c", "d")]
    }  # fmt: skip


def test_several_files_come_in_their_order(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, f"{name}\tb\n") for name in ("z.tsv", "a.tsv")]
    assert read_pairs(paths) == (["z.tsv", "a.tsv"], ["b", "b"])


def test_lines_are_read_as_they_are_meant(tmp_path: Path) -> None:
    text = "\ufeffone\teins\tCC-BY 2.0\r\none\teins\r\n two \tzwei\u2028drei\x0b\r\nlast\tletzte"
    wanted = [("one", "eins"), ("one", "eins"), (" two ", "zwei\u2028drei\x0b"), ("last", "letzte")]
    assert of(tmp_path, text) == wanted
    assert of(tmp_path, gzip.compress(text.encode())) == wanted


def test_aligned_files_go_line_by_line(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.en", "\ufeffone\r\ntwo\t2\n\nfour\n"),
             write(tmp_path / "a.de", gzip.compress(b"eins\nzwei\ndrei\nvier", mtime=0))]  # fmt: skip
    splits = pair_splits(pairs=paths, aligned=True, validation_fraction=0, test_fraction=0)
    assert list(splits.train()) == [("one", "eins"), ("two\t2", "zwei"), ("four", "vier")]
    assert splits.notes == [f"{paths[0]} and {paths[1]}: line 3 is left out, which is with an empty side"]
    write(paths[1], "eins\nzwei\n")
    for files in (paths, paths[::-1]):
        counts = [4, 2] if files is paths else [2, 4]
        with pytest.raises(UsageError, match=f"{files[0]} has {counts[0]} lines and {files[1]} has {counts[1]}: want"):
            pair_splits(pairs=files, aligned=True)
        with pytest.raises(UsageError, match="wanted as many in both"):
            read_pairs(files, aligned=True)
    with pytest.raises(UsageError, match="--aligned --pairs names 1 files: wanted two"):
        pair_splits(pairs=paths[:1], aligned=True)


def test_lines_that_are_no_pairs_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "own.tsv", "a\tb\nno tab\n\t\nalso none\n\n \tx\nx\t \na\tb\n")
    splits = pair_splits(pairs=[path], validation_fraction=0, test_fraction=0)
    assert list(splits.train()) == [("a", "b"), ("a", "b")]
    assert splits.notes == [
        f"{path}: 2 lines without a tab are left out, the first of them is line 2",
        f"{path}: 4 lines with an empty side are left out, the first of them is line 3",
    ]
    notes: list[str] = []
    assert read_pairs([path], notes=notes) == (["a", "a"], ["b", "b"]) and notes == splits.notes
    other = write(tmp_path / "other.tsv", "c\td\nnothing\n")
    notes = pair_splits(pairs=[other], test=[path], validation_fraction=0).notes
    assert notes == [f"{other}: line 2 is left out, which is without a tab", *splits.notes]


def test_equal_sides_are_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "own.tsv", "a\ta\nb\tb\n")
    splits = pair_splits(pairs=[path], validation_fraction=0, test_fraction=0)
    assert splits.notes == [f"--pairs {path}: both sides of all 2 pairs are the same"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty, and at least one pair of sentences is wanted"),
        (gzip.compress(b"", mtime=0), "holds no pair of sentences"),
        (b"one\ntwo\n\n", "holds no pair of sentences: 2 lines are without a tab: 1 lines are with an empty side"),
        (b"a\tb\nc\t\xe9\n", "is not UTF-8 text: byte 0xe9, which is byte 3 of line 2, cannot be read"),
        ("a\tb\n".encode("utf-16"), "is not UTF-8 text: byte 0x00, which is byte 4 of line 1, cannot be read"),
        (b"\x89PNG\r\n\x1a\n", "is not UTF-8 text: byte 0x89, which is byte 1 of line 1, cannot be read"),
        (b"a\tb\nPK\x03\x04\x00\x00\tc\n", "is not UTF-8 text: byte 0x00, which is byte 5 of line 2, cannot be read"),
        (gzip.compress(b"a\tb\n" * 1000, mtime=0)[:-12], "cannot be read (Compressed file ended"),
        (b"\x1f\x8b nothing", "cannot be read (Unknown compression method"),
        (b"a\tb\n", "of 1 pairs of --pairs"),
    ],
)
def test_wrong_content_is_named(content: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
        pair_splits(pairs=[write(tmp_path / "own.tsv", content)])
    assert "own.tsv" in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "own.tsv", PAIRS)
    os.mkfifo(tmp_path / "pipe")
    os.link(path, tmp_path / "link.tsv")
    for name, sentence in (
        (".", "is a folder, and a text file is wanted"),
        ("nowhere.tsv", r"nowhere\.tsv does not exist"),
        ("pipe", "can be read only once"),
        ("own.tsv", rf"own\.tsv is the same file as --pairs {path}: wanted another"),
        ("link.tsv", rf"link\.tsv is the same file as --pairs {path}: wanted another"),
    ):
        for option in ("pairs", "validation", "test"):
            given = {"pairs": [path], option: [tmp_path / name]}
            given["pairs"] = [path, tmp_path / name] if option == "pairs" else [path]
            with pytest.raises(UsageError, match=f"--{option} .*{sentence}"):
                pair_splits(**given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is the same file"):
        read_pairs([path, tmp_path / "link.tsv"], aligned=True)


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_files, "MAX_LINE_BYTES", 1000)
    with pytest.raises(UsageError, match=r"own\.tsv has more than 1,000 bytes in line 2: wanted sentences"):
        of(tmp_path, "a\tb\n" + "x" * 1001)


def test_sentences_of_ten_thousand_words_are_kept(tmp_path: Path) -> None:
    long = "word " * 10_000
    assert of(tmp_path, f"{long}\tb\nc\td\n") == [(long, "b"), ("c", "d")]


def test_pairs_are_read_as_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    decoded = pair_files.decoded

    def counting(*arguments: object) -> object:
        nonlocal read
        for line in decoded(*arguments):  # type: ignore[arg-type]
            read += 1
            yield line

    splits = pair_splits(pairs=[write(tmp_path / "own.tsv", PAIRS)], validation_fraction=0, test_fraction=0)
    monkeypatch.setattr(pair_files, "decoded", counting)
    some = list(itertools.islice(splits.train(), 10))
    assert some == PAIRS[:10] and read == 10


def test_options_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "own.tsv", PAIRS)
    for options, sentence in (
        ({"pairs": [path], "dataset": "dates"}, "--pairs .* goes without --dataset dates"),
        ({"pairs": [path], "source": tmp_path}, f"--pairs .* goes without --source {tmp_path}"),
        ({"validation": [path]}, "--validation goes with the user's own files: wanted --pairs too"),
        ({"test": [path]}, "--test goes with .* wanted --pairs too"),
        ({"aligned": True}, "--aligned goes with .* wanted --pairs too"),
        ({"dataset": "wmt"}, "--dataset must be one of dates, multi30k, tatoeba, not 'wmt'"),
        ({"source": tmp_path}, f"--source {tmp_path} does not go with dates"),
        ({"languages": ("en",)}, "--languages en does not go with dates: wanted two different ones, from and to"),
        ({"languages": ("en", "en")}, "--languages en en does not go with dates"),
        ({"languages": ("en", "xx")}, "dates knows no language 'xx'"),
        ({"dataset": "multi30k", "languages": ("en", "it")}, "does not go with multi30k: wanted two of en, de, fr"),
        ({"dataset": "tatoeba", "languages": ("en", "de")}, "does not go with tatoeba: wanted two of en, fr"),
        ({"pairs": [path], "test_fraction": 1.0}, "must be at least 0 and together below 1, not 0.01 and 1.0"),
        ({"pairs": [path], "validation_fraction": -0.1}, "must be at least 0"),
        ({"pairs": [path], "test_fraction": float("nan")}, "must be at least 0"),
    ):
        with pytest.raises(UsageError, match=sentence):
            pair_splits(**options)  # type: ignore[arg-type]


def test_pieces_become_lines_wherever_they_end() -> None:
    text = "é\tb\n\nc\r\nlast".encode()
    for size in (1, 2, 3, 100):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert list(split_lines(pieces)) == ["é\tb\n".encode(), b"\n", b"c\r\n", b"last"]


# === Named data sets ===


def test_dates_have_parts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_sources, "DATES_PAIRS", {"train": 300, "validation": 40, "test": 30})
    splits = pair_splits(seed=1)
    parts = read(splits)
    assert [len(parts[part]) for part in PARTS] == [300, 40, 30] and parts == read(splits)
    sources = [pair.source.lower() for part in PARTS for pair in parts[part]]
    assert len(set(sources)) == 370
    assert parts == read(pair_splits("dates", seed=1, languages=("en", "de")))
    assert parts != read(pair_splits("dates", seed=2))
    assert set(DEFAULT_LANGUAGES) == set(DATASETS)


@pytest.fixture
def multi30k(tmp_path: Path) -> Path:
    """A local copy, some of it packed: line i says its language, its part and i."""
    folder = tmp_path / "copy" / "raw"
    folder.mkdir(parents=True)
    for stem, count in (("train", 2_500), ("val", 7), ("test_2016_flickr", 5)):
        for language in ("en", "de", "fr"):
            text = "".join(f"{language} {stem} {i}\n" for i in range(count))
            if language == "de":
                (folder / f"{stem}.de").write_text(text)
            else:
                (folder / f"{stem}.{language}.gz").write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.mark.parametrize("languages", [(), pytest.param(("de", "en"), marks=pytest.mark.full), ("fr", "de")])
def test_multi30k_goes_in_every_direction(languages: tuple[str, ...], multi30k: Path, tmp_path: Path) -> None:
    for folder in (multi30k, multi30k.parent):
        parts = read(pair_splits("multi30k", folder, languages=languages, data_dir=tmp_path / "data"))
        source, target = languages or ("en", "de")
        for part, stem, count in (("train", "train", 2_500), ("validation", "val", 7), ("test", "test_2016_flickr", 5)):
            assert parts[part] == [(f"{source} {stem} {i}", f"{target} {stem} {i}") for i in range(count)]


def test_a_copy_of_multi30k_that_is_not_whole_is_named(multi30k: Path, tmp_path: Path) -> None:
    def prepare(source: Path, languages: tuple[str, ...] = ()) -> Splits:
        return pair_splits("multi30k", source, languages=languages, data_dir=tmp_path / "data")

    (multi30k / "val.fr.gz").unlink()
    assert len(list(prepare(multi30k).test())) == 5  # French is not needed.
    with pytest.raises(UsageError, match=f"--source {multi30k} lacks val.fr, and multi30k wants a folder that holds"):
        prepare(multi30k, ("en", "fr"))
    for source, what in ((tmp_path / "nowhere", "does not exist"), (multi30k / "train.de", "is a file")):
        with pytest.raises(UsageError, match=f"{what}, and multi30k wants a folder that holds train.de, train.en"):
            prepare(source)
    (multi30k / "val.de").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match=r"val\.de has 2 lines and .*val\.en\.gz has 7: wanted as many in both"):
        prepare(multi30k)
    (multi30k / "val.de").write_bytes(b"\xff\n" * 7)
    with pytest.raises(UsageError, match=r"val\.de is not UTF-8 text: byte 0xff, which is byte 1 of line 1"):
        prepare(multi30k)


def test_multi30k_is_downloaded_once(multi30k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in multi30k.glob("*.de"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append((self.command, self.path))

    monkeypatch.setenv("no_proxy", "*")
    with HTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(multi30k))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/train.en.gz"
        monkeypatch.setattr(pair_builders.Multi30k, "url", url)
        try:
            for languages in (("en", "de"), ("de", "en")):
                splits = pair_splits("multi30k", languages=languages, data_dir=tmp_path / "data")
                assert list(splits.test())[4] == tuple(f"{language} test_2016_flickr 4" for language in languages)
        finally:
            running.shutdown()
            thread.join()
    names = [f"/{stem}.{language}.gz" for stem in ("train", "val", "test_2016_flickr") for language in ("de", "en")]
    assert sorted(asked) == sorted([("HEAD", "/train.en.gz"), *(("GET", name) for name in names)])


TATOEBA = [Pair(f"Hello {i % 300}.", f"Bonjour {i} !") for i in range(400)]


FORMS = pair_builders.Tatoeba.file_names


@pytest.mark.parametrize(
    ("name", "languages"),
    [(FORMS[0], ("en", "fr")), *((name, ("fr", "en")) for name in FORMS[1:]),
     *(pytest.param(name, ("en", "fr"), marks=pytest.mark.full) for name in FORMS[1:]),
     pytest.param(FORMS[0], ("fr", "en"), marks=pytest.mark.full)],
)  # fmt: skip
def test_tatoeba_is_cut_by_its_sources(name: str, languages: tuple[str, str], tmp_path: Path) -> None:
    text = "".join(f"{source}\t{target}\tCC-BY\n" for source, target in TATOEBA)
    copy = tmp_path / "copy"
    copy.mkdir()
    if name.endswith(".zip"):
        with zipfile.ZipFile(copy / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("_about.txt", "terms")
            archive.writestr("fra.txt", text)
    else:
        (copy / name).write_text(text, encoding="utf-8")
    splits = pair_splits("tatoeba", copy, languages=languages, test_fraction=0.1, data_dir=tmp_path / "data")
    parts = read(splits)
    wanted = TATOEBA if languages == ("en", "fr") else [Pair(target, source) for source, target in TATOEBA]
    assert sorted(itertools.chain(*parts.values())) == sorted(wanted) and splits.notes == []
    assert 40 <= len(parts["test"]) <= 41 and 4 <= len(parts["validation"]) <= 5
    assert not {pair.source for pair in parts["train"]} & {pair.source for pair in parts["test"]}


def test_an_archive_without_the_sentences_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "fra-eng.zip", "w") as archive:
        archive.writestr("deu.txt", "a\tb\n")
    with pytest.raises(RunError, match=r"tatoeba cannot be prepared from .*fra-eng\.zip \(.*fra\.txt"):
        pair_splits("tatoeba", tmp_path, data_dir=tmp_path / "data")
    (tmp_path / "fra-eng.zip").write_bytes(b"PK and nothing")
    with pytest.raises(RunError, match=r"tatoeba cannot be prepared from .*fra-eng\.zip \(File is not a zip file\)"):
        pair_splits("tatoeba", tmp_path, data_dir=tmp_path / "data")
    with pytest.raises(UsageError, match=r"holds no data of tatoeba, and .* or fra\.txt is wanted there"):
        pair_splits("tatoeba", tmp_path / "data", data_dir=tmp_path / "data")


@pytest.mark.parametrize(("dataset", "builder"), [("multi30k", "Multi30k"), ("tatoeba", "Tatoeba")])
def test_no_network_is_told(dataset: str, builder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(getattr(pair_builders, builder), "url", "http://name.invalid/train.en.gz")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(RunError, match=f"{dataset} cannot be downloaded from http://name.invalid.*: give a local copy"):
        pair_splits(dataset, data_dir=tmp_path)
