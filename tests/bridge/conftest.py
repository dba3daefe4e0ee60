"""Tests in which connections end run on both loops, uvloop and asyncio's own, which differ in it; others on uvloop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.server import NatsServer
from tests.bridge.bodies import Bridge, serving_bodies_by_turns
from tests.bridge.wire import PATIENCE, Reader
from tests.servers import running_server

HERE = Path(__file__).parent
UVLOOP, ASYNCIO = ("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})
Dial = Callable[..., Awaitable[Reader]]
ENDS = (
    *("test_feed_sockets", "test_http10", "test_pages", "test_protocol", "test_serve", "test_session_kills"),
    *("test_session_sockets", "test_settling", "test_uploads", "test_yjs_sockets"),
)
"""Modules with connections that end early, late or by a kill. With -m full the others run on both loops, too."""


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One for these tests: what other tests leave running has bridges too, and those would answer over NATS."""
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=[UVLOOP, ASYNCIO], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        loop = getattr(item, "callspec", None) and item.callspec.params.get("anyio_backend")  # type: ignore[attr-defined]
        if item.path.parent == HERE and item.path.stem not in ENDS and loop == ASYNCIO:
            item.add_marker(pytest.mark.full)


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Connects a reader to a port of this machine; what a test leaves open is closed after it."""
    readers: list[Reader] = []

    async def connect(port: int, receive_buffer: int = 65_536) -> Reader:
        readers.append(await Reader.connect(port, receive_buffer))
        return readers[-1]

    yield connect
    for reader in readers:
        reader.close()


@pytest.fixture
async def bridge(wiring: Wiring) -> AsyncIterator[Bridge]:
    """Two bridges over a real nats-server, by turns, with a client of their own."""
    async with serving_bodies_by_turns(wiring) as serving:
        yield serving


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE) as made:
        yield made


@pytest.fixture
async def turning_client(plane: Plane) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose requests for the bridge of `plane` go by turns to a second one of the same nats-server."""
    async with Plane.connect(plane.settings) as second:
        urls = cycle([httpx2.URL(second.bridge_url), httpx2.URL(plane.bridge_url)])

        async def turn(request: httpx2.Request) -> None:
            if str(request.url).startswith(f"{plane.bridge_url}/"):
                request.url = request.url.copy_with(port=next(urls).port)

        hooks = {"request": [turn]}
        async with httpx2.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE, event_hooks=hooks) as made:
            yield made
