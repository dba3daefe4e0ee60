"""Writes one log line per request, with the route instead of the path: on most routes the path contains the grant.

Requests over NATS get the same line, with the subject's name instead of the path and `NATS` as the method.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_plane.logs import FIELDS
from broker_plane.plane.redacted_logs import redacted_logger

log = redacted_logger("broker_plane.access")

RouteName = Callable[[Scope], str]
"""Returns the name of the route that answered a request; never a part of its path."""


def log_request(client: str, method: str, route: str, status: int, size: int, seconds: float) -> None:
    """Write the line of one request; `size` is in bytes."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields = {
        "client": client,
        "method": method,
        "path": route,
        "status": status,
        "bytes": size,
        "ms": round(seconds * 1e3, 1),
    }
    log.info('%s "%s %s" %d %d %.1fms', *fields.values(), extra={FIELDS: fields})


class AccessLog:
    """Wraps an ASGI application; plain ASGI, because a task and a queue per request cost more than the request."""

    def __init__(self, app: ASGIApp, route_name: RouteName) -> None:
        self._app = app
        self._route_name = route_name

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        unlogged = scope["type"] == "lifespan" or not log.isEnabledFor(logging.INFO)
        return (self._app if unlogged else self._logged)(scope, receive, send)

    async def _logged(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = _Line(scope, self._route_name)

        async def counted(message: Message) -> None:
            await send(message)
            line.count(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            line.write()


class _Line:
    """The facts of one answer. It is written at the answer's last byte, and not when its reader has confirmed it."""

    def __init__(self, scope: Scope, route_name: RouteName) -> None:
        self._scope = scope
        self._route_name = route_name
        self._started = time.perf_counter()
        self._status = 0
        self._size = 0
        self._written = False

    def count(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._status = message["status"]
        elif kind == "websocket.accept":
            self._status = 101
        else:
            self._size += len(message.get("body", b"") or message.get("text", ""))
            if not (message.get("more_body", False) or kind == "websocket.send"):
                self.write()

    def write(self) -> None:
        if self._written:
            return
        self._written = True
        client = self._scope.get("client") or ("-",)
        method, seconds = self._scope.get("method", "GET"), time.perf_counter() - self._started
        log_request(client[0], method, self._route_name(self._scope), self._status, self._size, seconds)
