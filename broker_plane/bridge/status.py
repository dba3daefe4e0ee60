"""Health, readiness, metrics and the documents that describe a bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.types import Receive, Scope, Send

from broker_plane import __version__
from broker_plane.bridge.metrics import Metrics
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.ports import Readiness
from broker_plane.web.sending import send_json, send_text

_READY_SECONDS = 0.9
"""A readiness probe is answered within a second, whatever nats-server does."""

_REMEMBER_SECONDS = {200: 2.0, 503: 0.5}
"""By status, how long an answer is reused: a readiness check sends up to 33 requests to nats-server."""

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Check = Callable[[], Awaitable[Readiness]]
Answer = tuple[int, dict[str, Any]]


class StatusRoutes:
    """The routes without a grant."""

    def __init__(self, metrics: Metrics, check: Check) -> None:
        self._metrics = metrics
        self._check = check
        self.skew_seconds = 0.0
        """The clock skew that the last readiness check found."""
        self._remembered: tuple[float, Answer] = (-1.0, (503, {}))
        """When the answer of the last check expires (the loop's clock), and the answer."""
        self._checking = asyncio.Lock()

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"status": "ok"})

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._checking:
            until, answer = self._remembered
            clock = asyncio.get_running_loop().time
            if clock() >= until:
                answer = await self._checked()
                self._remembered = (clock() + _REMEMBER_SECONDS[answer[0]], answer)
        await send_json(send, *answer)

    async def _checked(self) -> Answer:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                ready = await self._check()
        except BrokerPlaneError as error:
            return 503, {"status": "away", "error": str(error)}
        except TimeoutError:
            return 503, {"status": "away", "error": "nats-server does not answer"}
        self.skew_seconds = ready.skew_seconds
        return _readiness(ready)

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_text(send, _METRICS_TYPE, self._metrics.render().encode())

    async def version(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"version": __version__})

    async def document(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_text(send, "application/yaml", _document(scope["path"]))


def _readiness(ready: Readiness) -> Answer:
    """503 if nothing new can be stored or no grant can be opened; a *degraded* bridge keeps serving."""
    stops = [trouble for trouble in ready.troubles if trouble.stops]
    status = "unavailable" if stops else "degraded" if ready.troubles else "ready"
    fields: dict[str, Any] = {
        "status": status,
        "durability": ready.durability,
        "stored_bytes": ready.stored_bytes,
    }
    if ready.troubles:
        fields["troubles"] = [{"code": each.code, "detail": each.detail} for each in ready.troubles]
    if stops:
        fields["error"] = stops[0].detail
    return (503 if stops else 200), fields


@cache
def _document(path: str) -> bytes:
    """The description of the bridge's routes (OpenAPI), or of the plane's subjects (AsyncAPI)."""
    return files(__package__).joinpath(path.removeprefix("/")).read_bytes()
