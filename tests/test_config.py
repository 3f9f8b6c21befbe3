"""Configs: checks, JSON, presets, and where the shipped models are."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
import os
from pathlib import Path
from typing import Any, Literal

import pytest

from rnnapps import config as configs
from rnnapps.errors import RnnappsError, RunError, UsageError
from rnnapps.text_generation import config as options
from rnnapps.text_generation.config import PRESETS, Config, Evaluate, Export, Predict


@dataclasses.dataclass(frozen=True)
class Sample:
    flag: bool = False
    count: int = 1
    rate: float = 0.5
    name: str | None = None
    folder: Path = Path("runs")
    files: tuple[Path, ...] = ()
    kind: Literal["char", "byte"] = "char"
    limit: float | None = None

    def __post_init__(self) -> None:
        configs.check_types(self)
        configs.check_range(self, "count", 1, 4)
        configs.check_above(self, "rate", 0, 1)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"flag": True, "count": 3, "rate": 1.0, "name": "é", "folder": Path("/a/b"), "limit": 2.5},
        {"files": (Path("a.txt"), Path("b c.txt")), "kind": "byte"},
    ],
)
def test_a_config_survives_json(values: dict[str, Any], tmp_path: Path) -> None:
    config = Sample(**values)
    configs.save(config, tmp_path / "config.json")
    assert configs.load(Sample, tmp_path / "config.json") == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_presets_survive_json(preset: Config) -> None:
    values = json.loads(json.dumps(configs.to_dict(preset)))
    assert set(values) == {field.name for field in dataclasses.fields(Config)}
    assert configs.from_dict(Config, values) == preset


def test_near_types_are_brought_into_the_field_s_own() -> None:
    config = Sample(folder="here", files=["a", Path("b")], rate=1, limit=3)  # type: ignore[arg-type]
    assert config.folder == Path("here") and config.files == (Path("a"), Path("b"))
    assert type(config.rate) is float and type(config.limit) is float


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"count": 1.0}, "--count 1.0: wanted a whole number"),
        ({"count": "2"}, "--count '2': wanted a whole number"),
        ({"count": True}, "--count True: wanted a whole number"),
        ({"count": None}, "--count None: wanted a whole number"),
        ({"count": 5}, "--count 5: wanted 1 to 4"),
        ({"flag": 1}, "--flag 1: wanted true or false"),
        ({"rate": 0.0}, "--rate 0.0: wanted more than 0 and at most 1"),
        ({"rate": False}, "--rate False: wanted a number"),
        ({"rate": math.nan}, "--rate nan: wanted a finite number"),
        ({"limit": math.inf}, "--limit inf: wanted a finite number"),
        ({"name": 3}, "--name 3: wanted text"),
        ({"name": "\udcff"}, "--name '\\udcff': wanted UTF-8 text"),
        ({"folder": 3}, "--folder 3: wanted a path"),
        ({"files": "a.txt"}, "--files 'a.txt': wanted a list, each item a path"),
        ({"files": [1]}, "--files 1: wanted a path"),
        ({"kind": "chars"}, "--kind chars: did you mean char? known: char, byte"),
        ({"kind": ["char"]}, "--kind ['char']: did you mean char? known: char, byte"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sample(**values)
    assert str(caught.value) == sentence


def test_unknown_fields_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"^here has no field 'cout': did you mean count\? known: flag, count, rate"):
        configs.from_dict(Sample, {"cout": 2}, "here")
    with pytest.raises(UsageError, match="Sample has no field 'zzz': known: flag"):
        configs.replace(Sample(), zzz=2)


def test_replace_checks_and_leaves_the_original_alone() -> None:
    config = Sample()
    assert configs.replace(config, count=2) == Sample(count=2)
    with pytest.raises(UsageError, match="--count 9: wanted 1 to 4"):
        configs.replace(config, count=9)
    assert config == Sample()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist: wanted a config.json that a run wrote"),
        (b'{"count": 2', "is not readable as JSON"),
        (b'"\xff"', "is not readable as JSON"),
        (b"[]", "holds a JSON list: wanted an object"),
        (b'{"cout": 2}', "has no field 'cout': did you mean count?"),
        (b'{"count": 9}', "config.json: --count 9: wanted 1 to 4"),
        (b'{"rate": NaN}', "config.json: --rate nan: wanted a finite number"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        configs.load(Sample, path)
    assert words in str(caught.value) and str(caught.value).count(str(path)) == 1
    assert "\n" not in str(caught.value)


def test_a_save_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    configs.save(Sample(count=1), path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="config.json could not be saved .No space left on device.: what was there"):
        configs.save(Sample(count=2), path)
    assert configs.load(Sample, path).count == 1
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_errors_know_their_exit_status() -> None:
    assert (UsageError.exit_status, RunError.exit_status) == (2, 1)
    assert issubclass(UsageError, RnnappsError) and issubclass(RunError, RnnappsError)


def test_shipped_model_is_the_highest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "_shipped_folder", lambda: tmp_path)
    with pytest.raises(UsageError, match="no trained model 'shakespeare' in .*there is none"):
        configs.shipped_model("shakespeare")
    for version in ("9", "10", "11", "draft"):
        (tmp_path / "shakespeare" / version).mkdir(parents=True)
        if version != "11":  # a folder without a model in it is no version
            (tmp_path / "shakespeare" / version / "saved_model.pb").touch()
    assert configs.shipped_model("shakespeare") == tmp_path / "shakespeare" / "10"
    assert list(configs.shipped_models()) == ["shakespeare"]
    with pytest.raises(UsageError, match="did you mean shakespeare"):
        configs.shipped_model("shakespear")


def test_shipped_models_lie_beside_the_package() -> None:
    assert configs._shipped_folder() == Path(configs.__file__).parents[1] / "saved_models"


# --- the options of text generation ---


@pytest.mark.parametrize(
    ("cls", "values", "sentence"),
    [
        (Config, {"layers": 7}, "--layers 7: wanted 1 to 4"),
        (Config, {"layers": 0}, "--layers 0: wanted 1 to 4"),
        (Config, {"units": 0}, "--units 0: wanted 1 or more"),
        (Config, {"steps": -1}, "--steps -1: wanted 1 or more"),
        (Config, {"embedding": -1}, "--embedding -1: wanted 0 or more"),
        (Config, {"dropout": 1.0}, "--dropout 1.0: wanted 0 to 0.95"),
        (Config, {"minutes": 0}, "--minutes 0.0: wanted more than 0"),
        (Config, {"seed": 2**31}, "--seed 2147483648: wanted 0 to 2147483647"),
        (Config, {"learning_rate": 0.0}, "--learning-rate 0.0: wanted more than 0"),
        (Config, {"test_fraction": 0.9}, "--test-fraction 0.9: wanted 0 to 0.5"),
        (Config, {"cell": "gru2"}, "--cell gru2: did you mean gru? known: lstm, gru, simple_rnn"),
        (Config, {"tied": True}, "--tied with --embedding 0 and --units 384: wanted equal sizes"),
        (Config, {"weight_decay": 0.1}, "--weight-decay with --optimizer adam: wanted --optimizer adamw"),
        (
            Config,
            {"text": ["a"], "dataset": "python_source"},
            "--dataset and --text were given together: wanted only one of them",
        ),
        (Predict, {"top_p": 0.0}, "--top-p 0.0: wanted more than 0 and at most 1"),
        (Predict, {"top_p": 1.5}, "--top-p 1.5: wanted more than 0 and at most 1"),
        (Predict, {"temperature": -1.0}, "--temperature -1.0: wanted 0 or more"),
        (Predict, {"length": 0}, "--length 0: wanted 1 or more"),
        (Predict, {"repetition_penalty": 0}, "--repetition-penalty 0.0: wanted more than 0"),
        (Predict, {"stop": ""}, "--stop '': wanted at least one character"),
        (
            Predict,
            {"run": "a", "model": "b"},
            "--run and --model were given together: wanted only one of them",
        ),
        (Predict, {"show_neurons": "a.html", "units": [-2]}, "--units -2: wanted 0 or more"),
        (Evaluate, {"split": "dev"}, "--split dev: known: train, validation, test"),
        (Export, {"name": "../x"}, "--name '../x': wanted a plain folder name"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(cls: type, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        cls(**values)
    assert str(caught.value) == sentence


def test_presets_carry_their_own_name_and_a_budget() -> None:
    assert {"quick", "min-char-rnn", "char-rnn", "small", "base", "large", "tiny"} == set(PRESETS)
    assert all(config.preset == name for name, config in PRESETS.items())
    assert all(config.minutes or config.epochs for config in PRESETS.values())
    assert options.DEFAULT_PRESET == "quick" and PRESETS["quick"].minutes == 3


def test_min_char_rnn_is_the_well_known_program() -> None:
    config = PRESETS["min-char-rnn"]
    assert (config.cell, config.units, config.layers, config.embedding) == ("simple_rnn", 100, 1, 0)
    assert (config.batch_size, config.steps, config.sample_every) == (1, 25, 100)
    assert (config.optimizer, config.learning_rate, config.schedule) == ("adagrad", 0.1, "constant")
    assert (config.clip, config.clip_at, config.warmup_steps) == ("value", 5.0, 0)


@pytest.mark.parametrize("cls", [Config, Evaluate, Predict, Export])
def test_every_option_has_help(cls: type) -> None:
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)
    documented = {
        field.target.id
        for field, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }
    assert {field.name for field in dataclasses.fields(cls)} == documented
