"""One holder's requests, against everybody else: a bystander's probes and pulls go on whatever is asked."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
import pytest

from broker_plane import Plane, Published
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError, RateLimitedError, TooCostlyError
from broker_plane.runtime.pulls import Via
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.presigned import PullRequest
from broker_plane.wire.selector import WHOLE
from tests.faults import hostile_requests as hostile
from tests.faults.bystander import Seen, watched
from tests.faults.conftest import Stage
from tests.figures import Figure

pytestmark = pytest.mark.anyio
WORST_PROBE = 2.5
"""Seconds. The aim is a tenth of it, on a machine of its own."""

WORST_GROWTH = 160 << 20
AT_ONCE = 12
REFUSED = {"bad_request", "bad_selector", "too_large", "rate_limited", "lease_lost"}


@dataclass
class Attacked:
    """A bridge process, and who attacks it with grants for bodies that were published here."""

    server: NatsServer
    stage: Stage
    bridge: str
    pid: int

    @asynccontextmanager
    async def plane(self) -> AsyncIterator[Plane]:
        settings = load_settings(nats_url=self.server.url, bridge_url=self.bridge, request_timeout_seconds=60)
        async with Plane.connect(settings) as plane:
            yield plane

    @asynccontextmanager
    async def watched(self, figure: Figure, what: str) -> AsyncIterator[Seen]:
        async with watched(self.stage, nats_url=self.server.url, bridge=self.bridge, pid=self.pid) as seen:
            yield seen
        seen.tell(figure, what)
        assert seen.failed == []
        assert seen.worst_probe < WORST_PROBE
        assert seen.worst_ready < WORST_PROBE
        assert seen.grown < WORST_GROWTH

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def attacked(root: Path, **settings: object) -> AsyncIterator[Attacked]:
    server, stage = NatsServer(root), Stage()
    server.start()
    try:
        actor = stage.run("broker_plane.cli.bridge", nats_url=server.url, **settings)
        yield Attacked(server, stage, (await actor.said())["bridge"], actor.pid)
    finally:
        stage.close()
        server.stop()


@pytest.fixture(scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attacked]:
    async with attacked(tmp_path_factory.mktemp("attacked")) as bridge:
        yield bridge


def rows(count: int) -> Iterator[dict[str, Any]]:
    return ({"n": number, "text": f"row {number}"} for number in range(count))


async def publish(plane: Plane, count: int) -> Published:
    return await plane.publish(rows(count), uses="unlimited", ttl=3600)


async def test_no_request_over_nats_stops_the_bridge_for_others(target: Attacked, figure: Figure) -> None:
    async with target.plane() as plane:
        body = await publish(plane, 1_000)
        url, pull = target.server.url, f"{body.subject}.hostile"
        confirm = pull.replace("bp.pull.", "bp.confirm.")
        first, *_ = hostile.PULLS.values()
        async with target.watched(figure, "hostile requests over NATS"):
            answers = await hostile.ask_at_once(url, pull, [first()] * AT_ONCE)
            for name, make in hostile.PULLS.items():
                again = await hostile.ask_at_once(url, pull, [make()])
                assert all(_refused_or_answered(answer) for answer in again), (name, again)
            for make in hostile.CONFIRMATIONS.values():
                answers += await hostile.ask_at_once(url, confirm, [make()])
        assert {answer["error"]["code"] for answer in answers} <= REFUSED


def _refused_or_answered(answer: dict[str, Any]) -> bool:
    """Members that nobody knows are ignored, as ever."""
    return "info" in answer or answer["error"]["code"] in REFUSED


async def test_no_request_body_stops_the_bridge_for_others(target: Attacked, figure: Figure) -> None:
    async with target.plane() as plane:
        body = await publish(plane, 1_000)
        async with target.watched(figure, "hostile request bodies over HTTP"):
            suffix, make = next(iter(hostile.BODIES.values()))
            assert set(await hostile.post_at_once(body.resource_url + suffix, [make()] * AT_ONCE)) == {400}
            for name, (suffix, make) in hostile.BODIES.items():
                statuses = await hostile.post_at_once(body.resource_url + suffix, [make()])
                assert set(statuses) <= {200, 400, 413, 429}, (name, statuses)


@pytest.mark.parametrize("count", [30_000, pytest.param(1_000_000, marks=pytest.mark.full)])
async def test_no_where_stops_the_bridge_for_others(target: Attacked, figure: Figure, count: int) -> None:
    async with target.plane() as plane:
        body = await publish(plane, count)
        async with target.watched(figure, f"twelve costly wheres over {count:,} rows"):
            found = await asyncio.gather(*(_looked(plane, body, where) for where in hostile.WHERES.values()))
        assert any(type(count) is int for count in found)


async def _looked(plane: Plane, body: Published, where: str) -> int | str:
    try:
        return (await plane.preview(plane.narrow(body.resource_url, where=where).resource_url)).count
    except BrokerPlaneError as error:
        assert error.code in ("rate_limited", "too_costly")
        return error.code


@pytest.mark.parametrize("via", ["http", pytest.param("nats", marks=pytest.mark.full)])
async def test_nine_hundred_thousand_row_ids_may_be_asked_for(target: Attacked, figure: Figure, via: Via) -> None:
    count = 900_000
    async with target.plane() as plane:
        body = await plane.publish(({"n": number} for number in range(count + 1)), uses="unlimited", ttl=3600)
        asked = [*range(count - 1, -1, -1)]
        async with target.watched(figure, f"900,000 row_ids over {via}"):
            pulled = await plane.pull(body.resource_url, row_ids=asked, via=via)
        assert [row["n"] for row in pulled] == asked


async def test_the_grant_of_a_live_stream_takes_no_places_of_pulls(target: Attacked, figure: Figure) -> None:
    async with target.plane() as plane, plane.streams.publish(ttl=600) as stream:
        subject = f"bp.pull.{stream.grant}.hostile"
        # Of one and the same request the bridge would answer only the last: each is another.
        requests = (PullRequest(f"{number:022d}", WHOLE, after=0).pack() for number in count())
        async with target.watched(figure, "a live stream asked 400 times a second") as seen:
            codes = await hostile.ask_at_rate(target.server.url, subject, requests, a_second=400, seconds=2.5)
        assert seen.worst_pull < WORST_PROBE
        assert codes["rate_limited"] > 500
        await stream.send({"n": 1})
        assert await _first(plane, stream.resource_url) == (1, {"n": 1})  # once the hostile waits are over


async def _first(plane: Plane, url: str) -> tuple[int, Any]:
    async def first() -> tuple[int, Any] | None:
        try:
            async for item in plane.pulls.follow(url):
                return item
        except RateLimitedError:
            pass
        return None

    found: tuple[int, Any] = await until(first, "the reader's turn", seconds=30)
    return found


async def test_sealing_ten_thousand_grants_leaves_the_loop_to_others(
    tmp_path: Path, nats_server: NatsServer, figure: Figure
) -> None:
    """The bridge is of this process, as a server's own is."""
    stage = Stage()
    try:
        async with Plane.connect(load_settings(nats_url=nats_server.url, data_dir=tmp_path)) as plane:
            body = (await plane.publish(b"body", ttl=600)).body
            async with watched(stage, nats_url=nats_server.url, bridge=plane.bridge_url, pid=os.getpid()) as seen:
                made = await plane.grants.mint_many(body.id, 10_000)
        assert len({url for _, url in made}) == 10_000
        seen.tell(figure, "10,000 grants sealed")
        assert seen.failed == []
        assert seen.worst_probe < WORST_PROBE
    finally:
        stage.close()


async def test_looks_of_an_unlimited_grant_are_rate_limited_and_its_pulls_are_not(tmp_path: Path) -> None:
    async with attacked(tmp_path, max_scan_cpu_seconds=0.2) as bridge, bridge.plane() as plane:
        body = await publish(plane, 30_000)
        wheres = iter(f"n in ({','.join(str(number) for number in range(start, start + 20))})" for start in range(1000))
        with pytest.raises(RateLimitedError) as refused:
            while True:
                await plane.preview(plane.narrow(body.resource_url, where=next(wheres)).resource_url)
        assert refused.value.retry_after
        async with httpx2.AsyncClient(trust_env=False) as client:
            less = plane.narrow(body.resource_url, where=next(wheres)).resource_url
            answer = await client.get(less)
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert int(answer.headers["retry-after"]) >= 1
            assert len((await client.get(body.resource_url)).json()) == 30_000
        other = await publish(plane, 10)
        assert (await plane.preview(plane.narrow(other.resource_url, columns=["n"]).resource_url, sample=1)).count == 10


async def test_a_pass_that_takes_too_long_is_refused_by_name(tmp_path: Path) -> None:
    async with attacked(tmp_path, max_scan_cpu_seconds=0.05) as bridge, bridge.plane() as plane:
        body = await publish(plane, 100_000)
        less = plane.narrow(body.resource_url, where=hostile.WHERES["many comparisons, or"])
        with pytest.raises(TooCostlyError, match="Name fewer rows"):
            await plane.preview(less.resource_url)
        assert len(await plane.pull(body.resource_url, row_ids=[1, 2])) == 2


@pytest.mark.parametrize("reset", [False, pytest.param(True, marks=pytest.mark.full)], ids=["closed", "reset"])
async def test_a_pass_ends_when_its_reader_leaves(target: Attacked, reset: bool) -> None:
    wheres = list(hostile.WHERES.values())[1:9]
    async with target.plane() as plane:
        body = await publish(plane, 60_000)
        staying = await _cpu_of(target, [_looked(plane, body, where) for where in wheres])
        other = await publish(plane, 60_000)
        urls = [plane.narrow(other.resource_url, where=where).resource_url for where in wheres]
        leaving = await _cpu_of(target, [_ask_and_leave(url, reset=reset) for url in urls])
        assert leaving < staying / 2, (leaving, staying)


async def _cpu_of(target: Attacked, asked: list[Coroutine[Any, Any, Any]]) -> float:
    """CPU seconds that the bridge spends on these, one after the other, and until it is idle again."""
    before = target.cpu_seconds()
    for each in asked:
        await each
    await until(lambda: _idle(target), "the bridge to be idle", seconds=60)
    return target.cpu_seconds() - before


async def _ask_and_leave(url: str, *, reset: bool) -> None:
    where = httpx2.URL(url)
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(f"GET {where.path} HTTP/1.1\r\nHost: {where.host}\r\n\r\n".encode())
    await writer.drain()
    with anyio.move_on_after(0.05):
        await reader.read(1)
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _idle(target: Attacked) -> bool:
    before = target.cpu_seconds()
    await anyio.sleep(0.3)
    return target.cpu_seconds() - before < 0.1


async def test_a_reader_of_a_live_stream_finds_its_places_limited_and_others_theirs(target: Attacked) -> None:
    client = httpx2.AsyncClient(trust_env=False, timeout=30)
    async with (
        client,
        target.plane() as plane,
        plane.streams.publish(ttl=600) as one,
        plane.streams.publish(ttl=600) as other,
    ):
        open_ones = [await _opened(client, one.resource_url) for _ in range(8)]
        try:
            refused = await client.get(one.resource_url)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            neighbour = await _opened(client, other.resource_url)
            assert neighbour.status_code == 200
            await neighbour.aclose()
        finally:
            for answer in open_ones:
                await answer.aclose()


async def _opened(client: httpx2.AsyncClient, url: str) -> httpx2.Response:
    return await client.send(client.build_request("GET", url), stream=True)


async def test_a_request_that_is_too_large_is_refused_alike_on_both_ways(target: Attacked) -> None:
    async with target.plane() as plane:
        body = await publish(plane, 10)
        large = hostile.PULLS["row_ids of 7.9 million empty arrays"]()
        (answer,) = await hostile.ask_at_once(target.server.url, f"{body.subject}.hostile", [large])
        assert answer["error"]["code"] == "too_large"
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            for suffix, size in (
                ("", (8 << 20) + 1),
                ("/look", (64 << 10) + 1),
                ("/page", 1 << 20),
                ("/confirm", 1 << 20),
            ):
                refused = await client.post(body.resource_url + suffix, content=b" " * size)
                assert (refused.status_code, refused.json()["code"]) == (413, "too_large"), suffix
