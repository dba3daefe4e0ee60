"""Answers to HTTP/1.0, which has no chunked coding (RFC 9112, section 6.1).

An answer without Content-Length ends with its connection. A client can tell a broken answer from a whole one only if a
break is a reset: so the socket is set to reset on close until the last byte is written.
"""

from __future__ import annotations

from typing import Any

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from broker_plane.web.ack_watcher import end_on_close, reset_on_close


def answer_http10(cycle: RequestResponseCycle) -> None:
    """Make `cycle` answer as HTTP/1.0. Call it before its task runs."""
    cycle.waiting_for_100_continue = False  # RFC 9110, section 10.1.1: HTTP/1.0 has no 100
    cycle.send = _CloseDelimited(cycle).send  # type: ignore[assignment,method-assign]  # uvicorn has no hook for this


class _CloseDelimited:
    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send: Any = cycle.send
        self._fileno = cycle.transport.get_extra_info("socket").fileno()
        self._delimited = False

    async def send(self, message: Message) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            self._delimited = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if self._delimited:
                cycle.chunked_encoding = False
                reset_on_close(self._fileno)
        elif self._delimited and not cycle.disconnected:
            cycle.expected_content_length = len(message.get("body", b""))  # expect whatever arrives
            if not message.get("more_body", False):
                end_on_close(self._fileno)
        await self._send(message)
