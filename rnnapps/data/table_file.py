"""Files of tables: CSV, packed or not, and Parquet, as frames of some rows each."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import importlib.util
import io
import lzma
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd

from rnnapps.errors import RunError, UsageError

_SNIFFED = 64 * 1024  # characters of the header that are looked at
_MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
_DAMAGED = (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


class TableFile:
    """A CSV file (comma, semicolon or tab, with a header), packed by gzip, zip, bzip2 or xz or not, or a Parquet file.

    Args:
        path: The file. Parquet is told by its suffix `.parquet`, what is packed by its first bytes.
        missing: What stands for a missing value beside an empty field, `NA`, `NaN` and `null`.
        options: Further arguments of `pandas.read_csv`.

    Attributes:
        columns: Names, without blanks around them.

    Raises:
        UsageError: The file is missing or empty, or its header cannot be read.
    """

    def __init__(self, path: Path, missing: Sequence[str], options: dict[str, Any]):
        self.path, self._missing, self._options = path, [*_MISSING, *missing], dict(options)
        self._is_parquet = path.suffix.lower() == ".parquet"
        if not path.is_file():
            raise UsageError(f"--csv {path} {'is a folder' if path.is_dir() else 'does not exist'}: wanted a file")
        if not self._is_parquet and "sep" not in options:
            with self._told(), _opened(path) as file:
                self._options["sep"] = _separator(file)
        raw = self._header()
        bare = [name.strip() for name in raw]
        self.columns: list[str] = [b if bare.count(b) == 1 else r for b, r in zip(bare, raw, strict=True)]
        self._raw = dict(zip(self.columns, raw, strict=True))

    def frames(
        self, columns: Sequence[str], rows: int, names: Collection[str] = (), texts: Collection[str] = ()
    ) -> Iterator[pd.DataFrame]:
        """Some columns, so many rows at a time.

        Args:
            columns: Those to read.
            rows: Of a frame.
            names: Columns that are read as text, even where it looks like a number.
            texts: Columns that are read so, and in which only an empty field is missing. Blanks around are left out.
        """
        columns = list(dict.fromkeys(columns))
        for frame in self._parquet(columns, rows) if self._is_parquet else self._csv(columns, rows, {*names, *texts}):
            for name in set(texts) & set(columns):
                if not pd.api.types.is_datetime64_any_dtype(frame[name]):
                    found = frame[name].astype("string").str.strip()
                    frame[name] = found.where(found != "", pd.NA)
            if not self._is_parquet:
                marks = [name for name in columns if name in names and name not in texts]
                frame[marks] = frame[marks].mask(frame[marks].isin(self._missing), pd.NA)
            yield frame

    def _csv(self, columns: list[str], rows: int, strings: set[str]) -> Iterator[pd.DataFrame]:
        raw = [self._raw[name] for name in columns]
        with self._told(), _opened(self.path) as file:
            reader = pd.read_csv(
                file, usecols=raw, chunksize=rows, dtype={self._raw[n]: "string" for n in columns if n in strings},
                keep_default_na=False, na_values={self._raw[n]: self._missing for n in columns if n not in strings},
                skipinitialspace=True, low_memory=False, **self._options,
            )  # fmt: skip
            with reader:
                for frame in reader:
                    yield frame[raw].set_axis(columns, axis=1)

    def _parquet(self, columns: list[str], rows: int) -> Iterator[pd.DataFrame]:
        with _parquet(self.path) as file:
            for batch in file.iter_batches(rows, columns=[self._raw[name] for name in columns]):
                yield batch.to_pandas()[[self._raw[name] for name in columns]].set_axis(columns, axis=1)

    def _header(self) -> list[str]:
        if self._is_parquet:
            with _parquet(self.path) as file:
                return list(file.schema_arrow.names)
        with self._told(), _opened(self.path) as file:
            return list(map(str, pd.read_csv(file, skipinitialspace=True, **{**self._options, "nrows": 0}).columns))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """One sentence for what can be amiss with a file."""
        try:
            yield
        except pd.errors.EmptyDataError:
            raise UsageError(f"{self.path} is empty: wanted a header and rows") from None
        except pd.errors.ParserError as error:
            reason = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
            raise UsageError(f"{self.path} is no table ({reason})") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.path} is not UTF-8 text at byte {error.start}") from None
        except _DAMAGED as error:
            raise UsageError(f"{self.path} is packed, and damaged ({error})") from None
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read ({error.strerror or error})") from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked as they are read."""
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive, archive.open(_member(path, archive)) as member:
                yield member
        elif start.startswith(b"\x1f\x8b"):
            with gzip.open(file) as packed:
                yield packed  # type: ignore[misc]
        elif start.startswith(b"BZh"):
            with bz2.open(file) as packed:
                yield packed
        elif start.startswith(b"\xfd7zXZ"):
            with lzma.open(file) as packed:
                yield packed
        else:
            yield file


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    """The one file of an archive, apart from what macOS adds to it."""
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        found = f"{len(names)} files, the first {names[0]!r}" if names else "no file"
        raise UsageError(f"{path} is an archive of {found}: wanted one table in it")
    return names[0]


def _separator(file: IO[bytes]) -> str:
    """Of comma, semicolon and tab the one that stands most often in the header."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        header = text.readline(_SNIFFED)
    counts = {separator: len(next(csv.reader([header], delimiter=separator), [])) for separator in ",;\t"}
    return max(counts, key=lambda separator: counts[separator])


def _parquet(path: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise RunError(f"{path} is Parquet, which pyarrow reads: pip install 'rnnapps[parquet]'")
    from pyarrow import lib, parquet

    try:
        return parquet.ParquetFile(path)
    except (lib.ArrowException, OSError) as error:
        raise UsageError(f"{path} is no Parquet file ({error})") from None
