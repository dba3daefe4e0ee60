"""Clocks that are off: nothing is lost, no used grant opens again, and whoever is off says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from broker_plane import Plane
from broker_plane.broker.connecting import connect
from broker_plane.config import load_settings
from broker_plane.plane.bodies.publish import PublishOrder
from broker_plane.runtime.wiring import wire
from broker_plane.storage.layout import purge
from broker_plane.storage.orphans import NatsOrphans
from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.grant import grant_of, peek
from broker_plane.wire.plane_names import Names
from tests.faults.conftest import Stage
from tests.figures import Figure

pytestmark = pytest.mark.anyio
MINUTE, HOUR, DAY = 60, 3600, 86_400
SKEWS = [-DAY, -HOUR, -20 * MINUTE, -11 * MINUTE, -MINUTE, 9 * MINUTE, 11 * MINUTE, 20 * MINUTE, HOUR, DAY, 365 * DAY]
Skewed = Callable[..., Actor]
NO_BRIDGE = "http://127.0.0.1:1"


def full(step: int) -> Any:
    return pytest.param(step, marks=pytest.mark.full)


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """By how many seconds the processes of `skewed` are ahead."""
    file = tmp_path / "ahead"
    file.write_text("0")
    return file


@pytest.fixture
def skewed(stage: Stage, clock: Path) -> Skewed:
    return partial(stage.run, "tests.faults.skewed", clock)


async def get(url: str) -> Any:
    async with httpx2.AsyncClient() as client:
        return await client.get(url)


async def swept(bridge: str) -> bool:
    return "broker_plane_sweeps_total 1" in (await get(f"{bridge}/metrics")).text


async def begin(actor: Actor, pieces: int) -> None:
    await actor.said()
    for _ in range(pieces):
        actor.tell("on")
        await actor.said()


async def end(actor: Actor) -> Any:
    actor.tell()
    return await actor.said()


async def forget_sweeper(server: NatsServer) -> None:
    """As if the last one had been gone for long."""
    connection = await connect(server.url, timeout=5)
    await connection.api("STREAM.PURGE.KV_bp_grants", {"filter": "$KV.bp_grants.sweeper"})
    await connection.api("STREAM.PURGE.BP_GRANTS_COPY", {"filter": "bp.copy.bp_grants.sweeper"})
    await connection.close()


async def seconds_kept(server: NatsServer, subject: str, stream: str) -> int:
    connection = await connect(server.url, timeout=5)
    answer = await connection.request(f"$JS.API.DIRECT.GET.{stream}.{subject}")
    await connection.close()
    return int((answer.headers or {})["Nats-TTL"].removesuffix("s"))


async def test_a_bridge_whose_clock_is_off_loses_nothing_forgets_nothing_and_says_so(
    own_server: NatsServer, stage: Stage, clock: Path, skewed: Skewed, figure: Figure
) -> None:
    # With a URL of a bridge nobody starts one of its own, which would sweep as well.
    putting = stage.act("publish_lines", 3600, nats_url=own_server.url, bridge_url=NO_BRIDGE)
    await begin(putting, 3)
    said = 0
    used = []
    async with Plane.connect(load_settings(nats_url=own_server.url, bridge_url=NO_BRIDGE)) as plane:
        for skew in SKEWS:
            await forget_sweeper(own_server)
            await anyio.Path(clock).write_text(str(skew))
            process = skewed("broker_plane.cli.bridge", nats_url=own_server.url)
            bridge = (await process.said())["bridge"]
            await until(partial(swept, bridge), "a sweep")
            ready = (await get(f"{bridge}/readyz")).json()
            said += ready["status"] == "degraded" and ready["troubles"][0]["code"] == "clock_skew"
            assert f"broker_plane_clock_skew_seconds {skew}" in (await get(f"{bridge}/metrics")).text
            used.append(grant_of((await plane.publish(b"once", uses=1, ttl=600)).resource_url))
            assert [(await get(f"{bridge}/s2sp/data/{used[-1]}")).status_code for _ in range(2)] == [200, 410]
            assert await seconds_kept(own_server, f"$KV.bp_grants.{peek(used[-1]).id}", "KV_bp_grants") > 600
            process.kill()
        offered = await end(putting)
        bridge = await stage.bridge(own_server)
        assert [(await get(f"{bridge}/s2sp/data/{grant}")).status_code for grant in used] == [410] * len(used)
        assert len(await plane.pull(grant_of(offered["url"]))) == 1_800_000
    figure(
        "clock skew",
        f"{len(SKEWS)} clocks from -1 day to +1 year: 0 lost, 0 opened again, {said} said so",
        aim="0 lost, every bridge that is off says so",
        met=said == len(SKEWS),
    )
    assert said == len(SKEWS)


@pytest.mark.parametrize("step", [-HOUR, 59 * MINUTE, DAY, *map(full, (-DAY, -20 * MINUTE, 20 * MINUTE, 2 * HOUR))])
async def test_a_step_of_the_publishers_clock_during_a_put_shortens_no_chunk(
    nats_server: NatsServer, clock: Path, skewed: Skewed, step: int
) -> None:
    putting = skewed("tests.faults.actor", "publish_lines", 3600, nats_url=nats_server.url, bridge_url=NO_BRIDGE)
    await begin(putting, 2)
    await anyio.Path(clock).write_text(str(step))
    putting.tell("on")
    await putting.said()
    offered = await end(putting)
    body = peek(grant_of(offered["url"])).body
    assert 3600 <= await seconds_kept(nats_server, Names().chunk_subject("local", body), "OBJ_bp_local") <= 3661
    async with Plane.connect(load_settings(nats_url=nats_server.url)) as plane:
        assert len(await plane.pull(grant_of(offered["url"]))) == offered["size"]


@pytest.mark.parametrize("pieces", [2, 3, 8])
async def test_a_put_whose_chunks_are_taken_away_meanwhile_is_not_acknowledged(
    own_server: NatsServer, stage: Stage, pieces: int
) -> None:
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        before = {body.id for body in await plane.bodies.list()}
        connection = plane.wiring.connection
        putting = stage.act("publish_lines", 3600, nats_url=own_server.url)
        await begin(putting, pieces)
        known = {Names().chunk_subject("local", name) for name in before}

        async def chunked() -> set[str]:
            state = await connection.api("STREAM.INFO.OBJ_bp_local", {"subjects_filter": "$O.bp_local.C.>"})
            return set(state["state"].get("subjects") or {}) - known

        (subject,) = await until(chunked, "the first chunk")
        await purge(connection, "local", subject)
        putting.tell("on")
        await putting.said()
        assert (await end(putting))["error"] == "storage"
        assert {body.id for body in await plane.bodies.list()} == before
        left = await connection.api("STREAM.INFO.OBJ_bp_local", {"subjects_filter": subject})
        assert not left["state"].get("subjects")


async def test_a_put_that_a_sweep_took_for_an_orphan_is_refused_at_its_commit(
    own_server: NatsServer, stage: Stage
) -> None:
    from tests.contract.test_sweeping import sweeper

    settings = load_settings(nats_url=own_server.url)
    wiring = await wire(own_server.url, settings)
    try:
        putting = stage.act("publish_lines", 3600, nats_url=own_server.url, bridge_url=NO_BRIDGE)
        await begin(putting, 2)
        await until(lambda: NatsOrphans(wiring.connection).chunked("local"), "the first chunk")
        await sweeper(wiring, -1).sweep()  # as after a step of nats-server's own clock
        putting.tell("on")
        await putting.said()
        assert (await end(putting))["error"] == "storage"
        kept = await wiring.publisher.publish(b"x" * 3_000_000, PublishOrder(ttl=60, uses=0))
        await sweeper(wiring, -1).sweep()
        assert [body.id async for body in wiring.store.list("local")] == [kept.body.id]
    finally:
        await wiring.close()


@pytest.mark.parametrize("skew", [-HOUR, 20 * MINUTE])
async def test_doctor_names_a_clock_that_is_off(
    nats_server: NatsServer, clock: Path, skewed: Skewed, skew: int
) -> None:
    await anyio.Path(clock).write_text(str(skew))
    doctor = skewed("broker_plane.cli.main", "doctor", "--json", nats_url=nats_server.url, bridge_url=NO_BRIDGE)
    assert (await doctor.said())["problem"].startswith("clock_skew")
