"""Runs Keras' own tests of its recurrent layers against ours: `python tools/keras_suite.py [CHECKOUT] [-- PYTEST...]`.

CHECKOUT is a checkout of Keras, of the installed version: a folder with `keras/src/layers/rnn/*_test.py`. Without it
the test files that the installed Keras brings along are taken. In `keras.src.layers`, where those tests look them up,
each layer and cell that has a namesake of ours is replaced by it; nothing else is changed. The exit status is pytest's.

Expected to fail, and counted as such: what `EXPECTED` names, with the reason.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path("keras", "src", "layers", "rnn")
FILES = (
    "bidirectional_test.py",
    "conv_lstm2d_test.py",
    "gru_test.py",
    "lstm_test.py",
    "rnn_test.py",
    "simple_rnn_test.py",
    "stacked_rnn_cells_test.py",
    "time_distributed_test.py",
)
LAYERS = {"SimpleRNN": "SimpleRNN", "GRU": "GRU", "LSTM": "LSTM", "ConvLSTM2D": "ConvLSTM2D", "RNN": "Unroll"}
CELLS = ("SimpleRNNCell", "GRUCell", "LSTMCell")
# Part of a test's name: why another answer than Keras' is right.
EXPECTED: dict[str, str] = {}


class Namesakes:
    """A plugin of pytest: puts our classes where the tests look for Keras', and marks what is expected to fail."""

    def pytest_configure(self) -> None:
        from keras.src import layers as theirs

        replace(theirs)

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        for module in {item.module for item in items if isinstance(item, pytest.Function)}:
            rename(module)
        for item in items:
            for part, reason in EXPECTED.items():
                if part in item.nodeid:
                    item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def replace(theirs: ModuleType) -> None:
    """Puts our layers and cells in the place of those of a module."""
    from rnnapps import cells, layers

    for name, ours in LAYERS.items():
        setattr(theirs, name, getattr(layers, ours))
    for name in CELLS:
        setattr(theirs, name, getattr(cells, name))


def rename(module: ModuleType) -> None:
    """Gives a test file and its classes their names in Keras, which loads no saved class from elsewhere."""
    name = ".".join((*FOLDER.parts, module.__name__.rpartition(".")[2]))
    sys.modules[name] = module
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__:
            value.__module__ = name


def test_files(checkout: Path | None) -> list[Path]:
    """The files of `FILES` that a checkout has, or the installed Keras.

    Raises:
        FileNotFoundError: It has none of them.
    """
    if checkout is None:
        import keras

        folder = Path(keras.__file__).parent / FOLDER.relative_to("keras")
    else:
        folder = checkout / FOLDER
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has none of {', '.join(FILES)}: wanted a checkout of Keras")
    return found


def main(arguments: Sequence[str]) -> int:
    """Runs the tests; returns the exit status."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, of_pytest = arguments[:end], arguments[end + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", nargs="?", type=Path, help="of Keras (default: what is installed)")
    options = parser.parse_args(own)
    try:
        files = test_files(options.checkout)
    except FileNotFoundError as error:
        print(f"keras_suite: {error}", file=sys.stderr)
        return 2
    # Elsewhere than in the checkout, whose own settings and whose own Keras would be taken.
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copy(file, folder)
        (Path(folder) / "pytest.ini").write_text(
            "[pytest]\naddopts =\npython_files = *_test.py\nmarkers =\n    requires_trainable_backend\n",
            encoding="utf-8",
        )
        settings = ["--import-mode=prepend", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", folder, "-q"]
        return int(pytest.main([*settings, *of_pytest, folder], plugins=[Namesakes()]))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    sys.exit(main(sys.argv[1:]))
