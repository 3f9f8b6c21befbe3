"""Captions in the forms of Kaggle, Karpathy and Hugging Face: the same pairs come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rnnapps.data.caption_files import Findings, read_captions
from rnnapps.errors import UsageError

FOUND = {"a.jpg": ("A cat, which sits .",), "b.jpg": ('A "dog" .', "Ein Hündchen .")}
SPLITS = {
    "dataset": "mine",
    "images": [
        {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "A cat, which\n sits .", "tokens": []}]},
        {"filename": "b.jpg", "split": "val", "sentences": [{"raw": 'A "dog" .'}, {"raw": "Ein Hündchen ."}]},
    ],
}
LINES = [
    {"file_name": "a.jpg", "text": "A cat, which sits ."},
    {"file_name": "b.jpg", "text": 'A "dog" .'},
    {"file_name": "b.jpg", "text": "Ein Hündchen ."},
]


def read(path: Path, content: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    path.write_text(content, encoding="utf-8")
    findings = Findings()
    return read_captions(path, findings), findings.notes()


def json_lines(*objects: Any) -> str:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.txt", 'image,caption\na.jpg,"A cat, which sits ."\nb.jpg,"A ""dog"" ."\nb.jpg,Ein Hündchen .\n'),
        ("captions.csv", '\ufeffImage,Caption\r\na.jpg,A cat, which sits .\r\nb.jpg,"A ""dog"" ."\r\n'
                         "b.jpg,Ein Hündchen ."),
        ("results.csv", 'image_name| comment_number| comment\na.jpg| 0| A cat, which sits .\nb.jpg| 0| A "dog" .\n'
                        "b.jpg| 1| Ein Hündchen .\n"),
        ("table.csv", '"id";"caption";"file_name"\n1;"A cat,\n which sits .";a.jpg\n2;"A ""dog"" .";b.jpg\n'
                      "3;Ein Hündchen .;b.jpg#3\n"),
        ("metadata.csv", 'file_name,text\na.jpg,"A cat, which sits ."\nb.jpg,"A ""dog"" ."\nb.jpg,Ein Hündchen .\n'),
        ("metadata.jsonl", json_lines(*LINES)),
        ("captions.json", json_lines(LINES[0], {"image": "b.jpg", "captions": ['A "dog" .', "Ein Hündchen ."]})),
    ],
    ids=["kaggle", "commas without quotes", "flickr30k", "lines in a cell", "metadata.csv", "jsonl", "json lines"],
)  # fmt: skip
def test_every_form_gives_the_same(name: str, content: str, tmp_path: Path) -> None:
    found, notes = read(tmp_path / name, content)
    assert found == FOUND and notes == []


def test_karpathy_s_splits_are_read_and_left_aside(tmp_path: Path) -> None:
    found, notes = read(tmp_path / "dataset.json", json.dumps(SPLITS))
    assert found == FOUND and len(notes) == 1 and "2 splits (parts are held out by pictures' names)" in notes[0]
    SPLITS["images"][0]["filepath"] = "val2014"  # type: ignore[index]
    found, _ = read(tmp_path / "dataset.json", json.dumps(SPLITS))
    assert list(found) == ["val2014/a.jpg", "b.jpg"]


def test_what_is_missing_in_a_table_is_counted(tmp_path: Path) -> None:
    found, notes = read(tmp_path / "captions.csv", "image,caption\na.jpg,One .\n,two\nb.jpg,\n\nb.jpg\n")
    assert found == {"a.jpg": ("One .",)}
    assert [note.partition(": ")[2] for note in notes] == [
        "1 line without a name is left out, which is line 3",
        "2 lines without a caption are left out, the first of them is line 4",
    ]


def test_a_table_without_a_head_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 lines without a tab; wanted .* a table with the columns image and caption"):
        read(tmp_path / "captions.csv", "a.jpg,One .\nb.jpg,Two .\n")
    with pytest.raises(UsageError, match=r"line 2 \("):
        read(tmp_path / "metadata.jsonl", json_lines(LINES[0]) + "{\n")
