"""The server: its loop, its ports, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from rnnapps.errors import RunError, UsageError
from rnnapps.server import rpc
from rnnapps.server.connection import Connection
from rnnapps.server.manager import Manager
from rnnapps.server.metrics import Metrics
from rnnapps.server.options import NOTICE, ServerOptions
from rnnapps.server.rest import Rest
from rnnapps.server.scheduler import Batching, Scheduler

_LOG = logging.getLogger(__name__)
_GRACE = 60.0  # seconds that requests which run have to end
_MODELS = 256  # threads beside the workers, each made when it is first wanted: for models of which nothing runs

Stop = Callable[[], Awaitable[None]]


def run(options: ServerOptions) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        UsageError: There is no model, or a port is taken.
        RunError: No model loads.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger(__name__.rpartition(".")[0]).setLevel(logging.INFO)
    asyncio.run(_serve(options))


async def _serve(options: ServerOptions) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_once, loop, stop)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = options.workers or cores
    metrics = Metrics()
    batching = Batching(options.max_batch_size, options.batch_timeout / 1000) if options.batching else None
    with ThreadPoolExecutor(workers + _MODELS, "run") as running, ThreadPoolExecutor(cores, "load") as loading:
        manager = Manager(options.path(), loading, options.threads or cores, options.xla)
        scheduler = Scheduler(running, workers, options.max_queue, batching, metrics, options.run_timeout)
        stops: list[Stop] = []
        try:
            # The ports first: a model that is loaded answers while others still load.
            rest_port = await _start_rest(stops, Rest(manager, scheduler, metrics, options), options)
            grpc_port = await _start_grpc(stops, manager, scheduler, metrics, options)
            await manager.poll()
            _require_one(manager)
            if not stop.is_set():
                print(_greeting(manager, options, rest_port, grpc_port), flush=True)
            await _poll(manager, stop, options.poll_interval)
            _LOG.info("stopping: what runs is finished first")
        finally:
            await asyncio.gather(*(close() for close in stops))
            await manager.close()


def _stop_once(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Ends the server; the next signal ends the process, whatever runs."""
    stop.set()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


async def _poll(manager: Manager, stop: asyncio.Event, interval: float) -> None:
    """Looks for new versions until `stop`."""
    said = ""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval)
            return
        try:
            await manager.poll()
            said = ""
        except OSError as error:
            if said != str(error):  # once, and not at every look
                said = str(error)
                _LOG.error("the folders of models cannot be read: %s", said)


async def _start_rest(stops: list[Stop], rest: Rest, options: ServerOptions) -> int:
    """Opens the HTTP port; returns it, and adds to `stops` what closes it and waits for what runs."""
    server = web.Server(rest.handle, handler_cancellation=True)
    loop = asyncio.get_running_loop()
    try:
        listening = await loop.create_server(
            lambda: Connection(server, options.request_timeout), options.host, options.rest_port, backlog=1024
        )
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"--rest-port {options.rest_port}: cannot listen on {options.host} there ({reason})"
        ) from error

    async def close() -> None:
        listening.close()
        await rest.drain(_GRACE)
        server.pre_shutdown()  # connections without a request, which else are waited for as long as for those with one
        await server.shutdown(_GRACE)

    stops.append(close)
    return listening.sockets[0].getsockname()[1]


async def _start_grpc(
    stops: list[Stop], manager: Manager, scheduler: Scheduler, metrics: Metrics, options: ServerOptions
) -> int | None:
    if options.grpc_port < 0:
        return None
    server, port = await rpc.start(manager, scheduler, metrics, options)
    stops.append(lambda: server.stop(_GRACE))
    return port


def _require_one(manager: Manager) -> None:
    if any(model.available() for model in manager.models.values()):
        return
    errors = [
        f"{name}, version {number}: {one.error}"
        for name, model in manager.models.items()
        for number, one in model.versions.items()
        if one.error
    ]
    raise RunError("no model loads" + (f" ({errors[0]})" if errors else ": there is no version to serve"))


def _greeting(manager: Manager, options: ServerOptions, rest_port: int, grpc_port: int | None) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    names = ", ".join(name for name, model in sorted(manager.models.items()) if model.available())
    grpc_line = "off" if grpc_port is None else f"{host}:{grpc_port}"
    return f"rnnapps serve: {NOTICE}\nmodels  {names}\nREST    http://{host}:{rest_port}/v1/models\ngRPC    {grpc_line}"
