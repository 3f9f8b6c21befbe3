"""HTTP connections that are cut off when their client is too slow, and errors as JSON whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import http_exceptions, web

from rnnapps.server.status import ServingError, invalid

_IDLE = 75.0  # seconds that a connection may wait for its next request
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def error_body(message: str) -> bytes:
    """The body of an answer that is an error."""
    return json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "replace")


class Connection(web.RequestHandler):
    """aiohttp's connection, with a limit on the time from a request's first byte to the end of its headers.

    Args:
        server: What handles the requests.
        timeout: Seconds.
    """

    def __init__(self, server: web.Server, timeout: float):
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, keepalive_timeout=_IDLE)
        self._timeout = timeout
        self._slow: asyncio.TimerHandle | None = None
        self._is_busy = False

    def data_received(self, data: bytes) -> None:
        if not self._is_busy and self._slow is None:
            self._slow = asyncio.get_running_loop().call_later(self._timeout, self._cut_off)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def begin(self) -> None:
        """A request's headers are complete; its body has a limit of its own, see `read_body`."""
        self._is_busy = True
        self._stop_timer()

    def end(self) -> None:
        """The request is answered: what comes now is the next one."""
        self._is_busy = False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, and to a defect."""
        self._stop_timer()
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if status >= 500:
            self.log_exception("request failed", exc_info=exc)
        first = (message or str(exc) or "").strip().partition("\n")[0].rstrip(":")
        answer = web.Response(status=status, body=error_body(first or "Bad request"), content_type="application/json")
        answer.force_close()
        return answer

    def _stop_timer(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _cut_off(self) -> None:
        self._slow = None
        if self.transport is not None:
            body = error_body(f"The headers did not arrive within {self._timeout:g} seconds")
            head = f"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            self.force_close()


async def read_body(request: web.BaseRequest, limit: int, timeout: float) -> bytes:
    """The body of a request.

    Args:
        request: Its headers were read.
        limit: Bytes, after decompression.
        timeout: Seconds for all of it.

    Raises:
        ServingError: It is too large (413), too slow (408), or no HTTP.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise invalid_with(408, f"The body did not arrive within {timeout:g} seconds") from error
    except (http_exceptions.HttpProcessingError, web.RequestPayloadError) as error:
        raise invalid("The body is not what its headers say") from error
    return bytes(body)


def invalid_with(http: int, message: str) -> ServingError:
    """A bad request with an HTTP status of its own."""
    error = invalid(message)
    error.http = http
    return error


def json_response(content: Any, http: int = 200) -> web.Response:
    """An answer: bytes of JSON as they are, else the JSON of an object."""
    body = content if isinstance(content, bytes) else json.dumps(content, indent=1, ensure_ascii=False).encode()
    return web.Response(status=http, body=body, content_type="application/json")


def _too_large(limit: int) -> ServingError:
    return invalid_with(413, f"The request is larger than {limit} bytes (--max-request-bytes)")
