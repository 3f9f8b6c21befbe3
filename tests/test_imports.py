"""Which part imports which, and what `import rnnapps` does not import."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import rnnapps
from rnnapps.cli import tasks
from rnnapps.task import SHARED_VERBS, VERBS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnnapps"


def _load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_imports", ROOT / "tools" / "check_imports.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_imports = _load_tool()


def test_the_package_imports_in_one_direction() -> None:
    assert check_imports.check(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "source", "words"),
    [
        ("cells/lstm.py", "from rnnapps.layers import LSTM", "cells imports layers"),
        ("cells/lstm.py", "import rnnapps.layers.lstm", "cells imports layers"),
        ("cells/lstm.py", "from rnnapps import layers", "cells imports layers"),
        ("cells/lstm.py", "from .. import layers", "cells imports layers"),
        ("cells/lstm.py", "from ..layers import LSTM", "cells imports layers"),
        ("cells/__init__.py", "from ..layers import LSTM", "cells imports layers"),
        ("cells/lstm.py", "def f():\n    from rnnapps.layers import LSTM", "cells imports layers"),
        ("cells/lstm.py", "import rnnapps", "cells imports rnnapps"),
        ("cells/lstm.py", "import tensorflow as tf", "wanted keras.ops"),
        ("layers/lstm.py", "from tensorflow.python.ops import array_ops", "wanted keras.ops"),
        ("models/text.py", "from rnnapps.data import text", "models imports data"),
        ("data/text.py", "from rnnapps import models", "data imports models"),
        ("data/text.py", "from rnnapps.layers import LSTM", "data imports layers"),
        ("ops/random.py", "from rnnapps.cells import LSTMCell", "ops imports cells"),
        ("decoding.py", "from rnnapps.serving import export", "decoding imports serving"),
        ("serving/export.py", "from rnnapps.first import task", "serving imports first"),
        ("cli.py", "from rnnapps.first.config import Config", "cli imports first"),
        ("cli.py", "import keras", "--help would wait"),
        ("config.py", "import tensorflow", "--help would wait"),
        ("__init__.py", "import keras", "--help would wait"),
        ("first/config.py", "import keras", "--help would wait"),
        ("server/main.py", "import keras", "without which this part runs"),
        ("server/main.py", "import tensorflow", "without which this part runs"),
        ("first/__init__.py", "import tensorflow as tf", "--help would wait"),
        ("first/task.py", "import tensorflow as tf", "wanted keras.ops"),
        ("first/task.py", "from rnnapps.second import task", "task first imports task second"),
        ("first/task.py", "from rnnapps import second", "task first imports task second"),
        ("first/task.py", "from rnnapps.cli import main", "first imports cli outside of __main__.py"),
    ],
)
def test_a_wrong_import_is_caught(file: str, source: str, words: str, tmp_path: Path) -> None:
    _package(tmp_path)
    (tmp_path / file).write_text(f"import os\n{source}\n")
    (found,) = check_imports.check(tmp_path)
    line = 3 if source.startswith("def") else 2
    assert found.startswith(f"{tmp_path / file}:{line}: ") and words in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("layers/lstm.py", "import keras\nfrom rnnapps.cells import LSTMCell\nfrom . import unroll"),
        ("data/text.py", "import tensorflow as tf\nfrom rnnapps.ops import strings"),
        ("first/task.py", "import keras, rnnapps\nfrom rnnapps import data, models, runtime\nfrom . import config"),
        ("first/__main__.py", "from rnnapps.cli import main"),
        ("cells/lstm.py", "from rnnapps.errors import UsageError\nimport tensorflow_probability_like_name"),
    ],
)
def test_a_right_import_passes(file: str, source: str, tmp_path: Path) -> None:
    _package(tmp_path)
    (tmp_path / file).write_text(source + "\n")
    assert check_imports.check(tmp_path) == []


def _package(folder: Path) -> None:
    for part in ("ops", "cells", "layers", "models", "data", "serving", "server", "first", "second"):
        (folder / part).mkdir()
        (folder / part / "__init__.py").touch()
    for part in ("__init__", "errors", "config", "task", "cli", "decoding", "runtime"):
        (folder / f"{part}.py").touch()


def test_the_tool_leaves_with_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _package(tmp_path)
    assert check_imports.main([str(tmp_path)]) == 0
    (tmp_path / "cells" / "bad.py").write_text("import tensorflow\n")
    assert check_imports.main([str(tmp_path)]) == 1
    assert "bad.py:1: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "statement",
    [
        "import rnnapps, rnnapps.errors, rnnapps.config, rnnapps.cli, rnnapps.task",
        "from rnnapps import text_generation as t; t.PRESETS, t.Config, t.Predict, dir(t)",
    ],
)
def test_tensorflow_waits_until_it_is_needed(statement: str) -> None:
    code = f"{statement}; import sys; print(sorted({{'tensorflow', 'keras', 'numpy', 'tyro'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_parts_arrive_when_they_are_named() -> None:
    assert rnnapps.layers.LSTM.__name__ == "LSTM"
    with pytest.raises(AttributeError, match="module 'rnnapps' has no attribute 'layer'"):
        rnnapps.layer  # noqa: B018


def test_the_public_parts_are_those_on_disk() -> None:
    parts = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    internal = {"__init__", "__main__", "cli", "files", "task"}
    assert set(rnnapps.__all__) - {"__version__"} == parts - internal


@pytest.mark.parametrize("name", tasks())
def test_every_task_package_has_the_same_files_and_names(name: str) -> None:
    folder = PACKAGE / name
    assert {"__init__.py", "__main__.py", "config.py", "task.py", "README.md"} <= {p.name for p in folder.iterdir()}
    config = importlib.import_module(f"rnnapps.{name}.config")
    public = importlib.import_module(f"rnnapps.{name}").__all__
    shared = {options for options, _ in SHARED_VERBS.values()}
    assert set(public) == {"EXAMPLES", "PRESETS", *VERBS, *VERBS.values(), *shared}
    assert len(config.EXAMPLES) == 3
    assert {"tiny", "base", config.DEFAULT_PRESET} <= set(config.PRESETS)
    functions = {
        node.name: [argument.arg for argument in node.args.args]
        for node in ast.parse((folder / "task.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert {verb: len(functions.get(verb, [])) for verb in VERBS} == dict.fromkeys(VERBS, 1)
