"""Files of captions, and the folder of pictures that they are about, however untidy."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from rnnapps.data import caption_files
from rnnapps.data.caption_files import Captioned, Findings, outside, paired, read_captions, read_pictures
from rnnapps.errors import UsageError


def read(path: Path, content: str | bytes | dict[str, Any]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Captions and notes."""
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    findings = Findings()
    return read_captions(path, findings), findings.notes()


COCO = {
    "info": {},
    "images": [{"id": 7, "file_name": "b.jpg"}, {"id": "x", "file_name": "a.jpg"}, {"id": 9, "file_name": "c.jpg"}],
    "annotations": [
        {"image_id": "x", "caption": "A cat\n sits ."},
        {"image_id": 7, "id": 1, "caption": " A dog . "},
        {"image_id": 7, "id": 2, "caption": "Ein Hündchen ."},
    ],
}
FOUND = {"a.jpg": ("A cat sits .",), "b.jpg": ("A dog .", "Ein Hündchen .")}


# === Formats ===


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.tsv", "a.jpg\tA cat  sits .\nb.jpg\tA dog .\nb.jpg\tEin Hündchen .\n"),
        ("own.txt", "\ufeffa.jpg\tA cat sits .\r\n\r\nb.jpg\t A dog . \tmore\r\nb.jpg\tEin Hündchen ."),
        ("own.tsv.gz", gzip.compress("a.jpg\tA cat sits .\nb.jpg\tA dog .\nb.jpg\tEin Hündchen .".encode(), mtime=0)),
        ("token.txt", "a.jpg#0\tA cat sits .\nb.jpg#0\tA dog .\nb.jpg#12\tEin Hündchen .\n"),
        ("own.json", COCO),
        ("captions", b"\xef\xbb\xbf \n" + json.dumps(COCO, ensure_ascii=False).encode()),
    ],
    ids=["tab", "untidy tab", "packed", "token", "coco", "coco without a suffix"],
)
def test_every_format_is_told_by_its_content(name: str, content: Any, tmp_path: Path) -> None:
    found, notes = read(tmp_path / name, content)
    assert found == FOUND and list(found) == ["a.jpg", "b.jpg"] and notes == []


def test_a_number_belongs_to_a_name_without_a_suffix(tmp_path: Path) -> None:
    found, _ = read(tmp_path / "own.tsv", "photo #1\tone\nphoto #2\ttwo\nc.jpg.1#0\tthree\n")
    assert found == {"photo #1": ("one",), "photo #2": ("two",), "c.jpg.1": ("three",)}


def test_lines_that_say_nothing_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    found, notes = read(path, "image caption\na.jpg\tA cat .\nno tab\n\tA dog .\nb.jpg\t \nb.jpg\t\n\n")
    assert found == {"a.jpg": ("A cat .",)}
    assert notes == [
        f"{path}: 2 lines without a tab are left out, the first of them is line 1",
        f"{path}: 1 line without a name is left out, which is line 4",
        f"{path}: 2 lines without a caption are left out, the first of them is line 5",
    ]


def test_json_that_is_partly_wrong_is_read_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    odd_images = [3, {"id": 1}, {"file_name": "x.jpg"}, {"id": [1], "file_name": "x.jpg"}, {"id": 2, "file_name": 5},
                  {"id": 3, "file_name": "\ud800.jpg"}]  # fmt: skip
    odd_annotations = [None, {"image_id": 77, "caption": "x"}, {"image_id": {}, "caption": "x"}, {"image_id": 7},
                       {"image_id": 7, "caption": None}, {"image_id": 7, "caption": "\udc00"}]  # fmt: skip
    content = {"images": [*COCO["images"], *odd_images], "annotations": [*COCO["annotations"], *odd_annotations]}
    found, notes = read(path, content)
    assert found == FOUND
    assert notes == [
        f"{path}: 6 images without an id or a file_name are left out, the first of them is image 4",
        f"{path}: 3 annotations without an image are left out, the first of them is annotation 4",
        f"{path}: 3 annotations without a caption are left out, the first of them is annotation 7",
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("own.tsv", b"", "is empty, and a file of captions is wanted"),
        ("own.tsv", "one\ntwo\nb.jpg\t\n", "holds no caption: 2 lines without a tab: 1 lines without a caption"),
        ("own.tsv", b"a.jpg\tcaf\xe9\n", "is not UTF-8 text: byte 0xe9, which is byte 10 of line 1, cannot be read"),
        ("own.tsv", "a.jpg\tA cat .\n".encode("utf-16"), "is not UTF-8 text: byte 0x00"),
        ("own.tsv", b"\xff\xd8\xff\xe0\x00\x10JFIF", "is not UTF-8 text: byte 0x00"),
        ("own.json", b'{"images": [], "annotations": ["\xe9"]}', "is not UTF-8 text: byte 0xe9 at 32 cannot be read"),
        ("own.json", '{"images": [', "is no valid JSON (Expecting value: line 1 column 13 (char 12))"),
        ("own.json", "a.jpg\tA cat .\n", "is no valid JSON"),
        ("own.json", "[" * 100_000, "is no valid JSON"),
        ("own.json", '{"images": ' + "9" * 5000 + "}", "is no valid JSON"),
        ("own.json", "[1]", "has no list 'images': wanted JSON as COCO has it, with 'images' and 'annotations'"),
        ("own.json", '{"images": []}', "has no list 'annotations'"),
        ("own.json", '{"images": {}, "annotations": []}', "has no list 'images'"),
        ("own.json", '{"images": [], "annotations": [{}]}', "holds no caption: 1 annotations without an image"),
    ],
    ids=["empty", "no caption", "latin-1", "utf-16", "a picture", "latin-1 JSON", "cut JSON", "no JSON", "deep JSON",
         "long number", "list", "no annotations", "no list", "no image"],
)  # fmt: skip
def test_wrong_files_get_one_sentence(name: str, content: str | bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
        read(tmp_path / name, content)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path, sentence in ((tmp_path, "is a folder"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(UsageError, match=f"--captions {path} {sentence}, and a file of captions is wanted"):
            read_captions(path, Findings())


# === Folders ===


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures by name; what they hold is their name."""
    folder = tmp_path / "pictures"
    for name in ("a.jpg", "b.JPG", "in/c.png", "twice.png", "twice.jpg", "caf\u00e9.webp", "._a.jpg", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def pair(folder: Path, *names: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    findings = Findings()
    return paired({name: (f"of {name}",) for name in names}, folder, findings, "own.tsv"), findings.notes()


def test_names_find_their_pictures(folder: Path) -> None:
    found, notes = pair(folder, "./in/c.png", "b", "a.jpg", "cafe\u0301.webp", "twice.png", "twice.jpg", "in//c")
    assert list(found) == ["in/c.png", "b.JPG", "a.jpg", "caf\u00e9.webp", "twice.png", "twice.jpg"] and notes == []
    assert found["in/c.png"] == ("of ./in/c.png", "of in//c")  # Two names of one picture.
    read = list(read_pictures(folder, found))
    assert read[1] == Captioned("b.JPG", b"b.JPG", ("of b",))
    assert [one.picture.decode() for one in read] == list(found)


def test_what_does_not_fit_together_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty.png").touch()
    (folder / "large.png").write_bytes(b"x" * 101)
    os.mkfifo(folder / "pipe.png")
    (folder / "dangling.png").symlink_to("nowhere")
    os.close(os.open(os.fsencode(folder) + b"/\xff.png", os.O_CREAT))
    monkeypatch.setattr(caption_files, "MAX_PICTURE_BYTES", 100)
    names = (
        "a",
        "c.png",
        "gone\n.jpg",
        "twice",
        "",
        "empty",
        "large",
        "pipe",
        "dangling",
        "../a.jpg",
        "/a.jpg",
        "x\0y",
    )
    found, notes = pair(folder, *names)
    assert list(found) == ["a.jpg"]
    assert notes == [
        "own.tsv: 4 names without a picture are left out, the first of them is 'c.png'",
        "own.tsv: 1 name of several pictures is left out, which is 'twice'",
        "own.tsv: 2 names outside of the folder are left out, the first of them is '../a.jpg'",
        f"{folder}: 5 pictures without a caption are left out, the first of them is 'b.JPG'",
        f"{folder}: 1 picture without content is left out, which is 'empty.png'",
        f"{folder}: 1 picture of more than 100 bytes is left out, which is 'large.png'",
        f"{folder}: 2 pictures that cannot be read are left out, the first of them is 'pipe.png'",
    ]


def test_no_name_leads_out_of_the_folder(folder: Path) -> None:
    (folder.parent / "secret.jpg").write_text("secret")
    (folder.parent / "beside").mkdir()
    (folder.parent / "beside" / "d.jpg").write_text("secret")
    (folder / "link").symlink_to(folder.parent / "beside")
    for name in ("../secret.jpg", str(folder.parent / "secret.jpg"), "in/../../secret.jpg", "..", "..\\secret.jpg",
                 "C:\\secret.jpg", "C:/secret.jpg", "\\\\host\\secret.jpg", "in\\..\\..\\secret.jpg"):  # fmt: skip
        assert outside(name)
        assert list(pair(folder, name, "a")[0]) == ["a.jpg"]
    assert not any(outside(name) for name in ("a..jpg", "..a.jpg", "in/a...", "in/a", "a:b.jpg", ""))
    assert list(pair(folder, "link/d.jpg", "a")[0]) == ["a.jpg"]


def test_a_folder_that_gives_nothing_is_named(folder: Path, tmp_path: Path) -> None:
    for path, sentence in (
        (tmp_path / "nowhere", "does not exist, and a folder of pictures is wanted"),
        (folder / "a.jpg", "is a file, and a folder of pictures is wanted"),
    ):
        with pytest.raises(UsageError, match=f"--images {path} {sentence}"):
            pair(path, "a")
    with pytest.raises(
        UsageError, match=f"{folder} has no picture that own.tsv has a caption for: .*'x.jpg'"
    ) as caught:
        pair(folder, "x.jpg")
    assert "\n" not in str(caught.value)


def test_a_picture_that_vanishes_ends_nothing(folder: Path) -> None:
    found, _ = pair(folder, "a", "b")
    (folder / "a.jpg").unlink()
    assert [one.picture for one in read_pictures(folder, found)] == [b"", b"b.JPG"]
