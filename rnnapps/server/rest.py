"""TensorFlow Serving's REST API, and the streaming of text, which TensorFlow Serving does not have."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from rnnapps.server.apis import get_model_metadata_pb2, json_format
from rnnapps.server.connection import Connection, error_body, invalid_with, json_response, read_body
from rnnapps.server.manager import Manager
from rnnapps.server.metrics import Metrics
from rnnapps.server.options import ServerOptions
from rnnapps.server.pages import CORS, index, is_ready, listed
from rnnapps.server.rest_json import read_object, read_predict, write_predict
from rnnapps.server.scheduler import Scheduler
from rnnapps.server.servable import Servable
from rnnapps.server.status import Code, ServingError, invalid, not_found
from rnnapps.server.streaming import read_stream, text_events

_LOG = logging.getLogger(__name__)
METRICS_PATH = "/monitoring/prometheus/metrics"
_PATH = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<what>/metadata|:[a-z_]+)?)?",
    re.IGNORECASE,
)
_EVENTS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_LARGEST_VERSION = 2**63 - 1
_MANY = 65_536  # bytes, or values, that a thread reads or writes, so that others are answered meanwhile


@dataclass(frozen=True)
class _Target:
    """What a path names."""

    name: str
    version: int | None
    label: str | None
    what: str

    @property
    def spec(self) -> tuple[str, int | None, str | None]:
        return self.name, self.version, self.label


class Rest:
    """Answers HTTP requests.

    Args:
        manager: The models.
        scheduler: What runs them.
        metrics: What is counted.
        options: Limits of size and time.
    """

    def __init__(self, manager: Manager, scheduler: Scheduler, metrics: Metrics, options: ServerOptions):
        self._manager, self._scheduler, self._metrics = manager, scheduler, metrics
        self._limit, self._timeout = options.max_request_bytes, options.request_timeout
        self._running, self._idle, self._stops, self._cors = 0, asyncio.Event(), False, options.cors
        self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Refuses new requests, and waits for those that have begun, at most so long."""
        self._stops = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; a `ServingError` becomes a JSON object with the key "error"."""
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.begin()
        self._running += 1
        self._idle.clear()
        try:
            answer = await self._handled(request)
        finally:
            connection.end()
            self._running -= 1
            if not self._running:
                self._idle.set()
        if self._stops and not answer.prepared:
            answer.force_close()
        if self._cors and not answer.prepared:
            answer.headers.update(CORS)
        return answer

    async def _handled(self, request: web.BaseRequest) -> web.StreamResponse:
        begun, model, api, status = time.perf_counter(), "", "", "OK"
        try:
            if self._stops:
                raise ServingError(Code.UNAVAILABLE, "The server stops")
            path = request.raw_path.partition("?")[0]
            if request.method == "OPTIONS" and self._cors:
                return web.Response()
            if (page := self._page(path)) is not None:
                _only(request, "GET")
                return page
            target = _target(path)
            model = target.name if target.name in self._manager.models else ""
            api = target.what.strip("/:").capitalize() or "GetModelStatus"
            return await self._answer(request, target)
        except ServingError as error:
            status = error.code.name
            answer = json_response(error_body(str(error)), error.http)
            if error.http in (408, 413):
                answer.force_close()
            if error.http == 405:
                answer.headers["Allow"] = "POST" if api in ("Predict", "Stream", "Classify", "Regress") else "GET"
            return answer
        except (ConnectionError, asyncio.CancelledError):
            status = Code.CANCELLED.name
            raise
        except Exception as error:
            status = Code.INTERNAL.name
            _LOG.exception("%s %s failed", request.method, request.raw_path)
            return json_response(error_body(f"{type(error).__name__} in the server, see its log"), 500)
        finally:
            if api:
                self._metrics.answered(model, api if model else "", "REST", status, time.perf_counter() - begun)

    def _page(self, path: str) -> web.Response | None:
        """What stands at a fixed address."""
        if path == METRICS_PATH:
            return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})
        if path == "/":
            return web.Response(text=index(self._manager.models), content_type="text/html")
        if path == "/v1/models":
            return json_response(listed(self._manager.models))
        if path == "/healthz":
            ready = is_ready(self._manager.models)
            return web.Response(text="ok\n" if ready else "loading\n", status=200 if ready else 503)
        return None

    async def _answer(self, request: web.BaseRequest, target: _Target) -> web.StreamResponse:
        answers: dict[str, tuple[str, Callable[..., Any]]] = {
            "": ("GET", self._status), "/metadata": ("GET", self._metadata),
            ":predict": ("POST", self._predict), ":stream": ("POST", self._stream),
            ":classify": ("POST", self._examples), ":regress": ("POST", self._examples),
        }  # fmt: skip
        if target.what not in answers:
            raise invalid(f"Malformed request: {request.method} {request.raw_path}")
        method, answer = answers[target.what]
        _only(request, method)
        return await answer(request, target)

    async def _status(self, _: web.BaseRequest, target: _Target) -> web.Response:
        return json_response(_json(self._manager.statuses(*target.spec)))

    async def _metadata(self, _: web.BaseRequest, target: _Target) -> web.Response:
        with self._manager.use(*target.spec) as servable:
            definitions = _json(signature_map(servable))
            spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        return json_response({"model_spec": spec, "metadata": {"signature_def": definitions}})

    async def _predict(self, request: web.BaseRequest, target: _Target) -> web.Response:
        with self._manager.use(*target.spec) as servable:
            body = await read_body(request, self._limit, self._timeout)
            asked = await _perhaps_in_thread(len(body), read_predict, body, servable.signature)
            outputs = await self._scheduler.run(servable, asked.signature, asked.inputs)
            size = sum(array.size for array in outputs.values())
            return json_response(await _perhaps_in_thread(size, write_predict, outputs, asked.rows))

    async def _stream(self, request: web.BaseRequest, target: _Target) -> web.StreamResponse:
        with self._manager.use(*target.spec) as servable:
            body = await read_body(request, self._limit, self._timeout)
            writer = read_stream(read_object(body), servable)
            answer: web.StreamResponse | None = None
            async for event in text_events(writer, servable, self._scheduler):
                if answer is None:  # an error before the first event is an answer like any other
                    answer = web.StreamResponse(headers={**_EVENTS, **(CORS if self._cors else {})})
                    await answer.prepare(request)
                try:
                    async with asyncio.timeout(self._timeout):
                        await answer.write(event)
                except TimeoutError as error:
                    raise ConnectionResetError("the client takes nothing") from error
            assert answer is not None  # there is a last event always
            return answer

    async def _examples(self, _: web.BaseRequest, target: _Target) -> web.Response:
        api = target.what.strip(":")
        raise ServingError(
            Code.UNIMPLEMENTED, f"{api} wants signatures of tf.Example, which are not served: use predict"
        )


def signature_map(servable: Servable) -> Any:
    """The `SignatureDefMap` of a version."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.definitions.items():
        found.signature_def[name].CopyFrom(definition)
    return found


def _target(path: str) -> _Target:
    matched = _PATH.fullmatch(path)
    if matched is None:
        raise not_found(f"No such path: {path}")
    if matched["name"] is None:
        raise invalid("Missing model name in request.")
    digits = matched["version"] or ""
    if len(digits) > 19 or int(digits or 0) > _LARGEST_VERSION:
        raise invalid(f"Failed to convert version: {digits[:40]} to numeric.")
    version = int(digits) if digits else None
    label = None if matched["label"] is None else unquote(matched["label"])
    return _Target(unquote(matched["name"]), version, label, (matched["what"] or "").lower())


def _only(request: web.BaseRequest, method: str) -> None:
    if request.method != method and (request.method, method) != ("HEAD", "GET"):  # aiohttp leaves the body away
        raise invalid_with(405, f"Malformed request: {request.method} {request.raw_path}: wanted {method}")


def _json(message: Any) -> Any:
    options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    return json_format.MessageToDict(message, **options)


async def _perhaps_in_thread(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    if size <= _MANY:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
