"""Benchmark pictures with captions as `tensorflow-datasets` builders: prepared from a local copy, or by TFDS itself."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from rnnapps.data.builders import LocalBuilder, examples, prepare_with
from rnnapps.data.caption_files import MAX_PICTURE_BYTES, Captioned, Findings, outside, read_captions
from rnnapps.data.pair_files import lines
from rnnapps.errors import UsageError

COCO_URL = "http://images.cocodataset.org/zips/train2014.zip"


class Layout(NamedTuple):
    """How a copy of Flickr8k lies in its folder.

    Attributes:
        captions: The file of all captions, in places where it may be.
        parts: From the name of a split to its list of names, in places where it may be, and to its pictures: a folder,
            or an archive.
    """

    captions: tuple[str, ...]
    parts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]


def _in_folders(name: str, *folders: str) -> tuple[str, ...]:
    return (name, *(f"{folder}/{name}" for folder in folders))


_PICTURES = _in_folders("Flicker8k_Dataset", "Flickr8k_Dataset")
FLICKR8K_LAYOUTS = (
    # As it was published, in two archives whose folders lie beside each other, or whose files do.
    Layout(
        _in_folders("Flickr8k.token.txt", "Flickr8k_text"),
        {split: (_in_folders(f"Flickr_8k.{part}Images.txt", "Flickr8k_text"), _PICTURES)
         for split, part in {"train": "train", "validation": "dev", "test": "test"}.items()},
    ),
    # Small pictures in archives, with half of the test part.
    Layout(
        ("Flickr8k.token.public.txt",),
        {split: ((f"splits/{part}.txt",), (f"images_128/{part}.zip",))
         for split, part in {"train": "train", "validation": "dev", "test_public500": "test_public500"}.items()},
    ),
)  # fmt: skip


class Flickr8k(LocalBuilder):
    """Photographs with five captions each, in the three parts of Hodosh et al., 2013, from a local copy.

    The test part is `test`, or `test_public500` where the copy has 500 of its pictures. An example is the name of a
    picture, the bytes of its file as they are, and its captions.

    Attributes:
        layout: Of the copy; set by `find`.
        findings: Pictures that were left out while it was prepared.
    """

    name = "rnnapps_flickr8k"
    url = "https://hockenmaier.cs.illinois.edu/8k-pictures.html"
    layout: Layout
    findings: Findings

    def find(self, dataset: str, source: Path) -> Path:
        """The folder, once all files of a layout are found in it."""
        whole = " or ".join(", ".join(places[0] for places in _places(layout)) for layout in FLICKR8K_LAYOUTS)
        if not source.is_dir():
            what = "is a file" if source.exists() else "does not exist"
            raise UsageError(f"--source {source} {what}, and {dataset} wants a folder that holds {whole}")
        missing = [_missing(source, layout) for layout in FLICKR8K_LAYOUTS]
        shares = [len(some) / len(_places(layout)) for some, layout in zip(missing, FLICKR8K_LAYOUTS, strict=True)]
        best = shares.index(min(shares))
        if missing[best]:
            raise UsageError(f"--source {source} lacks {', '.join(missing[best])}, which {dataset} wants there")
        self.layout = FLICKR8K_LAYOUTS[best]
        return source

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        features = tfds.features.FeaturesDict({"name": text, "picture": text, "captions": tfds.features.Sequence(text)})
        return tfds.core.DatasetInfo(builder=self, features=features, homepage=self.url, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        assert self.source is not None
        self.findings = Findings()
        # Findings of its own: lines of the file that no part needs say nothing.
        captions = read_captions(_first(self.source, self.layout.captions), Findings(), "--source")
        return {
            split: self._generate_examples(_first(self.source, lists), _first(self.source, pictures), captions)
            for split, (lists, pictures) in self.layout.parts.items()
        }

    def _generate_examples(
        self, names: Path, pictures: Path, captions: Mapping[str, tuple[str, ...]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        wanted = dict.fromkeys(line.strip() for line in lines(names) if line.strip())
        with _Pictures(pictures) as read:
            for key, name in enumerate(wanted):
                picture = b"" if outside(name) else read(name)
                if name not in captions:
                    self.findings.leave_out(names, "name", "without a caption", repr(name))
                elif not picture:
                    self.findings.leave_out(names, "name", f"without a picture in {pictures.name}", repr(name))
                else:
                    yield key, {"name": name, "picture": picture, "captions": captions[name]}


class _Pictures:
    """Pictures by name, from a folder or from an archive, of which nothing is written to the disk."""

    def __init__(self, path: Path):
        self._path = path
        self._archive: zipfile.ZipFile | None = None

    def __enter__(self) -> Callable[[str], bytes]:
        if self._path.is_dir():
            return self._read_file
        try:
            self._archive = zipfile.ZipFile(self._path)
        except zipfile.BadZipFile as error:
            raise OSError(f"{self._path.name}: {error}") from error
        return self._read_member

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def _read_file(self, name: str) -> bytes:
        """Empty where there is none that can be read."""
        try:
            path = self._path / name
            return path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES else b""
        except (OSError, ValueError):
            return b""

    def _read_member(self, name: str) -> bytes:
        assert self._archive is not None
        try:
            member = self._archive.getinfo(name)
            return self._archive.read(member) if member.file_size <= MAX_PICTURE_BYTES else b""
        # The last of them: it is packed in a way that is not known, or under a password.
        except (KeyError, zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
            return b""


def prepare_flickr8k(source: Path | None, data_dir: Path | None) -> Flickr8k:
    """Flickr8k on disk; other arguments and errors as in `builders.prepare`.

    Args:
        source: A folder with a local copy, in one of `FLICKR8K_LAYOUTS`; there is no download.
    """
    if source is None:
        raise UsageError(
            f"data set flickr8k has no public download ({Flickr8k.url}): give a local copy with --source DIR"
        )
    return prepare_with(Flickr8k, "flickr8k", source, data_dir)


def read_flickr8k(builder: Flickr8k, split: str) -> Iterator[Captioned]:
    """The pictures of a split in its list's order."""
    for example in examples(builder, split):
        yield Captioned(_decoded(example["name"]), example["picture"], tuple(map(_decoded, example["captions"])))


def prepare_coco(source: Path | None, data_dir: Path | None) -> Any:
    """TFDS's own builder of COCO 2014 with captions, in the parts of Karpathy and Li, 2015, on disk.

    Args:
        source: A folder in which TFDS has prepared it; never written to. None: what is in `data_dir`, or else a
            download into it of 38 GB.
        data_dir: As in `builders.prepare`.

    Raises:
        UsageError: `source` does not hold it.
        RunError: It could not be downloaded or prepared.
    """

    def make(data_dir: str) -> Any:
        builder = tfds.builder("coco_captions", data_dir=data_dir)
        builder.url, builder.source = COCO_URL, None
        return builder

    if source is None:
        return prepare_with(make, "coco_captions", None, data_dir)
    builder = make(str(source))
    if not (builder.data_path.exists() and builder.is_prepared()):
        raise UsageError(f"--source {source} holds no coco_captions that tensorflow-datasets has prepared")
    return builder


def read_coco(builder: Any, split: str) -> Iterator[Captioned]:
    """The pictures of a split of a builder like TFDS's `coco_captions`, as their files are, with their captions."""
    # As in `builders.examples`; and what is not decoded need not be encoded again.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = builder.as_dataset(split=split, read_config=config, shuffle_files=False, decoders=decoders)
    for example in found.as_numpy_iterator():
        captions = tuple(" ".join(_decoded(text).split()) for text in example["captions"]["text"])
        kept = tuple(caption for caption in captions if caption)
        if kept:
            yield Captioned(_decoded(example["image/filename"]), example["image"], kept)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _first(folder: Path, places: tuple[str, ...]) -> Path:
    """The first place that holds something; the folder itself where none does."""
    found = (folder / place for place in places)
    return next((path for path in found if path.is_dir() or (path.is_file() and path.stat().st_size)), folder)


def _missing(folder: Path, layout: Layout) -> list[str]:
    return [places[0] for places in _places(layout) if _first(folder, places) == folder]


def _places(layout: Layout) -> list[tuple[str, ...]]:
    """Of each file that is wanted, where it may be."""
    return list(dict.fromkeys([layout.captions, *(places for both in layout.parts.values() for places in both)]))
