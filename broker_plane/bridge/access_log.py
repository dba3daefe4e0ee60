"""One log line a request. It holds the route and never the path: on the data route, the path is the grant."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_plane.bridge.routes import route_of
from broker_plane.logs import FIELDS
from broker_plane.plane.redacted_logs import redacted_logger

log = redacted_logger("broker_plane.access")


class AccessLog:
    """Wraps an ASGI application; plain ASGI, because a task and a queue a request cost more than the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        line = _Line(scope)

        async def counted(message: Message) -> None:
            await send(message)
            line.count(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            line.write()


class _Line:
    """What is known of one answer; written at its last byte, and not when its reader has confirmed it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
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
        route = route_of(self._scope["path"])
        milliseconds = (time.perf_counter() - self._started) * 1e3
        method = self._scope.get("method", "GET")
        fields = {
            "client": client[0],
            "method": method,
            "path": route,
            "status": self._status,
            "bytes": self._size,
            "ms": round(milliseconds, 1),
        }
        log.info('%s "%s %s" %d %d %.1fms', *fields.values(), extra={FIELDS: fields})
