"""Bodies that a hostile resource server wrote into its own bucket: each is refused by name, in time and in memory.

A real bridge process is asked for each in every view and on both ways, while somebody asks for its health.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import anyio
import httpx2
import pyarrow
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.testing.processes import memory, peak_memory
from broker_plane.testing.server import NatsServer
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.plane_names import Names
from tests.faults.conftest import Stage
from tests.faults.hostile_bodies import Hostile, hostile_bodies
from tests.figures import Figure

pytestmark = pytest.mark.anyio
AIM_SECONDS, AIM_BYTES = 2.0, 64 << 20
BOUND_SECONDS = 10 * AIM_SECONDS
VIEWS = ("application/json", "application/x-ndjson", "text/csv", "application/msgpack", ROWS_TYPE)
SHOWN = {"application/json", "application/x-ndjson", "text/csv", "s2sp", "look", "page"}
"""Ways on which the bridge decodes whatever it shows. On the others some of it passes as it is, for its consumer."""


@dataclass
class Asked:
    """What came of asking for one body in every way."""

    ways: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    """By way, the code."""

    slowest: float = 0.0
    slowest_way: str = ""


class Battery:
    """A bridge, a plane that pulls from it, and a wiring that writes below the store."""

    def __init__(self, wiring: Wiring, plane: Plane, bridge: str) -> None:
        self._wiring = wiring
        self._plane = plane
        self._bridge = bridge
        self._client = httpx2.AsyncClient(timeout=BOUND_SECONDS)

    async def put(self, made: Hostile, number: int) -> str:
        """Store it, and return a grant for it."""
        info = await made.put(self._store, "local", number)
        return await self._wiring.grants.minting.mint(info, uses=0)

    async def _store(self, subject: str, data: bytes) -> int:
        return await self._wiring.connection.store(subject, data)

    async def ask(self, grant: str, count: int = 0, first: int = 0) -> Asked:
        """Ask in `count` ways, beginning with the one of this number; 0 is all of them."""
        ways = list(self._ways(grant).items())
        chosen = [ways[(first + step) % len(ways)] for step in range(count or len(ways))]
        asked = Asked()
        for way, ask in chosen:
            await self._note(asked, way, ask())
        return asked

    def _ways(self, grant: str) -> dict[str, Callable[[], Awaitable[Any]]]:
        url = f"{self._bridge}/s2sp/data/{grant}"
        return {
            **{view: partial(self._http, "GET", grant, headers={"accept": view}) for view in VIEWS},
            "narrowed rows": partial(self._narrowed, grant, "", rows="0"),
            "where": partial(self._narrowed, grant, "", where="c is null"),
            "s2sp": partial(self._http, "POST", grant, json={"row_ids": [0]}),
            "look": partial(self._http, "POST", grant, "/look", json={"sample": 100}),
            "page": partial(self._http, "POST", grant, "/page", json={"limit": 100_000}),
            "pull http": partial(self._plane.pull, url),
            "pull nats": partial(self._plane.pull, Names().pull_subject(grant)),
            "cut nats": partial(self._plane.pull, Names().pull_subject(grant), row_ids=[0]),
        }

    async def _narrowed(self, grant: str, suffix: str, **caveats: Any) -> None:
        url = self._plane.narrow(f"{self._bridge}/s2sp/data/{grant}", **caveats).resource_url
        await self._http("GET", url.rpartition("/")[2], suffix, headers={"accept": ROWS_TYPE})

    async def _note(self, asked: Asked, way: str, asking: Any) -> None:
        began = monotonic()
        asked.ways.append(way)
        try:
            await asking
        except BrokerPlaneError as error:
            asked.refusals[way] = error.code
        took = monotonic() - began
        if took > asked.slowest:
            asked.slowest, asked.slowest_way = took, way

    async def _http(self, method: str, grant: str, suffix: str = "", **more: Any) -> None:
        """Raises what the bridge refused, or where the body broke off, as the code `broken`."""
        url = f"{self._bridge}/s2sp/data/{grant}{suffix}"
        try:
            async with self._client.stream(method, url, **more) as answer:
                if answer.status_code >= 400:
                    told = await answer.aread()
                    assert answer.status_code != 500, told
                    refused = BrokerPlaneError(told.decode())
                    refused.code = answer.json()["code"]
                    raise refused
                async for _ in answer.aiter_raw():
                    pass
        except httpx2.RemoteProtocolError as error:
            broken = BrokerPlaneError(str(error))
            broken.code = "broken"
            raise broken from error

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[list[float]]:
        """How long /healthz took, again and again, during the block."""
        times: list[float] = []

        async def ask() -> None:
            async with httpx2.AsyncClient(timeout=BOUND_SECONDS) as client:
                while True:
                    began = monotonic()
                    assert (await client.get(f"{self._bridge}/healthz")).status_code == 200
                    times.append(monotonic() - began)
                    await anyio.sleep(0.02)

        task = asyncio.create_task(ask())
        try:
            yield times
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        await self._client.aclose()


@pytest.mark.parametrize("ways", [2, pytest.param(0, marks=pytest.mark.full)])
async def test_no_hostile_body_takes_the_bridge_or_its_consumer_with_it(
    own_server: NatsServer, stage: Stage, figure: Figure, ways: int
) -> None:
    url = await stage.bridge(own_server, cache_bytes=0)  # the cache has a bound of its own
    pid = stage.last.pid
    settings = load_settings(nats_url=own_server.url, bridge_url=url)
    wiring = await wire(own_server.url, settings)
    made = hostile_bodies()
    asked: dict[str, Asked] = {}
    async with Plane.connect(settings) as plane:
        battery = Battery(wiring, plane, url)
        honest = await plane.publish([{"c": None, "text": "x" * 500} for _ in range(20_000)], uses="unlimited")
        table = await plane.publish(pyarrow.table({"c": pyarrow.array([1.5, None])}), uses="unlimited")
        assert (await battery.ask(honest.grant)).refusals == (await battery.ask(table.grant)).refusals == {}
        before, own = peak_memory(pid), memory()["VmRSS"]
        async with battery.watched() as times:
            for number, (name, body) in enumerate(made.items()):
                asked[name] = await battery.ask(await battery.put(body, number), ways, number)
        grown, own_grown = peak_memory(pid) - before, memory()["VmRSS"] - own
        listed = {body.id for body in await plane.bodies.list()}
        assert (await battery.ask(honest.grant)).refusals == {}
        await battery.close()
    await wiring.close()

    assert honest.body.id in listed
    for name, said in asked.items():
        assert not {"error", "internal"} & set(said.refusals.values()), (name, said)
        assert set(said.refusals) >= SHOWN & set(said.ways), (name, said)
        assert said.slowest < BOUND_SECONDS, (name, said)
    slowest = max(asked.values(), key=lambda said: said.slowest).slowest
    figure(
        f"bombs: {len(made)} hostile bodies in {ways or 13} ways each",
        f"slowest refusal {slowest:.2f} s, bridge +{grown >> 20} MB, consumer +{own_grown >> 20} MB, "
        f"/healthz at most {max(times):.2f} s",
        aim="refused in < 2 s and + 64 MB",
        met=slowest < AIM_SECONDS and grown <= AIM_BYTES,
    )
    assert grown <= 2 * AIM_BYTES
    assert max(times) < BOUND_SECONDS
