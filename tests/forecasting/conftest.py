"""What the tests of forecasting share: runs that have learnt, their exports, and runs that were resumed."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest
import series_tables
import small_runs
from small_runs import eagerly, elsewhere, loaded_once  # noqa: F401  # fixtures

from rnnapps.forecasting import Export, export, train


@pytest.fixture
def short_regression():
    with series_tables.short_regression():
        yield


@pytest.fixture(scope="session")
def sales(kept):
    return series_tables.learnt(kept, "sales")


@pytest.fixture(scope="session")
def exported_sales(kept):
    return series_tables.exported(kept, "sales")


@pytest.fixture(scope="session")
def slopes(kept):
    return series_tables.learnt(kept, "slopes")


@pytest.fixture(scope="session")
def exported_slopes(kept):
    return series_tables.exported(kept, "slopes")


@pytest.fixture(scope="session")
def whole_and_resumed(sales, tmp_path_factory):
    """Folders of a run of a few updates, and of one that was resumed after the first of them."""
    changes = {"epochs": 0.15, "dropout": 0.2, "average": 0.9, "linear": True, "test_fraction": 0.0}
    with small_runs.untraced():
        config = dataclasses.replace(sales, run=tmp_path_factory.mktemp("resumed") / "whole", **changes)
        return small_runs.resumed(train, config)


@pytest.fixture(scope="session")
def whole_and_resumed_classes(slopes, tmp_path_factory):
    """The same of classes."""
    with small_runs.untraced():
        folder = tmp_path_factory.mktemp("resumed")
        return small_runs.resumed(
            train, dataclasses.replace(slopes, run=folder / "whole", epochs=0.5, dropout=0.2, test_fraction=0.0)
        )


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """The config of a run on a series with a class in every second row, the last one its own; what the run said."""
    folder, said = tmp_path_factory.mktemp("rows"), io.StringIO()
    x = np.random.default_rng(0).normal(size=600)
    lines = [f"{value},{-value},{'' if i % 2 else 'ab'[int(value > 0)]}" for i, value in enumerate(x)]
    (folder / "x.csv").write_text("\n".join(["y,z,kind", *lines[:-1], "1,1,new"]) + "\n")
    config = dataclasses.replace(
        series_tables.CLASSES, csv=(folder / "x.csv",), run=folder / "run", epochs=3.0, stride=2, history=3,
        kind="direct", cell="lstm", layers=2, learning_rate=0.1, warmup_steps=0, batch_size=64,
    )  # fmt: skip
    with small_runs.untraced(), series_tables.short_regression(), contextlib.redirect_stderr(said):
        train(config)
    return config, said.getvalue()


@pytest.fixture(scope="session")
def waves(tmp_path_factory):
    """The config of a run on a sine, after an update."""
    config = series_tables.few(tmp_path_factory.mktemp("waves"), test_fraction=0.2)
    with small_runs.untraced():
        train(config)
    return config


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    """The config of a run whose network draws paths, after an update."""
    folder = tmp_path_factory.mktemp("paths")
    with small_runs.untraced():
        config = series_tables.few(folder, kind="autoregressive", head="student_t", average=0.9)
        train(config)
    return config


@pytest.fixture(scope="session")
def exported_paths(paths, tmp_path_factory):
    """Its SavedModel."""
    with small_runs.quickly():
        return export(Export(run=paths.run, output=tmp_path_factory.mktemp("models"), name="waves"))
