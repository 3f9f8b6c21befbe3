"""Benchmark files as `tensorflow-datasets` builders: downloaded, or prepared from a local copy."""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import DownloadError

from rnnapps.data import ecg
from rnnapps.errors import RunError, UsageError

PIECE_BYTES = 256 * 1024
_PIECE_LINES = 5_000  # of text that is made here
_PROBE_SECONDS = 5.0


class LocalBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A data set that is downloaded, or prepared from a local copy.

    Attributes:
        url: Where it is downloaded from; of several files, the first.
        file_names: Names that a local copy may have, the best first.
        source: What `find` found, to prepare from in place of a download; or None.
    """

    VERSION = tfds.core.Version("1.0.0")
    url: ClassVar[str]
    file_names: ClassVar[tuple[str, ...]]
    source: Path | None = None

    def find(self, dataset: str, source: Path) -> Path:
        """The local copy of `dataset` that `source` is or holds.

        Raises:
            UsageError: There is none.
        """
        wanted = " or ".join(self.file_names)
        if not source.exists():
            raise UsageError(f"--source {source} does not exist, and {dataset} wants a folder that holds {wanted}")
        candidates = [source / name for name in self.file_names] if source.is_dir() else [source]
        for path in candidates:
            if path.is_file() and path.stat().st_size:
                return path
        raise UsageError(f"--source {source} holds no data of {dataset}, and {wanted} is wanted there")


class TextFileBuilder(LocalBuilder, skip_registration=True):  # type: ignore[call-arg]
    """One text file, as pieces of at most 256 KiB in their order, under the split `train`.

    A piece ends between two UTF-8 characters, so each is text of its own; joined they are the file, byte for byte.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, homepage=self.url, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        path = self.source or Path(dl_manager.download(self.url))
        return {"train": self._generate_examples(path)}

    def _open(self, path: Path) -> BinaryIO:
        return path.open("rb")

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, bytes]]]:
        with self._open(path) as file:
            rest, key = b"", 0
            while piece := rest + file.read(PIECE_BYTES - len(rest)):
                cut = _last_character_border(piece)
                yield key, {"text": piece[:cut]}
                rest, key = piece[cut:], key + 1


# The names differ from those of TFDS's own builders, whose prepared folders look different inside.
class TinyShakespeare(TextFileBuilder):
    name = "rnnapps_tiny_shakespeare"
    url = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
    file_names = ("tinyshakespeare.txt", "input.txt")


class WarAndPeace(TextFileBuilder):
    name = "rnnapps_war_and_peace"
    url = "https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"
    file_names = ("war_and_peace_first90.txt", "warpeace_input.txt")


class LinuxKernel(TextFileBuilder):
    name = "rnnapps_linux_kernel"
    url = "https://cs.stanford.edu/people/karpathy/char-rnn/linux_input.txt"
    file_names = ("linux_kernel.txt", "linux_input.txt")


class ETTh1(TextFileBuilder):
    name = "rnnapps_etth1"
    url = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv"
    file_names = ("ETTh1.csv",)


class ETTh2(TextFileBuilder):
    name = "rnnapps_etth2"
    url = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh2.csv"
    file_names = ("ETTh2.csv",)


class JenaWeather(TextFileBuilder):
    name = "rnnapps_jena_weather"
    url = "https://raw.githubusercontent.com/xiuyu88/ASDGC-Dataset/0cb0f5f8bf9a45a43928ed318870c4a798d153a3/weather.zip"
    file_names = ("weather.txt.gz", "weather.txt", "weather.zip")


class BeijingPM25(TextFileBuilder):
    name = "rnnapps_beijing_pm25"
    url = "https://raw.githubusercontent.com/jbrownlee/Datasets/master/pollution.csv"
    file_names = ("pollution.csv",)


class ExchangeRate(TextFileBuilder):
    name = "rnnapps_exchange_rate"
    url = (
        "https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/master/exchange_rate/"
        "exchange_rate.txt.gz"
    )
    file_names = ("exchange_rate.txt.gz", "exchange_rate.txt")


class ECG5000(TextFileBuilder):
    """The training part of the UCR archive's ECG5000, as CSV text."""

    name = "rnnapps_ecg5000"
    url = "https://raw.githubusercontent.com/sushantsk1/DL/ba8fc49832fe4919a83e1e73525c3581cfef0600/ECG5000_TRAIN.txt"
    file_names = ("ECG5000_TRAIN.txt",)

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, bytes]]]:
        return _csv_examples(ecg.ucr_csv(path))


class MITDBRecord(TextFileBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Record 100 of the MIT-BIH Arrhythmia Database, as CSV text: three files that lie beside each other.

    Attributes:
        lines: From the record to the lines of text.
    """

    lines: ClassVar[staticmethod[[ecg.Record], Iterator[str]]]
    url = "https://physionet.org/files/mitdb/1.0.0/100.dat"
    file_names = ("100.dat",)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        suffixes = (".hea", ".dat", ".atr")
        if self.source is not None:
            paths = [self.source.with_suffix(suffix) for suffix in suffixes]
        else:
            paths = dl_manager.download([self.url.replace(".dat", suffix) for suffix in suffixes])
        return {"train": _csv_examples(self.lines(ecg.read_record(*map(Path, paths))))}


class MITDBBeats(MITDBRecord):
    name = "rnnapps_mitdb_beats"
    lines = staticmethod(ecg.beats_csv)


class MITDBHeartRate(MITDBRecord):
    name = "rnnapps_mitdb_heart_rate"
    lines = staticmethod(ecg.heart_rate_csv)


def _csv_examples(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, bytes]]]:
    for key, some in enumerate(iter(lambda: list(itertools.islice(lines, _PIECE_LINES)), [])):
        yield key, {"text": "".join(some).encode()}


Builder = TypeVar("Builder", bound=LocalBuilder)

BUILDERS: dict[str, type[TextFileBuilder]] = {
    "etth1": ETTh1,
    "etth2": ETTh2,
    "jena_weather": JenaWeather,
    "beijing_pm25": BeijingPM25,
    "exchange_rate": ExchangeRate,
    "ecg5000": ECG5000,
    "mitdb_beats": MITDBBeats,
    "mitdb_heart_rate": MITDBHeartRate,
    "tiny_shakespeare": TinyShakespeare,
    "war_and_peace": WarAndPeace,
    "linux_kernel": LinuxKernel,
}


def prepare(dataset: str, source: Path | None, data_dir: Path | None) -> TextFileBuilder:
    """A builder whose data is on disk.

    Args:
        dataset: A key of `BUILDERS`.
        source: The file, or a folder that holds it; always prepared afresh. None: what is in `data_dir` already, or
            else a download into it.
        data_dir: Where TFDS keeps what is prepared; None for its usual place.

    Raises:
        UsageError: `source` does not hold the file, or an empty one.
        RunError: The data could not be downloaded or prepared.
    """
    return prepare_with(BUILDERS[dataset], dataset, source, data_dir)


def prepare_with(make: Callable[..., Builder], dataset: str, source: Path | None, data_dir: Path | None) -> Builder:
    """What `prepare` does, for the builder that `make(data_dir=...)` gives."""
    root = Path(tfds.core.constants.DATA_DIR if data_dir is None else data_dir)
    if source is None:
        builder = make(data_dir=str(root))
        # `is_prepared` alone prints a warning where there is no folder.
        if not (builder.data_path.exists() and builder.is_prepared()):
            _probe(dataset, builder.url)
            _generate(builder, dataset, tfds.GenerateMode.REUSE_DATASET_IF_EXISTS)
        return builder
    # A folder apart, so that a local copy, which may be a part, is never taken for the download.
    builder = make(data_dir=str(root / "local_copies"))
    builder.source = builder.find(dataset, source)
    _generate(builder, dataset, tfds.GenerateMode.REUSE_CACHE_IF_EXISTS)
    return builder


def read(builder: TextFileBuilder) -> Iterator[bytes]:
    """The pieces of a prepared text, in order."""
    return (example["text"] for example in examples(builder, "train"))


def examples(builder: LocalBuilder, split: str) -> Iterator[dict[str, Any]]:
    """The examples of a split, in the order in which they were made."""
    # Without these two, TFDS would read shards side by side and keep the whole text in memory.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    yield from builder.as_dataset(split=split, read_config=config, shuffle_files=False).as_numpy_iterator()


def _generate(builder: LocalBuilder, dataset: str, mode: tfds.GenerateMode) -> None:
    tfds.disable_progress_bar()
    # Standard output is for results; and TFDS speaks of a download even where there is none.
    messages = sys.stderr if builder.source is None else io.StringIO()
    try:
        with contextlib.redirect_stdout(messages):
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(download_mode=mode))
    except (OSError, DownloadError) as error:
        raise RunError(_failed(dataset, error, builder.url, builder.source)) from error


def _probe(dataset: str, url: str) -> None:
    """Fails soon where TFDS would try again and again for most of a minute."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PROBE_SECONDS).close()
    except OSError as error:  # URLError is one.
        raise RunError(_failed(dataset, error, url, None)) from error


def _failed(dataset: str, error: Exception, url: str, source: Path | None) -> str:
    reason = str(getattr(error, "reason", "") or error).partition("\n")[0]
    if source is not None:
        return f"data set {dataset} cannot be prepared from {source} ({reason})"
    return f"data set {dataset} cannot be downloaded from {url} ({reason}): give a local copy with --source DIR"


def _last_character_border(piece: bytes) -> int:
    """Length of `piece` without a UTF-8 character that is cut off at its end."""
    for back in range(1, min(4, len(piece)) + 1):
        lead = piece[-back]
        if lead & 0xC0 != 0x80:  # Not a continuation byte: the last character begins here.
            needed = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(piece) - back if needed > back and len(piece) > back else len(piece)
    return len(piece)
