"""The forms in which captions come: each file gives pairs of a picture's name and a caption."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnapps.data.pair_files import lines
from rnnapps.errors import UsageError

Pair = tuple[str, str]

# A name with a suffix, and which of its captions the line holds.
_TOKEN = re.compile(r"(.+\.\w+)#\d+")
# What the columns of tables, and the keys of lines of JSON, are called.
_NAMES = ("file_name", "filename", "image", "image_name", "image_path", "image_file", "file", "img", "path", "picture")
_CAPTIONS = ("caption", "captions", "text", "comment", "description", "sentence", "sentences")
_PEEK = 1 << 16  # bytes from which a file's form is told


@dataclass
class Findings:
    """What was left out.

    Attributes:
        left_out: From where, what it is ("line", "name" ...) and why, to how many there were and which was the first.
    """

    left_out: dict[tuple[str, str, str], tuple[int, str]] = field(default_factory=dict)

    def leave_out(self, place: object, what: str, why: str, first: str) -> None:
        """Counts one.

        Args:
            place: The file or folder.
            what: What it is, in the singular.
            why: What is amiss with it, to follow `what` in a sentence.
            first: How to find it, should it be the first.
        """
        count, known = self.left_out.get((str(place), what, why), (0, first))
        self.left_out[str(place), what, why] = count + 1, known

    def notes(self) -> list[str]:
        """A sentence for each place and reason."""
        sentences = []
        for (place, what, why), (count, first) in self.left_out.items():
            if count == 1:
                sentences.append(f"{place}: 1 {what} {why} is left out, which is {first}")
            else:
                sentences.append(f"{place}: {count:,} {what}s {why} are left out, the first of them is {first}")
        return sentences


def pairs_in(path: Path, findings: Findings) -> Iterator[Pair]:
    """The pairs of a file in one of the forms that `caption_files.read_captions` names.

    Raises:
        UsageError: It cannot be read, is not UTF-8, or is no valid JSON or JSON of another form.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_PEEK).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    if path.suffix.lower() in (".jsonl", ".ndjson") or _is_object_a_line(start):
        return _from_objects(path, findings)
    if path.suffix.lower() == ".json" or start.startswith(b"{"):
        return _from_json(path, findings)
    head = next((line for line in lines(path) if line.strip()), "")
    for delimiter in ",;|":
        columns = [cell.strip(' "').lower() for cell in head.split(delimiter)]
        name, caption = (next((key for key in known if key in columns), None) for known in (_NAMES, _CAPTIONS))
        if "\t" not in head and name and caption:
            return _from_table(path, delimiter, columns.index(name), columns.index(caption), len(columns), findings)
    return _from_lines(path, findings)


def _is_object_a_line(start: bytes) -> bool:
    """Whether a file begins with a line that is an object for itself, of one picture."""
    first = start.partition(b"\n")[0]
    try:
        found = json.loads(first) if first.startswith(b"{") else None
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "images" not in found and any(key in found for key in _NAMES)


def _from_lines(path: Path, findings: Findings) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines(path), start=1):
        name, tab, text = line.partition("\t")
        name, caption = name.strip(), _on_one_line(text.partition("\t")[0])
        if not line.strip():
            continue
        if not (tab and name and caption):
            why = "without a tab" if not tab else "without a caption" if name else "without a name"
            findings.leave_out(path, "line", why, f"line {number}")
            continue
        yield _named(name), caption


def _from_table(
    path: Path, delimiter: str, name_at: int, caption_at: int, columns: int, findings: Findings
) -> Iterator[Pair]:
    text = (f"{line}\n" for line in lines(path))
    if delimiter == "|":
        rows = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        next(row for row in rows if any(cell.strip() for cell in row))  # the head
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > columns and caption_at == columns - 1:  # delimiters in a caption without quotes
                row[caption_at:] = [delimiter.join(row[caption_at:])]
            name, caption = (_on_one_line(row[at]) if at < len(row) else "" for at in (name_at, caption_at))
            if name and caption and len(row) <= columns:
                yield _named(name), caption
            else:
                why = "without a name" if not name else "without a caption" if not caption else "with too many cells"
                findings.leave_out(path, "line", why, f"line {rows.line_num}")
    except csv.Error as error:
        raise UsageError(
            f"{path} is no table with {delimiter!r} between its cells (line {rows.line_num}: {error})"
        ) from error


def _from_objects(path: Path, findings: Findings) -> Iterator[Pair]:
    """An object a line, with a caption or a list of them."""
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is no valid JSON in line {number} ({error})") from error
        name = next((as_text(_of(one, key)) for key in _NAMES if as_text(_of(one, key))), "")
        said: Any = next((_of(one, key) for key in _CAPTIONS if _of(one, key)), [])
        captions = [_on_one_line(caption) for caption in (said if isinstance(said, list) else [said])]
        if not name or not any(captions):
            findings.leave_out(path, "line", "without a caption" if name else "without a name", f"line {number}")
        yield from ((name, caption) for caption in captions if name and caption)


def _from_json(path: Path, findings: Findings) -> Iterator[Pair]:
    content = _json(path)
    images, annotations = _of(content, "images"), _of(content, "annotations")
    if isinstance(images, list) and isinstance(annotations, list):
        return _from_coco(path, images, annotations, findings)
    if isinstance(images, list) and any(isinstance(_of(image, "sentences"), list) for image in images):
        return _from_splits(path, images, findings)
    missing = "annotations" if isinstance(images, list) else "images"
    raise UsageError(
        f"{path} has no list {missing!r}: wanted JSON as COCO has it, with 'images' and 'annotations', or as "
        "Karpathy's splits have it, with 'images' and their 'sentences'"
    )


def _from_coco(path: Path, images: list[Any], annotations: list[Any], findings: Findings) -> Iterator[Pair]:
    names: dict[Any, str] = {}
    for number, image in enumerate(images, start=1):
        key, name = _of(image, "id"), as_text(_of(image, "file_name"))
        if isinstance(key, int | str) and name:
            names[key] = name
        else:
            findings.leave_out(path, "image", "without an id or a file_name", f"image {number}")
    for number, annotation in enumerate(annotations, start=1):
        key, caption = _of(annotation, "image_id"), _on_one_line(_of(annotation, "caption"))
        if not (isinstance(key, int | str) and key in names):
            findings.leave_out(path, "annotation", "without an image", f"annotation {number}")
        elif not caption:
            findings.leave_out(path, "annotation", "without a caption", f"annotation {number}")
        else:
            yield names[key], caption


def _from_splits(path: Path, images: list[Any], findings: Findings) -> Iterator[Pair]:
    """Karpathy's form, in which each image has its sentences."""
    for number, image in enumerate(images, start=1):
        file, folder = as_text(_of(image, "filename")), as_text(_of(image, "filepath"))
        sentences = _of(image, "sentences")
        captions = [_on_one_line(_of(one, "raw")) for one in sentences] if isinstance(sentences, list) else []
        if not file or not any(captions):
            why = "without a filename" if not file else "without a sentence"
            findings.leave_out(path, "image", why, f"image {number}")
            continue
        if _of(image, "split"):
            findings.leave_out(path, "split", "(parts are held out by pictures' names)", f"that of image {number}")
        yield from ((f"{folder}/{file}" if folder else file, caption) for caption in captions if caption)


def _json(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at {error.start:,} cannot be read"
        ) from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no valid JSON ({error})") from error


def _named(name: str) -> str:
    """A name without the number of its caption."""
    token = _TOKEN.fullmatch(name)
    return token[1] if token else name


def _of(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def as_text(value: Any) -> str:
    """Empty for what is no text, such as half a character, which JSON can escape and no file can hold."""
    return value if isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value) else ""


def _on_one_line(value: Any) -> str:
    return " ".join(as_text(value).split())
