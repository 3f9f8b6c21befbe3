"""When requests run: at once while a worker is idle, together with others of their kind when all are busy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnapps.server.metrics import Metrics
from rnnapps.server.servable import Servable
from rnnapps.server.signature import Signature
from rnnapps.server.status import Code, ServingError

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Batching:
    """How requests are joined.

    Attributes:
        max_rows: Rows of a batch at most; a single request may have more.
        timeout: Seconds that a request waits for others while a worker is idle and another one busy.
    """

    max_rows: int
    timeout: float


@dataclass(eq=False)
class _Job:
    servable: Servable
    signature: Signature
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] | None
    arrived: float
    future: asyncio.Future[Outputs]

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values()))) if self.signature.batchable else 1

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for jobs that can be joined: their arrays differ in the number of rows only."""
        if not self.signature.batchable:
            return (id(self),)
        shapes = tuple((name, self.inputs[name].shape[1:]) for name in sorted(self.inputs))
        return id(self.servable), self.signature.name, self.outputs, shapes


@dataclass
class _Queue:
    jobs: deque[_Job] = field(default_factory=deque)
    rows: int = 0


class Scheduler:
    """Runs requests in worker threads. For the event loop's thread.

    A request that is alone runs at once. Without batching each runs by itself, in the order of arrival. With it, those
    that wait for the same endpoint of the same version, in shapes that agree, are joined along their first axis, run
    once and cut again; if that fails, each runs by itself, so that one bad request harms no other.

    Args:
        executor: The worker threads; as many as `workers`.
        workers: Runs at the same time.
        max_queue: Requests that may wait.
        batching: None runs every request by itself.
        metrics: What is counted.
    """

    def __init__(self, executor: Executor, workers: int, max_queue: int, batching: Batching | None, metrics: Metrics):
        self._executor, self._workers, self._max_queue = executor, workers, max_queue
        self._batching, self._metrics = batching, metrics
        self._queues: dict[tuple[Any, ...], _Queue] = {}
        self._waiting = self._running = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self,
        servable: Servable,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...] | None = None,
    ) -> Outputs:
        """Answers one request.

        Raises:
            ServingError: The queue is full, or the model fails.
        """
        if self._waiting >= self._max_queue:
            raise ServingError(Code.UNAVAILABLE, f"{self._waiting} requests wait already: the queue is full")
        loop = asyncio.get_running_loop()
        job = _Job(servable, signature, inputs, outputs, loop.time(), loop.create_future())
        key = job.key
        self._push(key, job)
        self._dispatch()
        try:
            return await job.future
        except asyncio.CancelledError:
            self._forget(key, job)  # the client went away
            raise

    def _push(self, key: tuple[Any, ...], job: _Job) -> None:
        queue = self._queues.setdefault(key, _Queue())
        queue.jobs.append(job)
        queue.rows += job.rows
        self._count(1)

    def _forget(self, key: tuple[Any, ...], job: _Job) -> None:
        queue = self._queues.get(key)
        if queue is not None and job in queue.jobs:
            queue.jobs.remove(job)
            queue.rows -= job.rows
            self._count(-1)
            if not queue.jobs:
                del self._queues[key]

    def _count(self, change: int) -> None:
        self._waiting += change
        self._metrics.waiting.set(self._waiting)

    def _dispatch(self) -> None:
        """Starts what can start now, and a timer for what has to wait for company."""
        while self._running < self._workers:
            now = asyncio.get_running_loop().time()
            ready = next((key for key, queue in self._queues.items() if self._due(queue) <= now), None)
            if ready is None:
                break
            self._start(self._take(ready))
        self._set_timer()

    def _due(self, queue: _Queue) -> float:
        """When the queue may run, by the loop's clock."""
        first = queue.jobs[0]
        if self._batching is None or not self._running or queue.rows >= self._batching.max_rows:
            return first.arrived
        return first.arrived + (self._batching.timeout if first.signature.batchable else 0)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queues and self._running < self._workers:
            due = min(map(self._due, self._queues.values()))
            self._timer = asyncio.get_running_loop().call_at(due, self._dispatch)

    def _take(self, key: tuple[Any, ...]) -> list[_Job]:
        """The jobs of the next run. What is left of its queue goes behind the other queues."""
        queue = self._queues.pop(key)
        limit = self._batching.max_rows if self._batching else 0
        jobs = [queue.jobs.popleft()]
        rows = jobs[0].rows
        while queue.jobs and rows + queue.jobs[0].rows <= limit:
            jobs.append(queue.jobs.popleft())
            rows += jobs[-1].rows
        queue.rows -= rows
        if queue.jobs:
            self._queues[key] = queue
        self._count(-len(jobs))
        return jobs

    def _start(self, jobs: list[_Job]) -> None:
        self._running += 1
        loop = asyncio.get_running_loop()
        model = jobs[0].servable.name
        now = loop.time()
        self._metrics.ran(model, sum(job.rows for job in jobs), [now - job.arrived for job in jobs])
        using = jobs[0].servable.used()
        using.__enter__()  # until the run ends, which may be after its client has gone
        running = loop.run_in_executor(self._executor, _answers, jobs)

        def done(running: asyncio.Future[list[Outputs | Exception]]) -> None:
            self._running -= 1
            using.__exit__(None, None, None)
            self._metrics.runtime(model, loop.time() - now)
            for job, answer in zip(jobs, running.result(), strict=True):
                if job.future.done():
                    continue
                if isinstance(answer, Exception):
                    job.future.set_exception(answer)
                else:
                    job.future.set_result(answer)
            self._dispatch()

        running.add_done_callback(done)


def _answers(jobs: Sequence[_Job]) -> list[Outputs | Exception]:
    """Runs jobs of one kind, together if possible. In a worker thread."""
    if len(jobs) > 1:
        try:
            return list(_together(jobs))
        except Exception:  # whosever fault it is: each gets its own answer below
            pass
    return [_alone(job) for job in jobs]


def _alone(job: _Job) -> Outputs | Exception:
    try:
        return job.servable.run(job.signature, job.inputs, job.outputs)
    except Exception as error:
        return error


def _together(jobs: Sequence[_Job]) -> list[Outputs]:
    first = jobs[0]
    inputs = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in first.inputs}
    outputs = first.servable.run(first.signature, inputs, first.outputs)
    ends = np.cumsum([job.rows for job in jobs])
    for name, array in outputs.items():
        if len(array) != ends[-1]:
            raise ValueError(f"output {name} has {len(array)} rows for {ends[-1]}")
    parts = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
    return [{name: rows[i] for name, rows in parts.items()} for i in range(len(jobs))]
