"""The HTTP client's transport for a server that nobody vouches for: its answers are bounded, and its breaks answered.

The SDK's transport reads an answer of JSON whole, and ends with the first connection that breaks.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx2

from broker_plane.client.capped import Expander, in_time
from broker_plane.errors import WrongCompressionError

log = logging.getLogger(__name__)

_EVENTS = "text/event-stream"
_CODED = ("content-encoding", "content-length", "transfer-encoding")


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Around another transport: an answer has at most `most` bytes once decoded, but for event streams, whose reader
    bounds each event; its head comes within `seconds`. A server that cannot be reached is a 502.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, most: int, seconds: float) -> None:
        self._inner = inner
        self._most = most
        self._seconds = seconds

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"
        try:
            async with in_time(self._seconds):
                response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            log.warning("The server cannot be reached: %s", type(error).__name__)
            return httpx2.Response(502, request=request)
        streams = response.headers.get("content-type", "").partition(";")[0].strip().lower() == _EVENTS
        return httpx2.Response(
            response.status_code,
            headers=[(name, value) for name, value in response.headers.multi_items() if name.lower() not in _CODED],
            stream=_Bounded(response, None if streams else self._most),
            request=request,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """The decoded body of a response, of at most `most` bytes.

    What is wrong with it is a StreamError, which the SDK answers.
    """

    def __init__(self, response: httpx2.Response, most: int | None) -> None:
        self._response = response
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for piece in decoded(self._response):
                size += len(piece)
                if self._most is not None and size > self._most:
                    raise httpx2.StreamError(f"The answer has more than {self._most} bytes (BROKER_PLANE_LINE_BYTES)")
                yield piece
        except (httpx2.TransportError, WrongCompressionError) as error:
            raise httpx2.StreamError(f"The answer broke off: {error}") from error

    async def aclose(self) -> None:
        await self._response.aclose()


async def decoded(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The pieces of a body without its compression, each of a bounded size.

    Raises:
        WrongCompressionError. httpx2.TransportError.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    expander = None if coding in ("identity", "") else Expander(coding)
    async for raw in response.aiter_raw():
        for piece in (raw,) if expander is None else expander.expand(raw):
            yield piece
