"""The versions that are loaded: which request goes to which, and how one takes the place of another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnapps.server.apis import get_model_status_pb2
from rnnapps.server.layout import Home, homes
from rnnapps.server.servable import Servable
from rnnapps.server.status import Code, ServingError, invalid, not_found

_LOG = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus.State
STABLE = "stable"


@dataclass
class Version:
    """Where a version stands.

    Attributes:
        folder: Where it lies.
        state: As `GetModelStatus` says it.
        error: Why it ended, if it failed.
        servable: What answers, while it is loaded.
        seen: What the folder looked like when it failed: it is tried again when that changes.
    """

    folder: Path
    state: int = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    seen: tuple[Any, ...] = ()


@dataclass
class Model:
    """A model and its versions by number."""

    home: Home
    versions: dict[int, Version] = field(default_factory=dict)

    def available(self) -> dict[int, Version]:
        return {number: one for number, one in sorted(self.versions.items()) if one.state == State.AVAILABLE}


class Manager:
    """Loads and unloads versions as their folders come and go. For the event loop's thread.

    Args:
        path: What is served, see `layout.homes`.
        executor: Where models are loaded.
        threads: TensorFlow's threads.
        xla: Whether XLA may compile.

    Raises:
        UsageError: There is no model.
    """

    def __init__(self, path: Path, executor: Executor, threads: int, xla: bool):
        self._homes = homes(path)
        self._executor = executor
        self._load_options = (threads, xla)
        self._root = path
        self._closing: set[asyncio.Task[None]] = set()
        self.models: dict[str, Model] = {}

    async def poll(self) -> None:
        """Looks at the folders once, and brings what is loaded in line with them."""
        found = {home.name: home for home in await self._in_thread(self._homes)}
        for name, home in found.items():
            self.models.setdefault(name, Model(home)).home = home
        await asyncio.gather(*(self._update(model, name in found) for name, model in self.models.items()))
        gone = [name for name, model in self.models.items() if name not in found and not model.versions]
        for name in gone:
            del self.models[name]

    @contextlib.contextmanager
    def use(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """A version that stays loaded inside of the `with`: the one of that number or label, else the highest.

        Raises:
            ServingError: There is none that can answer.
        """
        with self._find(name, version, label).used() as servable:
            yield servable

    def statuses(self, name: str, version: int | None = None, label: str | None = None) -> Any:
        """The `GetModelStatusResponse` of a model, or of one of its versions.

        Raises:
            ServingError: There is none of that name.
        """
        model = self.models.get(name)
        if model is None:
            raise not_found(f"Could not find any versions of model {name}")
        if label is not None:
            version = self._labelled(model, label)
        if version is not None and version not in model.versions:
            raise not_found(f"Could not find version {version} of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, one in sorted(model.versions.items(), reverse=True):
            if version in (None, number):
                status = response.model_version_status.add(version=number, state=one.state)
                status.status.error_code = one.error.code if one.error else 0
                status.status.error_message = str(one.error or "")
        return response

    async def close(self) -> None:
        """Unloads everything, each version once its requests are done."""
        for model in self.models.values():
            for number, version in model.available().items():
                self._unload(model, number, version)
        await asyncio.gather(*self._closing)

    def _find(self, name: str, version: int | None, label: str | None) -> Servable:
        model = self.models.get(name)
        available = model.available() if model else {}
        if model and label is not None:
            version = self._labelled(model, label)
        wanted = max(available, default=None) if version is None else version
        if model and not available and any(one.state == State.LOADING for one in model.versions.values()):
            raise ServingError(Code.UNAVAILABLE, f"model {name} is still loading")
        if wanted not in available:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise not_found(f"Servable not found for request: {asked}")
        servable = available[wanted].servable
        assert servable is not None
        return servable

    def _labelled(self, model: Model, label: str) -> int:
        labels = model.home.labels
        if labels is None and label == STABLE and (available := model.available()):
            return max(available)
        if labels is None or label not in labels:
            raise invalid(f"Unrecognized servable version label: {label} of model {model.home.name}")
        return labels[label]

    async def _update(self, model: Model, still_there: bool) -> None:
        there = await self._in_thread(model.home.versions) if still_there else {}
        wanted = model.home.policy(there)
        await asyncio.gather(*(self._load(model, number, there[number]) for number in sorted(wanted)))
        available = model.available()
        for number, version in available.items():
            # What answers goes on until another can take its place.
            if number not in wanted and (not wanted or wanted & set(available)):
                self._unload(model, number, version)
        for number in [n for n, one in model.versions.items() if n not in there and one.state == State.END]:
            del model.versions[number]

    async def _load(self, model: Model, number: int, folder: Path) -> None:
        version = model.versions.get(number)
        if version is not None and version.state == State.END:
            # It failed, or was given up: again only when it has changed, such as when a copy is complete at last.
            if version.seen == await self._in_thread(_looks, folder):
                return
        elif version is not None:
            return
        version = model.versions[number] = Version(folder, State.LOADING, seen=await self._in_thread(_looks, folder))
        named = f"model {model.home.name}, version {number}"
        try:
            arguments = (model.home.name, number, folder, self._root, *self._load_options)
            version.servable = await self._in_thread(Servable, *arguments)
        except ServingError as error:
            version.state, version.error = State.END, error
            _LOG.error("%s does not load: %s", named, error)
        except Exception as error:  # a defect must not end the others
            version.state, version.error = State.END, ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            _LOG.exception("%s does not load", named)
        else:
            version.state = State.AVAILABLE
            _LOG.info("%s is available", named)

    def _unload(self, model: Model, number: int, version: Version) -> None:
        version.state = State.UNLOADING

        async def close() -> None:
            assert version.servable is not None
            await version.servable.unused()
            await self._in_thread(version.servable.close)
            version.servable, version.state, version.seen = None, State.END, ()
            _LOG.info("model %s, version %d is unloaded", model.home.name, number)

        task = asyncio.get_running_loop().create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


def _looks(folder: Path) -> tuple[Any, ...]:
    """Names, sizes and times of all files of a folder."""
    found = []
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # it went away meanwhile
                stat = os.stat(os.path.join(parent, name), follow_symlinks=False)
                found.append((parent, name, stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))
