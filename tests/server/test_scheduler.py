"""When requests run, and which together: with a model that waits for the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rnnapps.server.metrics import Metrics
from rnnapps.server.scheduler import Batching, Scheduler
from rnnapps.server.signature import Signature, Spec
from rnnapps.server.status import ServingError, invalid

SIGNATURE = Signature("double", {"x": Spec(1, (None, None))}, {"y": Spec(1, (None, None))}, {})


class Model:
    """Doubles; a run waits until `let` is called, and fails if a row holds a negative number."""

    name, version = "model", 1

    def __init__(self):
        self.runs = []
        self.gate = threading.Semaphore(0)
        self.users = 0

    def let(self, runs):
        for _ in range(runs):
            self.gate.release()

    def run(self, signature, inputs, outputs=None):
        self.runs.append(inputs["x"].tolist())
        assert self.gate.acquire(timeout=60)
        if (inputs["x"] < 0).any():
            raise invalid("negative")
        return {"y": inputs["x"] * 2}

    @contextlib.contextmanager
    def used(self):
        self.users += 1
        yield
        self.users -= 1


def _run(test, workers=1, max_queue=100, batching=None):
    """Runs an async test with a scheduler and a model."""

    async def body():
        with ThreadPoolExecutor(workers) as pool:
            model = Model()
            await asyncio.wait_for(test(Scheduler(pool, workers, max_queue, batching, Metrics()), model), 60)
            assert model.users == 0

    asyncio.run(body())


def _ask(scheduler, model, *rows):
    inputs = {"x": np.array(rows, np.float32)}
    return asyncio.get_running_loop().create_task(scheduler.run(model, SIGNATURE, inputs))


async def _until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_those_that_wait_run_together_and_get_their_own_rows():
    async def test(scheduler, model):
        first = _ask(scheduler, model, [1])
        await _until(lambda: model.runs)
        others = [_ask(scheduler, model, [2]), _ask(scheduler, model, [3], [4]), _ask(scheduler, model, [5, 6])]
        await asyncio.sleep(0)
        model.let(3)
        answers = [(await task)["y"].tolist() for task in (first, *others)]
        assert answers == [[[2]], [[4]], [[6], [8]], [[10, 12]]]
        # The first did not wait, and what has another width runs by itself.
        assert model.runs == [[[1]], [[2], [3], [4]], [[5, 6]]]

    _run(test, batching=Batching(8, 60))


def test_a_batch_is_not_larger_than_it_may_be():
    async def test(scheduler, model):
        model.let(100)
        first = _ask(scheduler, model, [0])
        await asyncio.sleep(0)
        tasks = [_ask(scheduler, model, *[[i]] * (i % 5 + 1)) for i in range(12)]
        answers = await asyncio.gather(first, *tasks)
        assert [len(answer["y"]) for answer in answers] == [1, *(i % 5 + 1 for i in range(12))]
        assert max(map(len, model.runs)) <= 5 and len(model.runs) < 13

    _run(test, batching=Batching(4, 0.0))


def test_without_batching_each_runs_by_itself_in_order():
    async def test(scheduler, model):
        model.let(3)
        await asyncio.gather(*(_ask(scheduler, model, [i]) for i in range(3)))
        assert model.runs == [[[0]], [[1]], [[2]]]

    _run(test)


def test_one_bad_request_harms_no_other():
    async def test(scheduler, model):
        first = _ask(scheduler, model, [1])
        await _until(lambda: model.runs)
        good, bad, better = _ask(scheduler, model, [2]), _ask(scheduler, model, [-3]), _ask(scheduler, model, [4])
        await asyncio.sleep(0)
        model.let(5)
        await first
        assert (await good)["y"].tolist() == [[4]] and (await better)["y"].tolist() == [[8]]
        with pytest.raises(ServingError, match="negative"):
            await bad
        assert model.runs == [[[1]], [[2], [-3], [4]], [[2]], [[-3]], [[4]]]

    _run(test, batching=Batching(8, 60))


def test_an_idle_worker_waits_a_moment_for_company_only_beside_a_busy_one():
    async def test(scheduler, model):
        alone = _ask(scheduler, model, [1])
        await _until(lambda: model.runs)  # at once, though the timeout is a minute
        waits = _ask(scheduler, model, [2])
        await asyncio.sleep(0.05)
        assert len(model.runs) == 1
        company = _ask(scheduler, model, [3])
        await _until(lambda: len(model.runs) == 2)  # as many as fit: no reason to wait
        model.let(2)
        await asyncio.gather(alone, waits, company)
        assert model.runs[1] == [[2], [3]]

    _run(test, workers=2, batching=Batching(2, 60))


def test_the_timeout_ends_the_waiting():
    async def test(scheduler, model):
        tasks = [_ask(scheduler, model, [1])]
        await _until(lambda: model.runs)
        tasks.append(_ask(scheduler, model, [2]))
        await _until(lambda: len(model.runs) == 2)
        model.let(2)
        await asyncio.gather(*tasks)

    _run(test, workers=2, batching=Batching(8, 0.02))


@pytest.mark.parametrize("batching", [None, Batching(8, 0.0)])
def test_a_full_queue_refuses_and_a_client_that_leaves_makes_room(batching):
    async def test(scheduler, model):
        running = _ask(scheduler, model, [1])
        await _until(lambda: model.runs)
        waiting = [_ask(scheduler, model, [i]) for i in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="2 requests wait already") as caught:
            await _ask(scheduler, model, [4])
        assert (caught.value.code.name, caught.value.http) == ("UNAVAILABLE", 503)
        waiting[0].cancel()
        await asyncio.sleep(0)
        last = _ask(scheduler, model, [5])
        await asyncio.sleep(0)
        running.cancel()  # the run goes on, and its answer is nobody's
        model.let(3)
        assert (await waiting[1])["y"].tolist() == [[6]] and (await last)["y"].tolist() == [[10]]
        assert [2] not in [row for run in model.runs for row in run]

    _run(test, max_queue=2, batching=batching)
