"""How long queries and their processes live, and what the bridge does meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx2
import psutil
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import GrantRevokedError, TooCostlyError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from tests.figures import Figure
from tests.forked import ForkedActor

pytestmark = pytest.mark.anyio

ENDLESS = "SELECT sum(sin(x)) AS s FROM range(1000000000000) t(x), a"
HUGE = "SELECT length(repeat('x', 2000000000)) AS l FROM a"


def _workers(parent: int | None = None) -> list[psutil.Process]:
    """The worker processes of a bridge, with the children that run the queries."""
    return [each for each in psutil.Process(parent).children(recursive=True) if _is_worker(each)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return process.is_running() and any("duckdb_worker" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if _lives(each)]


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended between the two
        return False


@pytest.fixture
async def url(plane: Plane) -> str:
    return (await plane.publish([{"n": 1}], uses="unlimited")).resource_url


@asynccontextmanager
async def _endless(plane: Plane, more: str = "", **urls: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """A query that only something else ends. It ends with the block, so that a later test does not see it."""
    running: asyncio.Task[Any] = asyncio.create_task(plane.query(ENDLESS + more, **urls))
    try:
        yield running
    finally:
        await cancel_and_forget(running)


async def _busy(bridge: int | None = None) -> psutil.Process:
    """The child that computes a query, once it does."""

    def found() -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):  # one that has ended meanwhile
            children = [each for each in _workers(bridge) if each.ppid() != (bridge or os.getpid())]
            return next((each for each in children if each.cpu_times().user > 0.3), None)
        return None

    return await until(found, "a busy worker", 120)


async def test_a_worker_has_no_environment_no_files_and_limits(plane: Plane, url: str) -> None:
    await plane.query("SELECT n FROM a", a=url)
    child = await until(
        lambda: next((each for each in _workers() if each.ppid() != os.getpid() and each.num_threads() > 3), None),
        "a child that is ready",
    )
    await until(lambda: child.rlimit(psutil.RLIMIT_NOFILE) == (3, 3), "its limits")
    assert child.rlimit(psutil.RLIMIT_FSIZE) == child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert child.rlimit(psutil.RLIMIT_AS)[0] < 4 << 30
    assert child.environ() == {}
    assert os.listdir(child.cwd()) == []  # noqa: PTH208
    assert os.getsid(child.pid) == child.ppid() != os.getsid(0)
    assert child.open_files() == child.net_connections() == []


async def test_each_query_has_a_process_of_its_own(plane: Plane, url: str) -> None:
    seen: set[int] = set()

    def unseen() -> set[int]:
        return {each.pid for each in _workers() if each.ppid() != os.getpid()} - seen

    for _ in range(3):
        await plane.query("SELECT n FROM a", a=url)
        seen |= await until(unseen, "another process")


async def test_bombs_end_at_their_limits_and_the_bridge_answers_meanwhile(
    plane: Plane, url: str, figure: Figure
) -> None:
    slowest = 0.0

    async def probe() -> None:
        nonlocal slowest
        async with httpx2.AsyncClient(trust_env=False) as client:
            while True:
                began = perf_counter()
                assert (await client.get(f"{plane.bridge_url}/healthz")).status_code == 200
                slowest = max(slowest, perf_counter() - began)
                await asyncio.sleep(0.01)

    probing = asyncio.create_task(probe())
    bombs = [plane.query(sql, a=url) for sql in (ENDLESS, HUGE)]
    ended = await asyncio.gather(*bombs, return_exceptions=True)
    probing.cancel()
    assert [type(error) for error in ended] == [TooCostlyError, TooCostlyError]
    assert "2 s" in str(ended[0])
    assert "memory" in str(ended[1])
    row = "slowest /healthz beside a time bomb and a memory bomb"
    figure(row, f"{slowest * 1000:.0f} ms", aim="250 ms", met=slowest < 0.25)
    assert (await plane.query("SELECT n FROM a", a=url)).rows == [{"n": 1}]


async def test_a_client_waits_longer_for_a_query_than_for_a_byte(plane: Plane, url: str, tmp_path: Path) -> None:
    settings = load_settings(
        nats_url=plane.settings.nats_url,
        data_dir=tmp_path,
        bridge_url=plane.bridge_url,
        pull_timeout_seconds=0.5,
    )
    async with Plane.connect(settings) as impatient:
        result = await impatient.query("SELECT n, sleep_ms(1200) IS NULL AS slept FROM a", a=url)
    assert [row["n"] for row in result.rows] == [1]


async def test_twenty_queries_at_once_are_all_answered(plane: Plane, url: str) -> None:
    queries = [plane.query("SELECT n + @ AS m FROM a".replace("@", str(number)), a=url) for number in range(20)]
    assert [result.rows for result in await asyncio.gather(*queries)] == [[{"m": 1 + number}] for number in range(20)]


@pytest.fixture(scope="module")
async def patient(server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """A bridge whose queries run until something else ends them, however busy the machine is."""
    data = tmp_path_factory.mktemp("patient")
    async with Plane.connect(load_settings(nats_url=server.url, data_dir=data, max_query_seconds=600)) as connected:
        yield connected


@pytest.mark.parametrize("victim", ["child", "worker"])
async def test_a_worker_that_is_killed_fails_its_query_alone(patient: Plane, victim: str) -> None:
    url = (await patient.publish([{"n": 1}], uses="unlimited")).resource_url
    async with _endless(patient, a=url) as running:
        child = await _busy()
        (child if victim == "child" else psutil.Process(child.ppid())).kill()
        with pytest.raises(TooCostlyError, match="ended before it had a result"):
            await running
    await until(lambda: not _running([child]), "the end of the child")
    assert (await patient.query("SELECT n FROM a", a=url)).rows == [{"n": 1}]


async def test_a_query_ends_when_its_client_leaves(patient: Plane) -> None:
    url = (await patient.publish([{"n": 1}], uses="unlimited")).resource_url
    async with _endless(patient, a=url):
        child = await _busy()
    await until(lambda: not _running([child]), "the end of the child")


async def test_a_revocation_ends_the_query(patient: Plane) -> None:
    first, second = [await patient.publish([{"n": n}], uses="unlimited") for n in range(2)]
    async with _endless(patient, ", b", a=first.resource_url, b=second.resource_url) as running:
        child = await _busy()
        await patient.revoke(second.resource_url)
        with pytest.raises(GrantRevokedError):
            await running
    await until(lambda: not _running([child]), "the end of the child")


@pytest.fixture
async def bridge(server: NatsServer) -> AsyncIterator[Actor]:
    """A bridge in a process of its own."""
    actor = ForkedActor("broker_plane.cli.bridge", BROKER_PLANE_NATS_URL=server.url, BROKER_PLANE_MAX_QUERY_SECONDS=600)
    yield actor
    actor.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
async def test_no_worker_outlives_its_bridge(
    server: NatsServer, bridge: Actor, tmp_path: Path, number: signal.Signals
) -> None:
    bridge_url = (await bridge.said())["bridge"]
    async with Plane.connect(load_settings(nats_url=server.url, data_dir=tmp_path, bridge_url=bridge_url)) as plane:
        published = await plane.publish([{"n": 1}], uses="unlimited")
        async with _endless(plane, a=published.resource_url):
            child = await _busy(bridge.pid)
            workers = _workers(bridge.pid)
            assert child in workers
            directory = Path(workers[0].cwd())
            os.kill(bridge.pid, number)
            await until(lambda: not _running(workers), "the end of the workers")
    if number == signal.SIGINT:
        await until(lambda: not directory.exists(), "the end of the directory")
