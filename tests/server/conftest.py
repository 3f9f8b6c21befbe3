"""A folder of models, and a server for it."""

from __future__ import annotations

import sys

import pytest
from server_process import Server, Sums

collect_ignore_glob = ["*"] if sys.platform != "linux" else []


@pytest.fixture(scope="package")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    Sums().save(folder / "sums" / "1")
    return folder


@pytest.fixture(scope="module")
def server(models):
    with Server(models) as server:
        yield server
