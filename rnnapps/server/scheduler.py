"""When requests run: at once while a worker is idle, together with others of their kind when all are busy."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnapps.server.metrics import Metrics
from rnnapps.server.servable import Servable
from rnnapps.server.signature import Signature
from rnnapps.server.status import Code, ServingError, too_late

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
    deadline: float
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

    A request that is alone runs at once, and so does one for a model of which nothing runs, however long others take.
    Without batching each runs by itself, in the order of arrival. With it, those
    that wait for the same endpoint of the same version, in shapes that agree, are joined along their first axis, run
    once and cut again; if that fails, each runs by itself, so that one bad request harms no other.

    Args:
        executor: The worker threads; as many as `workers`.
        workers: Runs at the same time; one more for each model of which none runs.
        max_queue: Requests that may wait.
        batching: None runs every request by itself.
        metrics: What is counted.
        timeout: Seconds that a request may wait and run.
    """

    def __init__(
        self,
        executor: Executor,
        workers: int,
        max_queue: int,
        batching: Batching | None,
        metrics: Metrics,
        timeout: float = math.inf,
    ):
        self._executor, self._workers, self._max_queue = executor, workers, max_queue
        self._batching, self._metrics, self._timeout = batching, metrics, timeout
        self._running_of: Counter[str] = Counter()
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
            ServingError: The queue is full, the time is over (504, DEADLINE_EXCEEDED), or the model fails.
        """
        if self._waiting >= self._max_queue:
            raise ServingError(Code.UNAVAILABLE, f"{self._waiting} requests wait already: the queue is full")
        loop = asyncio.get_running_loop()
        now = loop.time()
        job = _Job(servable, signature, inputs, outputs, now, now + self._timeout, loop.create_future())
        key = job.key
        self._push(key, job)
        self._dispatch()
        try:
            async with asyncio.timeout(None if math.isinf(self._timeout) else self._timeout):
                return await job.future
        except asyncio.CancelledError:
            self._forget(key, job)  # the client went away
            raise
        except TimeoutError as error:
            self._forget(key, job)
            raise too_late(self._timeout) from error

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
        while True:
            now = asyncio.get_running_loop().time()
            due = (key for key, queue in self._queues.items() if self._may_run(queue) and self._due(queue) <= now)
            ready = next(due, None)
            if ready is None:
                break
            self._start(self._take(ready))
        self._set_timer()

    def _may_run(self, queue: _Queue) -> bool:
        """Whether there is a worker for it: what one model's requests take, others do not wait for."""
        return self._running < self._workers or not self._running_of[queue.jobs[0].servable.name]

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
        waiting = [self._due(queue) for queue in self._queues.values() if self._may_run(queue)]
        if waiting:
            self._timer = asyncio.get_running_loop().call_at(min(waiting), self._dispatch)

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
        loop = asyncio.get_running_loop()
        model = jobs[0].servable.name
        now = loop.time()
        self._running += 1
        self._running_of[model] += 1
        self._metrics.ran(model, sum(job.rows for job in jobs), [now - job.arrived for job in jobs])
        using = jobs[0].servable.used()
        using.__enter__()  # until the run ends, which may be after its client has gone
        left = max(job.deadline for job in jobs) - now
        running = loop.run_in_executor(self._executor, _answers, jobs, None if math.isinf(left) else left)

        def done(running: asyncio.Future[list[Outputs | Exception]]) -> None:
            self._running -= 1
            self._running_of[model] -= 1
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


def _answers(jobs: Sequence[_Job], timeout: float | None) -> list[Outputs | Exception]:
    """Runs jobs of one kind, together if possible, in so many seconds. In a worker thread."""
    end = None if timeout is None else time.monotonic() + timeout
    if len(jobs) > 1:
        try:
            return list(_together(jobs, end))
        except Exception:  # whosever fault it is: each gets its own answer below
            pass
    return [_alone(job, end) for job in jobs]


def _alone(job: _Job, end: float | None) -> Outputs | Exception:
    try:
        return job.servable.run(job.signature, job.inputs, job.outputs, *_left(end))
    except Exception as error:
        return error


def _left(end: float | None) -> tuple[float, ...]:
    """The seconds that are left, as the last argument of `run`, if there is an end."""
    if end is None:
        return ()
    left = end - time.monotonic()
    if left <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "The time of the request is over")
    return (left,)


def _together(jobs: Sequence[_Job], end: float | None) -> list[Outputs]:
    first = jobs[0]
    inputs = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in first.inputs}
    outputs = first.servable.run(first.signature, inputs, first.outputs, *_left(end))
    ends = np.cumsum([job.rows for job in jobs])
    for name, array in outputs.items():
        if len(array) != ends[-1]:
            raise ValueError(f"output {name} has {len(array)} rows for {ends[-1]}")
    parts = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
    return [{name: rows[i] for name, rows in parts.items()} for i in range(len(jobs))]
