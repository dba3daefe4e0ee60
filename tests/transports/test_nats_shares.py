"""One client that floods an instance leaves places for others, and is told what to do."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.msg import Msg

from broker_plane.config import Settings
from broker_plane.testing.server import NatsServer
from broker_plane.transports.nats import request_server, session_server
from broker_plane.wire.exact_json import loads
from broker_plane.wire.plane_names import Names
from tests.boundary.client import Client as NatsUser
from tests.transports.conftest import Connect, fronted
from tests.transports.test_nats_attacks import INITIALIZE, call, request

pytestmark = pytest.mark.anyio


class Flooder:
    """A client that sends many requests, and counts their answers."""

    def __init__(self, user: NatsUser, server: str) -> None:
        self.nats = user.nats
        self._inside = f"bp.mcp.{server}.in.rpc"
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        self.errors: list[Any] = []

    async def flood(self, method: str, line: bytes, count: int) -> None:
        async def heard(message: Msg) -> None:
            if message.data and "error" in (said := loads(message.data)):
                self.errors.append(said["error"])

        await self.nats.subscribe(f"{self._inbox}.>", cb=heard)
        for number in range(count):
            await self.nats.publish(f"{self._inside}.{method}", line, reply=f"{self._inbox}.s.{number}")

    async def until_refused(self, count: int) -> None:
        with anyio.fail_after(30):
            while len(self.errors) < count:  # noqa: ASYNC110  # a callback
                await anyio.sleep(0.01)
        assert {error["data"]["code"] for error in self.errors} == {"exchange_busy"}
        assert all(error["data"]["retryable"] for error in self.errors)


@pytest.fixture
async def flooder(
    name: str, settings: Settings, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Flooder]:
    """With an instance of few places."""
    monkeypatch.setattr(request_server, "MOST_REQUESTS", 8)
    monkeypatch.setattr(session_server, "MOST_SESSIONS", 8)
    async with fronted(name, settings), NatsUser(nats_server.url, "", inbox="_INBOX") as user:
        yield Flooder(user, name)


async def test_a_flood_of_requests_leaves_places(flooder: Flooder, name: str, connect: Connect, tmp_path: Path) -> None:
    async with connect(name, durable=False) as client:
        await flooder.flood("tools.call", call("wait_for", path=str(tmp_path / "go")), 20)
        await flooder.until_refused(16)
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
    (tmp_path / "go").write_text("done")


async def test_a_flood_of_sessions_leaves_places(flooder: Flooder, name: str, connect: Connect) -> None:
    await flooder.flood("initialize", request("initialize", INITIALIZE), 20)
    await flooder.until_refused(16)
    async with connect(name, "legacy") as client:
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


@pytest.mark.parametrize(
    ("inbox", "client"),
    [
        ("_INBOX.abc.s.e", "_INBOX.abc"),
        ("_INBOX_desk.abc.s.e", "_INBOX_desk"),
        ("bp.dlv.desk.1.s.e", "bp.dlv.desk"),
        ("", ""),
    ],
)
def test_a_client_is_a_user_with_an_inbox_of_its_own_or_a_connection(inbox: str, client: str) -> None:
    assert Names().client_of(inbox) == client
