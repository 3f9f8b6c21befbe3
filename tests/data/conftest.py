"""Small documents and corpora to test with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rnnapps.data.corpus import Corpus
from rnnapps.data.sources import Document


@pytest.fixture
def document() -> Callable[..., Document]:
    """Makes a document of the given text, read in chunks of `chunk` bytes."""

    def make(text: str | bytes, name: str = "note", chunk: int = 1 << 20) -> Document:
        data = text.encode("utf-8") if isinstance(text, str) else text

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(data), chunk):
                yield data[start : start + chunk]

        return Document(name, chunks)

    return make


@pytest.fixture
def corpus(document: Callable[..., Document], tmp_path: Path) -> Callable[..., Corpus]:
    """Makes a corpus of the given texts; without further arguments all of it is for training."""
    made = iter(range(1000000))

    def make(texts: Sequence[str | bytes], **options: Any) -> Corpus:
        options = {"validation_fraction": 0.0, "test_fraction": 0.0, **options}
        return Corpus.prepare([document(text) for text in texts], tmp_path / f"corpus{next(made)}", **options)

    return make
