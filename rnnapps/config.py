"""Configs: frozen dataclasses of plain values, checked when they are made, kept as JSON.

A config is written once, as a dataclass. Its fields are the options of the command line, the arguments in Python and
the keys of `config.json`, all under one name. A field may be a `bool`, `int`, `float`, `str`, `Path` or `Literal`, one
of these `| None`, or a `tuple` of any number of one of them.

    @dataclasses.dataclass(frozen=True)
    class Config:
        units: int = 128

        def __post_init__(self) -> None:
            check_types(self)
            check_range(self, "units", 1)
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union

from rnnapps.errors import UsageError
from rnnapps.files import versions, write_whole


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


ConfigT = TypeVar("ConfigT", bound=_Dataclass)

# Options of training that say nothing of what is learnt.
MACHINE = {"strategy", "replicas", "data_service", "check_gpu"}

_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def option(name: str) -> str:
    """The command line's spelling of a field: `learning_rate` is `--learning-rate`."""
    return "--" + name.replace("_", "-")


def known(names: Iterable[str], got: str = "") -> str:
    """Lists the names that exist, the one most like `got` first: the end of an error's sentence."""
    names = list(names)
    close = difflib.get_close_matches(got, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def wanted(cls: type, name: str) -> str:
    """Says in words what a field accepts, for an error's sentence."""
    hint = _without_none(_hints(cls)[name])
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return f"a list, each item {_WANTED[typing.get_args(hint)[0]]}"
    return _WANTED[hint]


def plain_type(cls: type, name: str) -> Any:
    """The type of a field's values, apart from `None`; that of the items of a `tuple`, and `str` for a `Literal`."""
    hint = _without_none(_hints(cls)[name])
    origin = typing.get_origin(hint)
    return str if origin is Literal else typing.get_args(hint)[0] if origin is tuple else hint


def read_value(cls: type, name: str, text: str) -> Any:
    """The value of a field that a text means; `none` is `None` where that is accepted, and a `tuple` has one item.

    Raises:
        UsageError: The field does not accept it.
    """
    hint, kind = _hints(cls)[name], plain_type(cls, name)
    if text.lower() == "none" and type(None) in typing.get_args(hint):
        return None
    value: Any = text
    if kind is bool:
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            raise UsageError(f"{option(name)} {text}: wanted {wanted(cls, name)}") from None
    return _convert(option(name), (value,) if typing.get_origin(hint) is tuple else value, hint)


def check_types(config: _Dataclass) -> None:
    """Checks each field's value against its type, and brings near ones into it: text to `Path`, list to `tuple`.

    To be called first in a config's `__post_init__`.

    Raises:
        UsageError: a value is of another type, a number is not finite, or a text is not Unicode.
    """
    for name, hint in _hints(type(config)).items():
        value = getattr(config, name)
        # The dataclass is frozen for its users; this runs while it is being made.
        object.__setattr__(config, name, _convert(option(name), value, hint))


def check_range(config: _Dataclass, name: str, low: float, high: float = math.inf) -> None:
    """Raises UsageError unless `low <= value <= high`; `None` passes."""
    value = getattr(config, name)
    if value is None or low <= value <= high:
        return
    accepted = f"{low} to {high}" if high != math.inf else f"{low} or more"
    raise UsageError(f"{option(name)} {value}: wanted {accepted}")


def check_above(config: _Dataclass, name: str, low: float, high: float = math.inf) -> None:
    """Raises UsageError unless `low < value <= high`; `None` passes."""
    value = getattr(config, name)
    if value is None or low < value <= high:
        return
    accepted = f"more than {low}" + (f" and at most {high}" if high != math.inf else "")
    raise UsageError(f"{option(name)} {value}: wanted {accepted}")


def check_at_most_one(config: _Dataclass, *names: str) -> None:
    """Raises UsageError when two of the fields have a value that is not empty."""
    given = [option(name) for name in names if getattr(config, name) not in (None, (), "")]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} were given together: wanted only one of them")


def check_folder_name(config: _Dataclass, name: str) -> None:
    """Raises UsageError unless the field is the name of a folder that can be seen; `None` passes."""
    value = getattr(config, name)
    if value is not None and (not value or "/" in value or value.startswith(".")):
        raise UsageError(f"{option(name)} {value!r}: wanted a plain folder name")


def check_machine(config: Any) -> None:
    """Raises UsageError where the options of `MACHINE` do not go together, or with `accumulate`."""
    check_range(config, "replicas", 0)
    if config.replicas and config.strategy != "mirrored":
        raise UsageError(f"--replicas {config.replicas} with --strategy {config.strategy}: wanted --strategy mirrored")
    if config.strategy != "none" and getattr(config, "accumulate", 1) > 1:
        raise UsageError(f"--accumulate {config.accumulate} with --strategy {config.strategy}: wanted 1")


def replace(config: ConfigT, **changes: Any) -> ConfigT:
    """A copy of `config` with some fields changed, checked like a new one.

    Raises:
        UsageError: a name is no field, or a value is not accepted.
    """
    _refuse_unknown(type(config), changes, type(config).__name__)
    return dataclasses.replace(config, **changes)


def to_dict(config: _Dataclass) -> dict[str, Any]:
    """The fields as values that JSON holds: paths as text, tuples as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return os.fspath(value) if isinstance(value, Path) else value

    return {name: plain(getattr(config, name)) for name in _hints(type(config))}


def from_dict(cls: type[ConfigT], values: Mapping[str, Any], source: str = "config") -> ConfigT:
    """Makes a config of class `cls` from the values of a JSON object; fields that are absent keep their default.

    Args:
        cls: the config's dataclass.
        values: what `to_dict` gave.
        source: what the values came from, for the error's sentence.

    Raises:
        UsageError: a name is no field, or a value is not accepted.
    """
    _refuse_unknown(cls, values, source)
    return cls(**values)


def save(config: _Dataclass, path: str | os.PathLike[str]) -> None:
    """Writes `config` to `path` as JSON, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    content = json.dumps(to_dict(config), indent=2) + "\n"
    write_whole(Path(path), lambda file: file.write_text(content, encoding="utf-8"))


def load(cls: type[ConfigT], path: str | os.PathLike[str]) -> ConfigT:
    """Reads a config that `save` wrote.

    Raises:
        UsageError: there is no such file, it is not a JSON object, or a field is not accepted.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path} does not exist: wanted a {path.name} that a run wrote") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise UsageError(f"{path} is not readable as JSON ({error})") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds a JSON {type(values).__name__}: wanted an object")
    try:
        return from_dict(cls, values, str(path))
    except UsageError as error:
        raise error if str(path) in str(error) else UsageError(f"{path}: {error}") from None


def shipped_models() -> dict[str, Path]:
    """The trained models that come with a checkout: name to the folder of the highest version."""
    found = {folder: versions(folder) for folder in sorted(_shipped_folder().glob("*"))}
    return {folder.name: folder / str(numbers[-1]) for folder, numbers in found.items() if numbers}


def shipped_model(name: str) -> Path:
    """The SavedModel folder `saved_models/<name>/<highest version>` of this checkout.

    Raises:
        UsageError: no such model is shipped, or the package was installed without its checkout.
    """
    models = shipped_models()
    if name not in models:
        raise UsageError(
            f"no trained model {name!r} in {_shipped_folder()}: name a run or an exported model, or install "
            f"from a checkout with `pip install -e .` ({known(models, name) if models else 'there is none'})"
        )
    return models[name]


def _shipped_folder() -> Path:
    # Models stay out of the wheel: they lie beside the package in a checkout, which an editable install points to.
    return Path(__file__).resolve().parent.parent / "saved_models"


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _without_none(hint: Any) -> Any:
    """The type that a field has where it is not `None`."""
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint
    (kind,) = (argument for argument in typing.get_args(hint) if argument is not type(None))
    return kind


def _refuse_unknown(cls: type, names: Iterable[str], source: str) -> None:
    fields = _hints(cls)
    for name in names:
        if name not in fields:
            raise UsageError(f"{source} has no field {name!r}: {known(fields, name)}")


def _convert(name: str, value: Any, hint: Any) -> Any:
    """Gives `value` in the type `hint`, or raises UsageError with one sentence that names the option."""
    if value is None and type(None) in typing.get_args(hint):
        return None
    hint = _without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise UsageError(f"{name} {value}: {known(map(str, arguments), str(value))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{name} {value!r}: wanted a list, each item {_WANTED[arguments[0]]}")
        return tuple(_convert(name, item, arguments[0]) for item in value)
    return _convert_plain(name, value, hint)


def _convert_plain(name: str, value: Any, hint: Any) -> Any:
    if hint is float and type(value) is int:
        value = float(value)
    if hint is Path and isinstance(value, str):
        value = Path(value)
    # `True` is an `int` for Python, and would pass for a number of layers.
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UsageError(f"{name} {value!r}: wanted {_WANTED[hint]}")
    if hint is float and not math.isfinite(value):
        raise UsageError(f"{name} {value}: wanted a finite number")
    if hint is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{name} {value!r}: wanted UTF-8 text") from None
    return value
