"""What the tests of forecasting share: runs that have learnt, their exports, and runs that were resumed."""

import dataclasses

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
