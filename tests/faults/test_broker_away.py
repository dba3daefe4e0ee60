"""nats-server is away: everybody says so in bounded time, nothing is half-stored, and all is well when it is back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from broker_plane import Plane
from broker_plane.broker.client import NatsClient
from broker_plane.broker.connection import Connection
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerUnavailableError, ConfigError
from broker_plane.runtime.wiring import wire
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from tests.faults.actor import digest_of
from tests.faults.conftest import Home, Stage
from tests.faults.http_reader import get

pytestmark = pytest.mark.anyio
BOUND_SECONDS = 30
BODY = os.urandom(3_000_000)


@pytest.fixture
async def bridge(own_server: NatsServer, stage: Stage) -> str:
    return await stage.bridge(own_server)


@pytest.fixture
def settings(own_server: NatsServer, bridge: str) -> Settings:
    return load_settings(nats_url=own_server.url, bridge_url=bridge)


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as plane:
        yield plane


def kill(server: NatsServer) -> None:
    server.kill()


def stop(server: NatsServer) -> None:
    server.stop()


async def connected(plane: Plane) -> None:
    """The plane answers again, without anybody having done anything for it."""

    async def answers() -> bool:
        with suppress(BrokerUnavailableError):
            return bool(await plane.health.ready())
        return False

    await until(answers, "the plane to be connected again")


async def ready(bridge: str, status: int) -> None:
    async def says() -> bool:
        return (await get(f"{bridge}/readyz")).status == status

    await until(says, f"/readyz to say {status}")


@pytest.mark.parametrize("end", [kill, stop])
async def test_a_bridge_says_503_while_it_is_away_and_serves_again_when_it_is_back(
    plane: Plane, bridge: str, own_server: NatsServer, end: Callable[[NatsServer], None]
) -> None:
    published = await plane.publish(BODY, uses=2)
    end(own_server)
    await ready(bridge, 503)
    answer = await get(published.resource_url)
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await get(f"{bridge}/healthz")).status == 200

    own_server.start()
    await ready(bridge, 200)
    assert digest_of(await plane.pull(published.resource_url, via="http")) == published.body.digest
    assert digest_of(await plane.pull(published.resource_url, via="nats")) == published.body.digest


async def test_a_bridge_that_never_saw_the_grants_key_says_503_and_not_that_the_grant_is_unknown(
    plane: Plane, own_server: NatsServer
) -> None:
    url = (await plane.publish(BODY, uses="unlimited")).resource_url
    own_server.kill()
    answers = await asyncio.gather(*(get(url) for _ in range(5)))
    assert {answer.status for answer in answers} == {503}


async def test_a_publish_and_a_pull_say_that_it_is_away(plane: Plane, own_server: NatsServer) -> None:
    url = (await plane.publish(BODY)).resource_url
    before = await plane.bodies.list()
    own_server.kill()
    with anyio.fail_after(BOUND_SECONDS):
        for work in (plane.publish(BODY), plane.publish(b"small"), plane.bodies.list(), plane.health.ready()):
            with pytest.raises(BrokerUnavailableError):
                await work
        pulls = (plane.pull(url, via=via) for via in ("http", "nats"))
        for error in await asyncio.gather(*pulls, return_exceptions=True):
            assert isinstance(error, BrokerUnavailableError)
    own_server.start()
    await connected(plane)
    assert await plane.bodies.list() == before


async def test_a_plane_connects_to_a_server_that_is_just_starting_and_not_to_one_that_never_does(
    settings: Settings, own_server: NatsServer
) -> None:
    own_server.kill()
    hasty = replace(settings, request_timeout_seconds=0.5)
    with anyio.fail_after(BOUND_SECONDS), pytest.raises(BrokerUnavailableError):
        async with Plane.connect(hasty):
            pass
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, own_server.start)
        async with Plane.connect(settings) as plane:
            await plane.publish(BODY)


async def test_a_wrong_password_is_said_at_once_and_not_tried_again_and_again(home: Home) -> None:
    wrong = re.sub("plane:[^@]+@", "plane:wrong@", home.running().nats_url)
    with anyio.fail_after(BOUND_SECONDS), pytest.raises(ConfigError, match="refused"):
        async with Plane.connect(load_settings(nats_url=wrong)):
            pass


async def is_stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]  # noqa: ASYNC240  # in memory
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[Connection]:
    wiring = await wire(settings.nats_url, settings)
    yield wiring.connection
    await wiring.close()


async def flushed_in_vain(server: NatsServer, connection: Connection) -> None:
    """A flush has timed out, and nats-server runs again: its PONG is still to come."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await until(lambda: is_stopped(server.pid), "nats-server to stop")
        with pytest.raises(TimeoutError):
            await connection.client.flush(1)
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def hears(connection: Connection) -> bool:
    """Whether what is published arrives."""
    with suppress(BrokerUnavailableError):
        async with connection.subscribe(connection.inbox()) as inbox:
            await connection.publish(inbox.subject, b"heard")
            return (await inbox.next(1)).data == b"heard"
    return False


async def test_a_broker_that_hangs_for_longer_than_a_flush_waits_is_heard_again(
    own_server: NatsServer, connection: Connection
) -> None:
    await flushed_in_vain(own_server, connection)
    await connection.client.flush(BOUND_SECONDS)  # its PONG comes after the late one
    await until(lambda: hears(connection), "the connection to hear")
    assert connection.link.breaks == 0


async def test_a_connection_whose_reading_ends_by_an_error_is_a_lost_one(
    own_server: NatsServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NatsClient, "_process_pong", Client._process_pong)  # it raises at a late PONG
    await flushed_in_vain(own_server, connection)
    with anyio.fail_after(15):  # nats-py's own pings would find it out after 30 to 60 s
        await until(lambda: hears(connection), "the connection to hear again")
    assert connection.link.breaks == 1
