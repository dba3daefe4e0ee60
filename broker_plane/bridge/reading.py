"""The routes with which a holder reads on in a body: `/read` and `/describe` (docs/reading.md). They cost no use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.bridge.routing import Feature, RouteEndpoint
from broker_plane.errors import WireError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Opened
from broker_plane.web.delivery import delivery_of
from broker_plane.web.request import json_object, read_body
from broker_plane.web.sending import send_json
from broker_plane.wire import urls

if TYPE_CHECKING:
    from broker_plane.plane.bodies.readings import Readings


class ReadingRoutes:
    """Reads and descriptions of bodies."""

    def __init__(self, deliveries: Deliveries, access: RequestAccess) -> None:
        self._deliveries = deliveries.via("http")
        self._access = access
        self._readings: Readings | None = None

    def feature(self) -> Feature:
        """The routes."""
        verbs = {"read": self.read, "describe": self.describe}
        return Feature(
            endpoints=[
                RouteEndpoint(
                    path=f"{urls.DATA}{{grant}}/{verb}", name=f"{urls.DATA}…/{verb}", methods={"POST": handler}
                )
                for verb, handler in verbs.items()
            ]
        )

    async def read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"page" | "rows" | "head" | "tail" | "grep" | "json_path", "columns", "max_tokens"}` in; a part as text
        out.
        """
        async with self._admitted(scope) as opened:
            readings = await self._ready()
            request = readings.request(await _fields(scope, receive))
            answer = await delivery_of(scope).unless_left(readings.read(opened, request))
            await send_json(send, 200, answer.to_wire())

    async def describe(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{}` in; what the body is out."""
        async with self._admitted(scope) as opened:
            if await _fields(scope, receive):
                raise WireError("A description has no options; send an empty JSON object")
            readings = await self._ready()
            described = await delivery_of(scope).unless_left(readings.describe(opened))
            await send_json(send, 200, described.to_wire())

    async def _ready(self) -> Readings:
        """The readings, which are imported with the first request, in a thread: a bridge starts without them."""
        if self._readings is None:
            readings = await asyncio.to_thread(_readings)
            self._readings = self._readings or readings(self._deliveries)
        return self._readings

    @asynccontextmanager
    async def _admitted(self, scope: Scope) -> AsyncIterator[Opened]:
        opened = await self._deliveries.open(grant_of(scope), self._access.who(scope), delivery_of(scope).connection)
        async with self._access.admission.requests.place(opened.payer):
            yield opened


def _readings() -> type[Readings]:
    from broker_plane.plane.bodies.readings import Readings

    return Readings


async def _fields(scope: Scope, receive: Receive) -> dict[str, Any]:
    return json_object(await read_body(scope, receive)) or {}
