"""One model's slow requests stop no other's, none takes for ever, and errors name no nodes: without a server."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rnnapps.server.metrics import Metrics
from rnnapps.server.scheduler import Scheduler
from rnnapps.server.signature import Signature, Spec
from rnnapps.server.status import Code, ServingError, from_tensorflow
from rnnapps.serving.c_session import TensorFlowError

SIGNATURE = Signature("same", {"x": Spec(1, (None,))}, {"x": Spec(1, (None,))}, {})
X = {"x": np.ones(1, np.float32)}


class Model:
    """Gives back what it gets, once the gate is open; keeps the seconds that each run was given."""

    version = 1

    def __init__(self, name, gate=None):
        self.name, self.gate, self.given = name, gate, []

    def run(self, signature, inputs, outputs=None, timeout=None):
        self.given.append(timeout)
        if self.gate is not None:
            assert self.gate.wait(60)
        return dict(inputs)

    def used(self):
        import contextlib

        return contextlib.nullcontext()


def run(test, workers=2, **options):
    async def body():
        with ThreadPoolExecutor(8) as pool:
            await asyncio.wait_for(test(Scheduler(pool, workers, 100, None, Metrics(), **options)), 30)

    asyncio.run(body())


def test_a_model_of_which_nothing_runs_waits_for_no_other():
    gate = threading.Event()
    slow, quick = Model("slow", gate), Model("quick")

    async def test(scheduler):
        waiting = [asyncio.ensure_future(scheduler.run(slow, SIGNATURE, X)) for _ in range(6)]
        await asyncio.sleep(0.05)
        assert len(slow.given) == 2  # as many as there are workers
        for _ in range(3):
            assert (await scheduler.run(quick, SIGNATURE, X))["x"].tolist() == [1]
        assert len(slow.given) == 2 and not any(one.done() for one in waiting)
        gate.set()
        await asyncio.gather(*waiting)
        assert len(slow.given) == 6

    run(test)


def test_a_request_that_takes_too_long_is_given_up_and_its_run_knows_when():
    gate = threading.Event()
    model = Model("slow", gate)

    async def test(scheduler):
        begun = time.monotonic()
        runs = [scheduler.run(model, SIGNATURE, X) for _ in range(3)]  # the third one never runs
        answers = await asyncio.gather(*runs, return_exceptions=True)
        assert time.monotonic() - begun < 10
        for error in answers:
            assert isinstance(error, ServingError) and (error.code, error.http) == (Code.DEADLINE_EXCEEDED, 504)
            assert str(error) == "Timed out: no answer within 0.2 seconds (--run-timeout)"
        assert len(model.given) == 2 and all(0 < given <= 0.2 for given in model.given)
        gate.set()

    run(test, timeout=0.2)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("a picture is empty [[{{node map/while/body/_5/map/while/DecodeImage}}]]", "a picture is empty"),
        (
            "2 root error(s) found. (0) INVALID_ARGUMENT: no rows [[{{node a/b}}]] [[{{node c}}]] (1) CANCELLED: no",
            "no rows",
        ),
        ("plain [[1, 2]] is wrong", "plain [[1, 2]] is wrong"),
    ],
)
def test_an_error_of_a_model_names_no_nodes(said, told):
    assert str(from_tensorflow(TensorFlowError(said, 3))) == told
