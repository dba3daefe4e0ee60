"""A bridge that serves bodies of a real nats-server, and what tests ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from broker_plane.bridge.audience import NO_AUDIENCES, Audiences
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.publish import PublishOrder, StoredBody
from broker_plane.runtime.wiring import Wiring
from broker_plane.web.protocol import Limits
from broker_plane.web.server import HttpServer
from tests.bridge.apps import bridge_app, second_wiring, served
from tests.bridge.wire import PATIENCE

ROWS: list[dict[str, Any]] = [
    {"event": "Flood", "severity": 3, "area": "Harris"},
    {"event": "Wind", "severity": 1, "area": "Travis"},
    {"event": "Heat", "severity": 2, "area": "Bexar"},
]


@dataclass
class Bridge:
    """A bridge that runs. `client` keeps no connection, so that every request of it has one of its own."""

    wiring: Wiring
    server: HttpServer
    client: httpx2.AsyncClient
    others: list[HttpServer] = field(default_factory=list)
    """Further bridges of the same plane; requests go to all of them by turns."""
    _turn: int = 0

    @property
    def url(self) -> str:
        """The bridge whose turn it is: no test may depend on which one answers."""
        servers = [self.server, *self.others]
        self._turn += 1
        return servers[self._turn % len(servers)].url

    @property
    def port(self) -> int:
        return self.server.port

    async def publish(
        self, data: Any, *, uses: int = 0, ttl: int = 60, name: str = "", media_type: str = ""
    ) -> StoredBody:
        return await self.wiring.publisher.publish(
            data, PublishOrder(ttl=ttl, uses=uses, name=name, media_type=media_type)
        )

    async def get(self, published: StoredBody, query: str = "", **headers: str) -> httpx2.Response:
        return await self.request("GET", published, query, b"", **headers)

    async def get_settled(self, published: StoredBody, **headers: str) -> httpx2.Response:
        """As `get`, once nobody else holds the grant: how a delivery ended is noticed a moment after its end."""
        async with asyncio.timeout(PATIENCE):
            while (answer := await self.get(published, **headers)).status_code == 409:
                pass
            return answer

    async def request(
        self, method: str, published: StoredBody, query: str = "", content: bytes = b"", **headers: str
    ) -> httpx2.Response:
        """Header names are written with _ for -."""
        fields = {"accept-encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/s2sp/data/{published.grant}{query}"
        return await self.client.request(method, url, headers=fields, content=content)

    async def post(
        self, published: StoredBody, content: bytes = b"", suffix: str = "", **headers: str
    ) -> httpx2.Response:
        return await self.request("POST", published, suffix, content, **headers)

    async def open(self, path: str, method: str = "GET") -> httpx2.Response:
        return await self.client.request(method, self.server.url + path)


@asynccontextmanager
async def serving_bodies_by_turns(wiring: Wiring) -> AsyncIterator[Bridge]:
    """Two bridges that share nothing but the nats-server."""
    async with second_wiring(wiring) as second, serving_bodies(wiring) as bridge, serving_bodies(second) as other:
        bridge.others.append(other.server)
        yield bridge


@asynccontextmanager
async def serving_bodies(
    wiring: Wiring, *, cache_bytes: int = 64 << 20, audiences: Audiences = NO_AUDIENCES, **limits: float
) -> AsyncIterator[Bridge]:
    cache = CachingBodyStore(wiring.store, cache_bytes)
    app = bridge_app(
        Deliveries.of(cache, wiring.grants, wiring.broker), wiring.broker.ready, audiences=audiences, cache=cache
    )
    tracking = app.tracking(Limits(**limits))  # type: ignore[arg-type]  # all but one are float
    async with served(app, tracking) as (server, client):
        yield Bridge(wiring, server, client)
