"""The tool that runs Keras' own tests against ours: which files it takes, and what it puts in the place of what."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import keras
import pytest

from rnnapps import cells, layers

PATH = Path(__file__).parents[2] / "tools" / "keras_suite.py"
spec = importlib.util.spec_from_file_location("keras_suite", PATH)
keras_suite = importlib.util.module_from_spec(spec)
spec.loader.exec_module(keras_suite)

TEST = """
from keras.src import layers

def test_the_layer_is_another_one():
    assert layers.LSTM.__module__.startswith("rnnapps")
    assert layers.Bidirectional.__module__.startswith("keras")
"""


def test_namesakes_take_the_places():
    module = types.SimpleNamespace(**dict.fromkeys((*keras_suite.LAYERS, *keras_suite.CELLS)), Dense=1)
    keras_suite.replace(module)
    assert module.LSTM is layers.LSTM and module.RNN is layers.Unroll and module.GRUCell is cells.GRUCell
    assert module.Dense == 1
    assert all(isinstance(getattr(keras.layers, name), type) for name in (*keras_suite.LAYERS, *keras_suite.CELLS))


def test_files_of_a_checkout_and_of_what_is_installed(tmp_path, capsys):
    folder = tmp_path / keras_suite.FOLDER
    folder.mkdir(parents=True)
    assert keras_suite.main([str(tmp_path)]) == 2
    assert "wanted a checkout of Keras" in capsys.readouterr().err
    (folder / "lstm_test.py").touch()
    (folder / "other_test.py").touch()
    assert keras_suite.test_files(tmp_path) == [folder / "lstm_test.py"]
    assert all(path.parts[-4:-1] == ("src", "layers", "rnn") for path in keras_suite.test_files(None))


@pytest.mark.full  # a process that imports TensorFlow
def test_a_run(tmp_path):
    import subprocess
    import sys

    folder = tmp_path / keras_suite.FOLDER
    folder.mkdir(parents=True)
    (folder / "lstm_test.py").write_text(TEST)
    ran = subprocess.run(
        [sys.executable, str(PATH), str(tmp_path)], capture_output=True, text=True, cwd=PATH.parents[1]
    )
    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout + ran.stderr
