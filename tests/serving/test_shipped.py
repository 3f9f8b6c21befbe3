"""Which model a verb asks where its options name none: one rule for every task."""

import importlib
from pathlib import Path

import pytest

from rnnapps import config as configs
from rnnapps.errors import UsageError
from rnnapps.serving import shipped

TASKS = {
    "text_generation": ("task", "RUN", {"prompt": "a"}),
    "translation": ("answers", "RUN", {"sentence": "a"}),
    "captioning": ("answers", "RUN", {"image": (Path(__file__),)}),
    "forecasting": ("prediction", "RUN", {}),
}


def test_the_run_there_goes_before_the_shipped_model_and_is_named(tmp_path, capsys):
    usual = tmp_path / "runs" / "task"
    found = shipped.run_or_model(None, None, usual, "shakespeare")
    assert found == (configs.shipped_model("shakespeare"), False)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"model: shakespeare, which is shipped, as there is no run in {usual}"
    usual.mkdir(parents=True)
    assert shipped.run_or_model(None, None, usual, "shakespeare") == found, "a run without a model yet is none"
    capsys.readouterr()
    (usual / "model.keras").touch()
    assert shipped.run_or_model(None, None, usual, "shakespeare") == (usual, True)
    assert capsys.readouterr().err.startswith(f"model: the run in {usual} ")


def test_what_is_named_is_taken_without_a_word(tmp_path, capsys):
    assert shipped.run_or_model(tmp_path, None, tmp_path, "none") == (tmp_path, True)
    assert shipped.run_or_model(None, tmp_path, tmp_path, "none") == (tmp_path, False)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(UsageError, match="no trained model 'none'"):
        shipped.run_or_model(None, None, tmp_path, "none")


@pytest.mark.parametrize("task", TASKS)
def test_predict_of_every_task_follows_it(task, monkeypatch):
    module, usual, options = TASKS[task]
    answering = importlib.import_module(f"rnnapps.{task}.{module}")
    config = importlib.import_module(f"rnnapps.{task}.config")

    def seen(*arguments):
        raise UsageError(repr(arguments))

    monkeypatch.setattr(answering, "run_or_model", seen)
    wanted = repr((None, None, Path("runs") / task, config.SHIPPED_MODEL))
    assert getattr(answering, usual) == Path("runs") / task
    with pytest.raises(UsageError) as raised:
        answering.predict(config.Predict(**options))
    assert str(raised.value) == wanted
