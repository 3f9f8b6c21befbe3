"""Ctrl-C as a request."""

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """While open, the first Ctrl-C (or termination) calls `stop`; a second one acts as it always does."""
    before: dict[int, object] = {}

    def handle(*_):
        restore()
        stop()

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
