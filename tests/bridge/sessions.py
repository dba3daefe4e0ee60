"""Sessions at a bridge of a real nats-server, and clients for their sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.runtime.session_hosting import session_host
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.sessions.policy import Policy, parse_policy
from broker_plane.sessions.replicas.port import ArtifactKind, Sync
from broker_plane.testing.server import NatsServer
from tests.bridge.wire import PATIENCE

SUBPROTOCOL = Subprotocol("broker-plane.session.v1")


@pytest.fixture(
    scope="module",
    params=[("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})],
    ids=["uvloop", "asyncio"],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Both loops, each once for all tests of a file."""
    return request.param


@pytest.fixture(scope="module")
async def sessions(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sessions]:
    """A bridge for all tests of a file: each test has sessions of its own."""
    settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("sessions"))
    async with Plane.connect(settings) as plane:
        wiring = await wire(settings.nats_url, settings)
        try:
            async with Sessions.of(plane, wiring) as made:
                yield made
        finally:
            await wiring.close()


@dataclass
class Session:
    """A session, with the grants that tests need and the bridge that serves it."""

    id: str
    wiring: Wiring
    url: str

    async def grant(self, role: str = "editor", *, seconds: float = 600, **caveats: str) -> str:
        """A new grant; `caveats` are `intent` and `participant`."""
        expires = int(self.wiring.now() + seconds)
        return await self.wiring.grants.minting.mint_session(self.id, role, expires, **caveats)  # type: ignore[arg-type]

    def socket(self, grant: str, query: str = "") -> AbstractAsyncContextManager[ClientConnection]:
        """A WebSocket of JSON messages."""
        url = f"{self.url}/v1/sessions/{grant}{query}".replace("http", "ws", 1)
        return connect(url, subprotocols=[SUBPROTOCOL], proxy=None, open_timeout=PATIENCE, max_size=None)

    async def slow_socket(self, grant: str, query: str = "", *, yjs: bool = False) -> ClientConnection:
        """A WebSocket of a reader that has small buffers and reads nothing; `transport.resume_reading` ends that."""
        url = httpx2.URL(f"{self.url}/v1/sessions/{grant}{query}")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (url.host, url.port))
        connection = await connect(
            str(url).replace("http", "ws", 1),
            sock=sock,
            subprotocols=None if yjs else [SUBPROTOCOL],
            max_size=None,
            ping_interval=None,
            compression=None,
        )
        connection.transport.pause_reading()
        return connection

    def yjs_socket(self, grant: str, query: str = "") -> AbstractAsyncContextManager[ClientConnection]:
        """A WebSocket of Yjs messages."""
        url = f"{self.url}/v1/sessions/{grant}{query}".replace("http", "ws", 1)
        return connect(url, proxy=None, open_timeout=PATIENCE, max_size=None, compression=None)

    async def ask(self, client: httpx2.AsyncClient, grant: str, **fields: Any) -> httpx2.Response:
        """The answer to one request over HTTP."""
        return await client.post(f"{self.url}/v1/sessions/{grant}", json=fields)


class JsonClient:
    """The messages of one socket: answers by id, events in their order."""

    def __init__(self, connection: ClientConnection) -> None:
        self._socket = connection
        self._number = 0

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        fields: dict[str, Any] = json.loads(await asyncio.wait_for(self._socket.recv(), PATIENCE))
        return fields

    async def event(self, kind: str) -> Any:
        """The next event of this kind; others are left out."""
        while kind not in (message := await self.receive()):
            pass
        return message[kind]

    async def entries_until(self, revision: int) -> list[dict[str, Any]]:
        """The entries that are told, up to this revision."""
        entries: list[dict[str, Any]] = []
        while not entries or entries[-1]["revision"] < revision:
            entries += await self.event("entries")
        return entries

    async def ask(self, **fields: Any) -> dict[str, Any]:
        """The answer to a request: `{"ok"}` or `{"error"}`; events before it are left out."""
        self._number += 1
        await self._socket.send(json.dumps({**fields, "id": self._number}))
        while (message := await self.receive()).get("id") != self._number:
            pass
        return message

    async def ok(self, **fields: Any) -> dict[str, Any]:
        """The members of the answer to a request that is not refused."""
        answer = await self.ask(**fields)
        assert "ok" in answer, answer
        found: dict[str, Any] = answer["ok"]
        return found


async def closed(connection: ClientConnection) -> tuple[int, str]:
    """The code and reason with which a socket closes; what comes before is left out."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            await asyncio.wait_for(connection.recv(), PATIENCE)
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


@dataclass
class Sessions:
    """Creates sessions, as their owner does."""

    plane: Plane
    wiring: Wiring
    host: SessionHost

    @classmethod
    @asynccontextmanager
    async def of(cls, plane: Plane, wiring: Wiring) -> AsyncIterator[Self]:
        host = session_host(wiring, plane.settings, plane.bridge_url)
        try:
            yield cls(plane, wiring, host)
        finally:
            await host.close()

    async def create(
        self, value: Any = "", *, kind: ArtifactKind = "text", sync: Sync = "crdt", **policy: Any
    ) -> Session:
        """A new session; `policy` has members of Policy in their form on the wire."""
        chosen = parse_policy(policy) if policy else Policy()
        session = await self.host.create(value, kind=kind, sync=sync, policy=chosen, owner=self.plane.settings.owner)
        return Session(session, self.wiring, self.plane.bridge_url)
