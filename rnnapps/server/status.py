"""Errors that a client gets: one of gRPC's status codes, and one sentence."""

from __future__ import annotations

import enum
import re

from rnnapps.serving.c_session import TensorFlowError

# Where in the graph an error came from, and that it came from several places: names that say nothing to a client.
_PLACES, _SEVERAL = re.compile(r"\s*\[\[\{\{.*"), re.compile(r"\d+ root error\(s\) found\.\s*\(0\) [A-Z_ ]+: ")
_LONGEST = 1000  # characters of TensorFlow's own message that are passed on


class Code(enum.IntEnum):
    """The codes of gRPC, which are TensorFlow's too."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# What TensorFlow Serving's HTTP server makes of them.
HTTP = {
    Code.CANCELLED: 499, Code.UNKNOWN: 500, Code.INVALID_ARGUMENT: 400, Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404, Code.ALREADY_EXISTS: 409, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400, Code.ABORTED: 409, Code.OUT_OF_RANGE: 400, Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500, Code.UNAVAILABLE: 503, Code.DATA_LOSS: 500, Code.UNAUTHENTICATED: 401,
}  # fmt: skip


class ServingError(Exception):
    """What a client did wrong, or what went wrong with its request.

    Args:
        code: For gRPC.
        message: One sentence.
        http: The HTTP status, where `code` has no good one.
    """

    def __init__(self, code: Code, message: str, http: int | None = None):
        super().__init__(message)
        self.code = code
        self.http = http or HTTP[code]


def invalid(message: str) -> ServingError:
    """A request that would fail on every server."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """A model, a version or a label that is not there."""
    return ServingError(Code.NOT_FOUND, message)


def too_late(seconds: float) -> ServingError:
    """A request that took longer than is allowed."""
    return ServingError(Code.DEADLINE_EXCEEDED, f"Timed out: no answer within {seconds:g} seconds (--run-timeout)")


def from_tensorflow(error: TensorFlowError) -> ServingError:
    """What TensorFlow said when a model ran."""
    code = Code(error.code) if error.code in Code._value2member_map_ else Code.UNKNOWN
    return ServingError(code, _PLACES.sub("", _SEVERAL.sub("", str(error)))[:_LONGEST])
