"""A folder of models, and a server for it."""

from __future__ import annotations

import shutil
import sys

import pytest
import small_exports
from cpp_process import one_cpp_process  # noqa: F401  # a fixture
from server_process import Server, Sums

collect_ignore_glob = ["*"] if sys.platform != "linux" else []


@pytest.fixture(scope="session")
def text_export(kept):
    return small_exports.folder(kept, "text")


@pytest.fixture(scope="session")
def models(tmp_path_factory, text_export):
    folder = tmp_path_factory.mktemp("models")
    Sums().save(folder / "sums" / "1")
    shutil.copytree(text_export.parent, folder / "text")
    (folder / "gone").symlink_to(folder / "none")  # a broken link among the models is no model
    return folder


@pytest.fixture(scope="session")
def sums(models):
    """That one alone: a server of it starts sooner."""
    return models / "sums"


@pytest.fixture(scope="session")
def server(models):
    with Server(models) as server:
        yield server
