"""`import rnnapps.layers` registers what a saved `.keras` file of ours may name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import rnnapps.layers  # noqa: F401
from rnnapps.models.forecaster import forecaster
from rnnapps.models.series_parts import Shape

ROOT = Path(__file__).parents[2]

# A file format: a name that leaves this list is one that saved models carry.
NAMES = {
    *("AttentionDecoder", "Bridge", "Calendar", "ConvLSTM2D", "GRU", "LSTM", "Places", "SimpleRNN", "Stacked"),
    *("StepEmbedding", "Unroll", "WindowScaler"),
    *("ConvLSTM2DCell", "CoupledLSTMCell", "GRUCell", "IRNNCell", "IndRNNCell", "LSTMCell", "LayerNormGRUCell"),
    *("LayerNormLSTMCell", "MLSTMCell", "MinGRUCell", "MinLSTMCell", "MogrifierLSTMCell", "PeepholeLSTMCell"),
    *("ProjectedLSTMCell", "QRNNCell", "RGLRUCell", "ResidualCell", "SLSTMCell", "SRUCell", "SimpleRNNCell"),
    *("UGRNNCell", "WeightDropCell", "ZoneoutCell"),
}
# Not in a model that a run saves, since what is saved is not compiled.
OPTIMIZERS = {"FusedAdam", "FusedAdamW"}


def test_every_name_is_registered():
    for name in NAMES:
        assert keras.saving.get_registered_object(f"rnnapps>{name}") is not None, name


def test_the_import_alone_reaches_every_class_that_is_registered():
    """Read in the sources, since in this process other imports have registered classes too."""
    reached, found = _imported("rnnapps.layers"), {}
    for path in sorted((ROOT / "rnnapps").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any("register" in ast.unparse(d) for d in node.decorator_list):
                found[node.name] = path
    assert set(found) == NAMES | OPTIMIZERS
    for name in NAMES:
        assert found[name] in reached, f"{name} is not registered by `import rnnapps.layers`"


def _imported(module: str) -> set[Path]:
    """Files of the package that an import of a module runs."""
    reached: set[Path] = set()
    waiting = [module]
    while waiting:
        base = ROOT.joinpath(*waiting.pop().split("."))
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if path in reached or not path.is_file():
            continue
        reached.add(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rnnapps"):
                waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return reached


LOAD = """
import sys, keras, numpy as np
import rnnapps.layers
model = keras.models.load_model(sys.argv[1])
inputs = dict(np.load(sys.argv[2]))
wanted = inputs.pop("wanted")
np.testing.assert_allclose(keras.tree.flatten(model(inputs))[0], wanted, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.full  # a process that imports TensorFlow
def test_a_saved_forecaster_loads_in_a_fresh_process(tmp_path):
    model = forecaster("attention", Shape(12, 6, 2, cycles=("day",)), units=4, seed=1)
    rng = np.random.default_rng(0)
    inputs = {
        tensor.name: rng.integers(0, 1, (2, *tensor.shape[1:])).astype("int64")
        if "int" in tensor.dtype
        else rng.normal(size=(2, *tensor.shape[1:])).astype("float32")
        for tensor in keras.tree.flatten(model.inputs)
    }
    np.savez(tmp_path / "inputs.npz", **inputs, wanted=keras.tree.flatten(model(inputs))[0])
    model.save(tmp_path / "model.keras")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "model.keras"), str(tmp_path / "inputs.npz")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
