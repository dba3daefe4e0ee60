"""The routes with which a holder reads on in a body: `/read` and `/describe` (docs/reading.md). They cost no use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.errors import WireError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.readings import Readings
from broker_plane.plane.grants.grants import Opened
from broker_plane.web.delivery import delivery_of
from broker_plane.web.request import json_object, read_body
from broker_plane.web.sending import send_json


class ReadingRoutes:
    """Reads and descriptions of bodies."""

    def __init__(self, deliveries: Deliveries, access: RequestAccess) -> None:
        self._deliveries = deliveries
        self._access = access
        self._readings = Readings(self._deliveries)

    async def read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"page" | "rows" | "head" | "tail" | "grep" | "json_path", "columns", "max_tokens"}` in; a part as text
        out.
        """
        async with self._admitted(scope) as opened:
            request = self._readings.request(await _fields(scope, receive))
            answer = await delivery_of(scope).unless_left(self._readings.read(opened, request))
            await send_json(send, 200, answer.to_wire())

    async def describe(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{}` in; what the body is out."""
        async with self._admitted(scope) as opened:
            if await _fields(scope, receive):
                raise WireError("A description has no options; send an empty JSON object")
            described = await delivery_of(scope).unless_left(self._readings.describe(opened))
            await send_json(send, 200, described.to_wire())

    @asynccontextmanager
    async def _admitted(self, scope: Scope) -> AsyncIterator[Opened]:
        opened = await self._deliveries.open(grant_of(scope), self._access.who(scope), delivery_of(scope).connection)
        async with self._access.admission.requests.place(opened.payer):
            yield opened


async def _fields(scope: Scope, receive: Receive) -> dict[str, Any]:
    return json_object(await read_body(scope, receive)) or {}
