"""Text as it is written: server-sent events over the `step` endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from rnnapps.errors import UsageError
from rnnapps.server.scheduler import Scheduler
from rnnapps.server.servable import Servable
from rnnapps.server.status import ServingError, invalid
from rnnapps.step_writer import StepWriter

STEP = "step"
_FIELDS: dict[str, tuple[type, ...]] = {
    "prompt": (str,), "num_chars": (int,), "temperature": (int, float), "seed": (int,),
}  # fmt: skip


def read_stream(content: Mapping[str, Any], servable: Servable) -> StepWriter:
    """A writer for what a request asks for: `prompt`, `num_chars`, `temperature` and `seed`, each with a default.

    Raises:
        ServingError: The model is no text model, or a value is not accepted.
    """
    for name, value in content.items():
        if name not in _FIELDS:
            raise invalid(f"Unknown key {name}: wanted {', '.join(_FIELDS)}")
        if type(value) not in _FIELDS[name]:
            raise invalid(f"{name} is a {type(value).__name__}: wanted {_FIELDS[name][-1].__name__}")
    vocabulary = servable.vocabulary
    specs = {name: spec for name, spec in servable.signature(STEP).inputs.items() if name != "tokens"}
    shapes = {name: tuple(size or 1 for size in spec.shape or ()) for name, spec in specs.items()}  # one row
    try:
        return StepWriter(vocabulary, shapes, **content)
    except (UsageError, OverflowError) as error:
        raise invalid(str(error)) from error


async def text_events(writer: StepWriter, servable: Servable, scheduler: Scheduler) -> AsyncIterator[bytes]:
    """Yields an event for each new piece of text, and a last one.

        data: {"text": "..."}
        event: done
        data: {"num_chars": 100}

    or, if the model fails in the middle, `event: error` with `{"error": "..."}`.
    """
    step = servable.signature(STEP)
    begun = False
    try:
        while (inputs := writer.inputs()) is not None:
            if piece := writer.take(await scheduler.run(servable, step, inputs)):
                yield _event({"text": piece})
                begun = True
    except ServingError as error:
        if not begun:
            raise
        yield _event({"error": str(error)}, "error")
        return
    yield _event({"num_chars": writer.written}, "done")


def _event(content: Mapping[str, Any], kind: str = "") -> bytes:
    name = f"event: {kind}\n" if kind else ""
    return f"{name}data: {json.dumps(content, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
