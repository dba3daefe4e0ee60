"""One client that floods an instance leaves places for others, and is told what to do."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from nats.aio.msg import Msg

from broker_plane.config import Settings, load_settings
from broker_plane.exchange.headers import REPLY
from broker_plane.testing.server import NatsServer
from broker_plane.transports.nats import nats_client, request_server, session_server
from broker_plane.transports.nats.wire_form import SIZE
from broker_plane.wire.exact_json import loads
from broker_plane.wire.plane_names import Names
from tests.boundary.client import Client as NatsUser
from tests.proxy.conftest import there
from tests.transports.conftest import Connect, fronted
from tests.transports.test_nats_attacks import INITIALIZE, Attacker, call, request

pytestmark = pytest.mark.anyio


class Flooder:
    """A client that sends many requests, and counts their answers."""

    def __init__(self, user: NatsUser, server: str) -> None:
        self.nats = user.nats
        self._inside = f"bp.mcp.{server}.in.rpc"
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        self.errors: list[Any] = []

    async def flood(self, method: str, line: bytes, count: int, **headers: str) -> None:
        async def heard(message: Msg) -> None:
            if message.data and "error" in (said := loads(message.data)):
                self.errors.append(said["error"])

        await self.nats.subscribe(f"{self._inbox}.>", cb=heard)
        for number in range(count):
            await self.nats.publish(
                f"{self._inside}.{method}", line, reply=f"{self._inbox}.s.{number}", headers=headers
            )

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


async def test_a_flood_of_large_requests_leaves_places(flooder: Flooder, name: str, connect: Connect) -> None:
    await flooder.flood("tools.call", b"", 100, **{SIZE: "1000000"})
    await flooder.until_refused(68)
    async with connect(name, durable=False) as client:
        text = "x" * 2_000_000
        assert (await client.call_tool("length", {"text": text})).structured_content == {"result": len(text)}


async def test_a_flood_of_sessions_leaves_places(flooder: Flooder, name: str, connect: Connect) -> None:
    await flooder.flood("initialize", request("initialize", INITIALIZE), 20)
    await flooder.until_refused(16)
    async with connect(name, "legacy") as client:
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


async def test_a_flood_of_stored_calls_leaves_room(tmp_path: Path, name: str) -> None:
    server = NatsServer(tmp_path / "nats", store_bytes=64 << 20)  # 4 MiB for requests
    (tmp_path / "nats").mkdir()
    server.start()
    settings = load_settings(nats_url=server.url, data_dir=tmp_path / "data", bridge_url="http://127.0.0.1:1")
    async with fronted(name, settings), NatsUser(server.url, "", inbox="_INBOX") as user:
        attacker, refused = Attacker(user, name), Counter[str]()
        heard = await attacker.hear(f"{attacker.inbox}.>")
        while not refused["full"]:
            line = call("wait_for", path=str(tmp_path / "go"), note="x" * 200_000)
            key, headers = f"n{secrets.token_hex(16)}.{secrets.token_hex(16)}", {REPLY: f"{attacker.inbox}.s.e"}
            answer = await user.nats.request(f"{attacker.inside}.ask.n.{key}", line, timeout=30, headers=headers)
            refused["full" if "error" in loads(answer.data) else "stored"] += 1
        async with Client(nats_client(name, settings=settings, wait_seconds=60)) as client:
            assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
        codes = [loads(each.data)["error"]["data"]["code"] for each in heard if each.data and b"error" in each.data]
        assert set(codes) == {"exchange_busy"}
        (tmp_path / "go").write_text("done")
    server.stop()


async def test_a_client_stores_no_more_calls_than_its_share_of_the_room(
    served: str, connect: Connect, tmp_path: Path
) -> None:
    large = "x" * 900_000
    async with connect(served) as client, anyio.create_task_group() as group:
        results: list[Any] = []

        async def wait(number: int) -> None:
            arguments = {"path": str(tmp_path / "go"), "begun": f"{tmp_path}/{number}", "note": large}
            results.append((await client.call_tool("wait_for", arguments)).structured_content)

        for number in range(18):
            group.start_soon(wait, number)
        with anyio.fail_after(60):
            for number in range(18):
                await there(tmp_path / str(number))
        with pytest.raises(MCPError, match="too many requests under way") as busy:
            await client.call_tool("length", {"text": large})
        assert busy.value.error.data == {"code": "exchange_busy", "retryable": True}
        (tmp_path / "go").write_text("done")
    assert results == [{"result": "done"}] * 18


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
