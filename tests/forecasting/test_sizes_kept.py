"""What a run chose for its series holds when it goes on."""

from pathlib import Path

import pytest

from rnnapps import config as configs
from rnnapps.errors import UsageError
from rnnapps.forecasting import Config
from rnnapps.forecasting.build import resolved
from rnnapps.forecasting.task import _FIXED, _as_begun
from rnnapps.training.run import Run


def test_a_run_goes_on_with_the_sizes_that_it_chose(tmp_path):
    asked = Config(csv=(Path("x.csv"),), target=("y",), run=tmp_path)
    run = Run(tmp_path, "panel")
    run.save_config(resolved(configs.replace(asked, history=36, horizon=10, validation_fraction=0.167)))
    found = _as_begun(run, asked)
    assert (found.history, found.horizon, found.validation_fraction, found.kind) == (36, 10, 0.167, "direct")
    run.check_resumable(found, _FIXED)
    with pytest.raises(UsageError, match="--history 96: the run to resume has 36"):
        run.check_resumable(_as_begun(run, configs.replace(asked, history=96)), _FIXED)
