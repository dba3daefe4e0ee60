"""What waits costs no socket and no coroutine of the server: open webhook sessions, and tasks that wait for input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from broker_plane.web.server import HttpServer
from tests.carriers import client_of, serve_arguments
from tests.faults.conftest import Stage
from tests.figures import Figure
from tests.interaction.tasks import TakesTasks, call, never
from tests.ports import free_port
from tests.proxy.conftest import listens

pytestmark = [pytest.mark.anyio, pytest.mark.full]
COUNT = 10_000
AT_ONCE = 64
SERVER = Path(__file__).with_name("idle_server.py")
MOST_MORE = 20
"""Sockets and coroutines that the server may have beyond those before, because of what it does at the moment."""


@dataclass(frozen=True)
class Held:
    """What the server's process holds."""

    sockets: int
    coroutines: int
    megabytes: float


@pytest.fixture
def ours(own_server: NatsServer, tmp_path: Path) -> dict[str, object]:
    """Settings of every process."""
    return {"nats_url": own_server.url, "data_dir": tmp_path, "webhook_networks": "127.0.0.0/8"}


async def held(client: Client, server: Actor) -> Held:
    found = (await client.call_tool("census")).structured_content
    assert found is not None
    process = psutil.Process(server.pid)
    return Held(len(process.net_connections()), found["result"], process.memory_info().rss / 1e6)


async def costs_nothing(client: Client, server: Actor, before: Held, what: str, figure: Figure) -> None:
    """Neither sockets nor coroutines, once the work on them has ended."""

    async def is_idle() -> bool:
        now = await held(client, server)
        return now.sockets <= before.sockets + MOST_MORE and now.coroutines <= before.coroutines + MOST_MORE

    await until(is_idle, f"{what} to cost no socket and no coroutine", 60)
    now = await held(client, server)
    more = now.sockets - before.sockets, now.coroutines - before.coroutines, now.megabytes - before.megabytes
    figure(
        f"{COUNT:,} {what}: what they cost the server",
        f"{more[0]:+d} sockets, {more[1]:+d} coroutines, {more[2]:+.1f} MB of memory ({now.megabytes:.0f} MB in all)",
        aim="no socket and no coroutine each",
        met=True,
    )


async def all_of_them(work: Callable[[int], Awaitable[Any]]) -> None:
    """Do `work` for each number, some at once."""
    numbers = iter(range(COUNT))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def test_open_webhook_sessions_cost_no_socket_and_no_coroutine(
    stage: Stage, ours: dict[str, object], figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    server = stage.run("broker_plane.cli.main", *serve_arguments("webhook", "idle", port, str(SERVER)), **ours)
    await server.said(60)
    monkeypatch.setenv("BROKER_PLANE_NATS_URL", str(ours["nats_url"]))
    async with receiver() as callback, client_of("nats-core", "idle") as client:
        before = await held(client, server)
        async with httpx2.AsyncClient() as http:  # its own connections end with it

            async def open_session(number: int) -> None:
                given = {"callbackUri": f"{callback}/{number}"}
                answer = await http.post(f"http://127.0.0.1:{port}/mcp", json=given, timeout=60)
                assert answer.status_code == 202, answer.text

            await all_of_them(open_session)
        await costs_nothing(client, server, before, "open webhook sessions", figure)


@asynccontextmanager
async def receiver() -> AsyncIterator[str]:
    """The URL of a receiver that echoes every challenge."""

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        raw, more = b"", True
        while more:
            message = await receive()
            raw, more = raw + message.get("body", b""), message.get("more_body", False)
        answer = json.dumps({"challenge": json.loads(raw).get("challenge")}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async with HttpServer(echo) as running:
        yield running.url


async def test_waiting_tasks_cost_no_socket_and_no_coroutine(
    stage: Stage, ours: dict[str, object], figure: Figure
) -> None:
    port = free_port()
    server = stage.run("tests.faults.idle_server", port, **ours)
    url = f"http://127.0.0.1:{port}/mcp"
    await until(partial(listens, url), "the server to listen")
    async with (
        Plane.connect(load_settings(**ours)) as plane,
        Client(url, extensions=[TakesTasks()], elicitation_callback=never) as client,
    ):

        async def all_wait() -> bool:
            found = [each.status for each in await plane.tasks.list("idle")]
            return len(found) == COUNT and set(found) == {"input_required"}

        before = await held(client, server)
        await all_of_them(lambda number: call(client, "send", to=f"person {number}"))
        await until(all_wait, "all tasks to wait for input", 600)
        await costs_nothing(client, server, before, "tasks that wait for input", figure)
