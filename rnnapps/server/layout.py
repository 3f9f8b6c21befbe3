"""Which models and which of their versions are to be served: what lies in folders, and what a models.config says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rnnapps.errors import UsageError
from rnnapps.server.apis import model_server_config_pb2, text_format

_LOG = logging.getLogger(__name__)
CONFIG = "models.config"
_MOUNT = "/models"  # where the folder lies in TensorFlow Serving's image
_LARGEST_VERSION = 2**63 - 1

Policy = Callable[[Iterable[int]], set[int]]


def latest(count: int) -> Policy:
    """The highest `count` versions."""
    return lambda versions: set(sorted(versions)[-count:])


@dataclass(frozen=True)
class Home:
    """A model's folder.

    Attributes:
        name: The model's name.
        folder: It holds folders named by version numbers.
        policy: From the versions that are there to those that are served.
        labels: Name to version; None gives the name "stable" to the highest.
    """

    name: str
    folder: Path
    policy: Policy = field(default_factory=lambda: latest(1))
    labels: dict[str, int] | None = None

    def versions(self) -> dict[int, Path]:
        """The versions that are there: decimal numbers; other names, such as those of drafts, are overlooked."""
        if not self.folder.is_dir():
            return {}
        found = {}
        for path in sorted(self.folder.iterdir()):
            number = path.name
            is_version = number.isascii() and number.isdigit() and len(number) < 20 and int(number) <= _LARGEST_VERSION
            if is_version and path.is_dir():
                found[int(number)] = path
        return found


def homes(path: Path) -> Callable[[], list[Home]]:
    """What to serve of a path; the result looks anew each time it is called.

    Args:
        path: A folder of models, with a models.config or without; a model; or one version of one.

    Raises:
        UsageError: There is no model, or the models.config is not accepted.
    """
    if (path / "saved_model.pb").is_file():
        path = path.resolve()
        if not path.name.isdecimal():
            raise UsageError(f"{path} is a SavedModel whose folder is no version: wanted NAME/VERSION, such as NAME/1")
        number = int(path.name)
        one = Home(path.parent.name, path.parent, lambda versions: {number} & set(versions))
        return lambda: [one]
    config = path / CONFIG
    if config.is_file():
        return _Watched(config)
    alone = Home(path.resolve().name, path)
    if alone.versions():
        return lambda: [alone]
    if not _subfolders(path):
        raise UsageError(f"{path} holds no model: wanted NAME/VERSION folders, as export writes")
    return lambda: _subfolders(path)


class _Watched:
    """The models of a models.config, which is read again when it changes, as an export changes it.

    Args:
        config: The file.

    Raises:
        UsageError: It is not accepted at first; a later one that is not is overlooked, with a line in the log.
    """

    def __init__(self, config: Path):
        self._config, self._seen = config, _looks(config)
        self._found = _configured(config)

    def __call__(self) -> list[Home]:
        if (looks := _looks(self._config)) not in (None, self._seen):
            self._seen = looks
            try:
                self._found = _configured(self._config)
            except (UsageError, OSError) as error:
                _LOG.error("what was read before stays: %s", error)
        return self._found


def _looks(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _subfolders(path: Path) -> list[Home]:
    folders = (folder for folder in sorted(path.iterdir()) if not folder.name.startswith("."))
    found = [Home(folder.name, folder) for folder in folders if ":" not in folder.name]
    return [home for home in found if home.versions()]


def _configured(config: Path) -> list[Home]:
    """The models of a models.config: text format of `ModelServerConfig`."""
    message = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(config.read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{config} is no ModelServerConfig in text format ({_line(error)})") from error
    found = [_home(config, one) for one in message.model_config_list.config]
    names = [home.name for home in found]
    if not found or len(set(names)) < len(names):
        raise UsageError(f"{config} names the models {names}: wanted at least one, and each once")
    return found


def _home(config: Path, one: Any) -> Home:
    if not one.name or "/" in one.name or ":" in one.name or one.name.startswith("."):
        raise UsageError(f"{config}: the model's name {one.name!r} is no plain folder name")
    if one.model_platform not in ("", "tensorflow"):
        raise UsageError(f"{config}: model {one.name} has model_platform {one.model_platform!r}: wanted tensorflow")
    base = PurePosixPath(one.base_path)
    if base.is_relative_to(_MOUNT):
        base = base.relative_to(_MOUNT)
    if base.is_absolute() or ".." in base.parts or not one.base_path:
        raise UsageError(
            f"{config}: model {one.name} has base_path {one.base_path!r}: wanted a folder below {config.parent}, "
            f"relative to it or as {_MOUNT}/..."
        )
    return Home(one.name, config.parent / base, _policy(one.model_version_policy), dict(one.version_labels) or None)


def _policy(message: Any) -> Policy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return set
    if choice == "specific":
        specific = set(message.specific.versions)
        return lambda versions: specific & set(versions)
    return latest(message.latest.num_versions or 1 if choice == "latest" else 1)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
