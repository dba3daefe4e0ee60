"""One log line a request. It holds the route and never the path: on the data route, the path is the grant."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_plane.bridge.routes import route_of

log = logging.getLogger("broker_plane.access")


class AccessLog:
    """Wraps an ASGI application; plain ASGI, because a task and a queue a request cost more than the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        status, size, started = 0, 0, time.perf_counter()

        async def counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                _write(scope, status, size, started)

        await self._app(scope, receive, counted)


def _write(scope: Scope, status: int, size: int, started: float) -> None:
    client = scope.get("client") or ("-",)
    milliseconds = (time.perf_counter() - started) * 1e3
    log.info(
        '%s "%s %s" %d %d %.1fms',
        client[0],
        scope["method"],
        route_of(scope["path"]),
        status,
        size,
        milliseconds,
    )
