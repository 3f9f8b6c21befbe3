"""Benchmark sentence pairs as `tensorflow-datasets` builders: downloaded, or prepared from a local copy."""

from __future__ import annotations

import functools
import itertools
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import tensorflow_datasets as tfds

from rnnapps.data.builders import LocalBuilder, TextFileBuilder, examples, prepare_with
from rnnapps.data.pair_files import Pair, aligned_lines
from rnnapps.errors import UsageError

MULTI30K_LANGUAGES = ("de", "en", "fr")
_MULTI30K_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
_PIECE_LINES = 1_000
# Where the files lie: beside each other, in a folder of copies, or in a checkout of the data set's repository.
_MULTI30K_FOLDERS = ("", "raw", "data/task1/raw")


class Multi30k(LocalBuilder):
    """Task 1 of Multi30k in two of its languages, aligned line by line, in its own three splits.

    An example is a text for each language: at most 1,000 lines that belong together, each with a line end.
    """

    name = "rnnapps_multi30k"
    url = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/train.en.gz"
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="_".join(two)) for two in itertools.combinations(MULTI30K_LANGUAGES, 2)
    ]

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.builder_config.name.split("_"))

    def find(self, dataset: str, source: Path) -> Path:
        """The folder that holds all files of both languages, packed or not."""
        names = [f"{stem}.{language}" for stem in _MULTI30K_FILES.values() for language in self.languages]
        wanted = f"a folder that holds {', '.join(names)}, each packed as .gz or not"
        if not source.is_dir():
            what = "is a file" if source.exists() else "does not exist"
            raise UsageError(f"--source {source} {what}, and {dataset} wants {wanted}")
        missing = [[name for name in names if _packed_or_not(source / folder, name) is None]
                   for folder in _MULTI30K_FOLDERS]  # fmt: skip
        best = min(range(len(missing)), key=lambda i: len(missing[i]))
        if missing[best]:
            raise UsageError(f"--source {source} lacks {missing[best][0]}, and {dataset} wants {wanted}")
        return source / _MULTI30K_FOLDERS[best]

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({language: tfds.features.Text() for language in self.languages})
        return tfds.core.DatasetInfo(builder=self, features=features, homepage=self.url, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        names = {split: [f"{stem}.{language}" for language in self.languages]
                 for split, stem in _MULTI30K_FILES.items()}  # fmt: skip
        folder = self.source
        if folder is None:
            base = self.url.removesuffix("train.en.gz")
            paths = dl_manager.download({split: [f"{base}{name}.gz" for name in some] for split, some in names.items()})
        else:
            paths = {split: [_packed_or_not(folder, name) for name in some] for split, some in names.items()}
        return {split: self._generate_examples([Path(path) for path in some]) for split, some in paths.items()}

    def _generate_examples(self, paths: Sequence[Path]) -> Iterator[tuple[int, dict[str, str]]]:
        both = aligned_lines(*paths)
        for key, some in enumerate(iter(lambda: list(itertools.islice(both, _PIECE_LINES)), [])):
            pieces = zip(*some, strict=True)
            yield key, {language: "".join(f"{line}\n" for line in piece)
                        for language, piece in zip(self.languages, pieces, strict=True)}  # fmt: skip


class Tatoeba(TextFileBuilder):
    """English and French sentences of Tatoeba, a pair a line, as text; the file may be in its zip archive."""

    name = "rnnapps_tatoeba"
    url = "http://www.manythings.org/anki/fra-eng.zip"
    file_names = ("fra-eng-2017-09-29.zip", "fra-eng.zip", "fra.txt")

    def _open(self, path: Path) -> BinaryIO:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return path.open("rb")
        return cast(BinaryIO, zipfile.ZipFile(path).open("fra.txt"))

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, bytes]]]:
        try:
            yield from super()._generate_examples(path)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise OSError(str(error.args[0] if error.args else error)) from error


def prepare_multi30k(languages: Sequence[str], source: Path | None, data_dir: Path | None) -> Multi30k:
    """Multi30k in two languages, on disk; errors and the other arguments as in `builders.prepare`.

    Args:
        languages: Two of `MULTI30K_LANGUAGES`, in any order.
        source: A folder that holds the files `train`, `val` and `test_2016_flickr` of both languages.
    """
    config = "_".join(sorted(languages))
    return prepare_with(functools.partial(Multi30k, config=config), "multi30k", source, data_dir)


def prepare_tatoeba(source: Path | None, data_dir: Path | None) -> Tatoeba:
    """Tatoeba's English and French, on disk; arguments and errors as in `builders.prepare`."""
    return prepare_with(Tatoeba, "tatoeba", source, data_dir)


def read_multi30k(builder: Multi30k, split: str, languages: Sequence[str]) -> Iterator[Pair]:
    """The pairs of a split in order, from the first of two languages to the second."""
    for example in examples(builder, split):
        sides = [example[language].decode("utf-8").split("\n")[:-1] for language in languages]
        yield from itertools.starmap(Pair, zip(*sides, strict=True))


def _packed_or_not(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if path.is_file() and path.stat().st_size), None)
