"""Processes that are attached to the embedded broker bring it back: killed or stopped, the next call starts it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import anyio
import psutil
import pytest
from mcp import Client
from msgspec.structs import replace

from broker_plane import Plane, PlaneServer
from broker_plane.embedded.broker import find
from broker_plane.embedded.state import Running
from broker_plane.testing.processes import until
from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
BOUND_SECONDS = 60
ROWS = [{"city": "Ulm", "rain": 3}]


def kill_supervisor(home: Home) -> None:
    """Its children die with it."""
    _kill(home.running(), "pid")


def kill_all(home: Home) -> None:
    _kill(home.running(), "pid", "bridge_pid", "nats_pid")


def _kill(running: Running, *names: str) -> None:
    processes = [psutil.Process(pid) for pid in (running.pid, running.bridge_pid, running.nats_pid)]
    for name in names:
        with suppress(ProcessLookupError):
            os.kill(getattr(running, name), signal.SIGKILL)
    psutil.wait_procs(processes, 10)


def stop(home: Home) -> None:
    assert home.stop()


ENDS = [kill_supervisor, kill_all, stop]


def supervisors(home: Home) -> list[int]:
    def ours(process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            line = process.cmdline()
            return "broker_plane.embedded.supervisor" in line and str(home.settings.data_dir) in line
        return False

    return [process.pid for process in psutil.process_iter() if ours(process)]


@pytest.fixture
async def plane(home: Home) -> AsyncIterator[Plane]:
    async with home.connect() as plane:
        yield plane


CALLS: dict[str, Callable[[Plane, str], Awaitable[object]]] = {
    "publish": lambda plane, url: plane.publish(ROWS),
    "publish bytes": lambda plane, url: plane.publish(bytes(3_000_000)),
    "pull": lambda plane, url: plane.pull(url),
    "pull over http": lambda plane, url: plane.pull(url, via="http"),
    "preview": lambda plane, url: plane.preview(url),
    "bodies": lambda plane, url: plane.bodies.list(),
    "revoke": lambda plane, url: plane.revoke(url),
    "feed": lambda plane, url: plane.publish(ROWS, feed="rain", key="city"),
    "page": lambda plane, url: plane.pulls.page(url),
}


async def each_starts_it(home: Home, plane: Plane, end: Callable[[Home], None], call: str) -> None:
    url = (await plane.publish(ROWS, uses="unlimited")).resource_url
    await plane.pull(url)
    end(home)
    with anyio.fail_after(BOUND_SECONDS):
        await CALLS[call](plane, url)
    assert len(supervisors(home)) == 1


async def test_the_next_call_starts_it_again(home: Home, plane: Plane) -> None:
    """However it ended, and as often as it ends."""
    for call, end in zip(("publish", "pull over http", "bodies"), ENDS, strict=True):
        await each_starts_it(home, plane, end, call)


@pytest.mark.full
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("call", CALLS)
async def test_every_call_starts_it_after_every_end(
    home: Home, plane: Plane, end: Callable[[Home], None], call: str
) -> None:
    await each_starts_it(home, plane, end, call)


async def test_many_calls_at_once_start_one(home: Home, plane: Plane) -> None:
    kill_all(home)
    with anyio.fail_after(BOUND_SECONDS):
        await asyncio.gather(*(plane.publish(ROWS) for _ in range(20)))
    assert len(supervisors(home)) == 1


async def test_a_process_that_never_pulled_pulls_after_it_ended(home: Home, plane: Plane) -> None:
    url = (await plane.publish(ROWS, uses="unlimited")).resource_url
    stop(home)
    with anyio.fail_after(BOUND_SECONDS):
        assert await plane.pull(url) == ROWS


@pytest.mark.parametrize("end", [kill_all])
async def test_four_processes_at_once_start_one(home: Home, end: Callable[[Home], None]) -> None:
    actors = [home.act("publish_each_line") for _ in range(4)]
    for actor in actors:
        await actor.said()
    end(home)
    for actor in actors:
        actor.tell("")
    with anyio.fail_after(BOUND_SECONDS):
        said = [await actor.said() for actor in actors]
    assert all("url" in each for each in said), said
    assert len(supervisors(home)) == 1
    async with home.connect() as plane:
        for each in said:
            assert await plane.pull(each["url"]) == ROWS


@pytest.mark.parametrize("end", [stop])
async def test_who_subscribes_goes_on_and_starts_nothing_itself(
    home: Home, plane: Plane, end: Callable[[Home], None]
) -> None:
    arrived: list[int] = []

    async def subscribe() -> None:
        async with aclosing(plane.subscribe("rain", durable="reader", since="first")) as arrivals:
            async for arrival in arrivals:
                arrived.append(arrival.notice.version)  # noqa: PERF401  # it is read while this goes on

    await plane.publish(ROWS, feed="rain", key="city")
    task = asyncio.create_task(subscribe())
    try:
        await until(lambda: arrived == [1], "the first version")
        end(home)
        await until(lambda: not plane.wiring.connection.client.is_connected, "the end to be noticed")
        await asyncio.sleep(2.5)  # longer than a subscriber waits before it asks again
        assert find(home.settings.data_dir) is None
        async with home.connect() as other:
            await other.publish([{"city": "Ulm", "rain": 4}], feed="rain", key="city")
        await until(lambda: arrived == [1, 2], "the version that came afterwards")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_goes_on_for_its_clients(home: Home) -> None:
    """One session, before and after; the body from before is there, too."""
    server = PlaneServer("rain", settings=home.settings)

    @server.resource_tool()
    def rain() -> list[dict[str, Any]]:
        return ROWS

    @server.consumer_tool()
    def count(rows: list[dict[str, Any]]) -> str:
        return str(len(rows))

    async def asked(client: Client) -> str:
        asked = await client.call_tool("rain", {"abstract_domains": ["city"], "mode": "async"})
        assert not asked.is_error, asked.content
        return str((asked.structured_content or {})["resource_url"])

    async def counted(client: Client, url: str) -> None:
        given = {"abstract_data": [{"_row_id": 0, "city": "Ulm"}], "resource_url": url}
        said = await client.call_tool("count", given)
        assert not said.is_error, said.content

    async with Client(server.mcp) as client:
        before = await asked(client)
        for end in ENDS:
            end(home)
            with anyio.fail_after(BOUND_SECONDS):
                await counted(client, await asked(client))
        stop(home)
        with anyio.fail_after(BOUND_SECONDS):
            await counted(client, before)


async def test_the_bridge_obeys_the_settings_of_who_started_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they stand in its environment or in its program; files for another NATS are not for this one."""
    stop(home)
    monkeypatch.setenv("BROKER_PLANE_CACHE_BYTES", "1234567")
    monkeypatch.setenv("BROKER_PLANE_NATS_CA", "/no/such/file.pem")
    asked = replace(home.settings, delivery_confirmation="required", bridge_hosts="plane.example")
    async with Plane.connect(asked):
        environment = psutil.Process(home.running().bridge_pid).environ()
    assert environment["BROKER_PLANE_DELIVERY_CONFIRMATION"] == "required"
    assert environment["BROKER_PLANE_BRIDGE_HOSTS"] == "plane.example"
    assert "BROKER_PLANE_CACHE_BYTES" not in environment  # the program had not read it


async def test_other_settings_than_those_of_the_broker_are_named_once(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    asked = replace(home.settings, webhook_networks="127.0.0.0/8", delivery_confirmation="required", ttl_seconds=77)
    for _ in range(3):
        async with Plane.connect(asked):
            pass
    warnings = [each.getMessage() for each in caplog.records if "other values" in each.getMessage()]
    assert len(warnings) == 1
    assert "BROKER_PLANE_DELIVERY_CONFIRMATION, BROKER_PLANE_WEBHOOK_NETWORKS, and" in warnings[0]
    assert "`broker-plane down`" in warnings[0]
