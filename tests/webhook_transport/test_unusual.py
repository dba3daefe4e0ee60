"""Valid but unusual sequences over webhooks: each request gets one answer, and soon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.upstream import Upstream
from broker_plane.transports.webhook import front_upstream, handshakes
from broker_plane.transports.webhook.channel import CallbackChannel
from broker_plane.transports.webhook.client import WebhookOptions, webhook_client, webhook_upstream
from broker_plane.transports.webhook.message_ids import OWN_MESSAGES, MessageId
from tests.proxy.conftest import there
from tests.transports.conftest import ENVELOPE, call_of
from tests.webhook_transport.sample import KEY

pytestmark = pytest.mark.anyio


class RawClient:
    """A client that sends any message, and keeps what it hears."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.heard: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        await self._upstream.write(json.dumps(message).encode() + b"\n")

    async def hear(self) -> None:
        async for piece in self._upstream.pieces():
            self.heard.append(json.loads(piece))

    async def answer(self, key: Any) -> dict[str, Any]:
        """The answer to the request with this id, once it is there; there must be only one."""
        with anyio.fail_after(10):
            while not (found := [each for each in self.heard if each.get("id") == key]):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert len(found) == 1
        return found[0]


@asynccontextmanager
async def raw_client(url: str, state: Path) -> AsyncIterator[RawClient]:
    async with webhook_upstream(url, WebhookOptions(state=state))() as upstream:
        client = RawClient(upstream)
        hearing = asyncio.create_task(client.hear())
        try:
            yield client
        finally:
            await cancel_and_forget(hearing)


async def test_a_session_that_another_process_closes_fails_what_waits_in_it(
    front: str, http: httpx2.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_upstream, "_SILENT_SECONDS", 0.2)
    path, state = tmp_path / "notes", tmp_path / "state"
    async with raw_client(front, state) as client:
        await client.send(call_of(1, "note", path=str(path), gate=str(tmp_path / "gate")))
        await there(Path(f"{path}.begun"))
        session = json.loads(state.read_text())["session"]
        assert (await http.delete(front, params={"sessionId": session})).status_code == 204
        assert (await client.answer(1))["error"]["message"] == "The session was closed"
        await client.send(call_of(2, "add", a=1))
        assert "result" in await client.answer(2)


async def test_a_cancellation_does_not_overtake_its_request(
    front: str, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    path, pad = tmp_path / "notes", "x" * 4_000_000
    async with raw_client(front, tmp_path / "state") as client:
        await client.send(call_of(0, "add", a=1))
        await client.answer(0)
        await client.send(call_of(1, "note", {"pad": pad}, path=str(path), gate=str(tmp_path / "gate")))
        await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        with anyio.fail_after(10):
            while not await is_cancelled(front, http, tmp_path / "state"):  # noqa: ASYNC110  # of the front
                await anyio.sleep(0.05)


async def is_cancelled(front: str, http: httpx2.AsyncClient, state: Path) -> bool:
    """Whether a request of this session is stored as cancelled."""
    session = json.loads(state.read_text())["session"]  # noqa: ASYNC240  # a small file
    stored = (await http.get(f"{front}/{session}/messages")).json()["messages"]
    return "exchange_cancelled" in [
        each["message"]["error"]["data"]["code"] for each in stored if "error" in each["message"]
    ]


@pytest.mark.parametrize("wrong", [{"params": [1]}, {"jsonrpc": "1.0"}, {"method": 5}])
async def test_a_request_that_is_no_mcp_message_is_answered(front: str, tmp_path: Path, wrong: dict[str, Any]) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}}
    async with raw_client(front, tmp_path / "state") as client:
        await client.send(request | wrong)
        assert (await client.answer(1))["error"]["data"] == {"code": "bad_request"}


async def test_half_of_a_surrogate_pair_is_no_key(front: str, tmp_path: Path) -> None:
    async with raw_client(front, tmp_path / "state") as client:
        await client.send(call_of(1, "add", {KEY: "\ud800"}, a=1))
        assert (await client.answer(1))["error"]["data"] == {"code": "bad_request"}


async def test_a_request_that_is_too_large_is_refused_at_once(front: str, tmp_path: Path) -> None:
    async with raw_client(front, tmp_path / "state") as client:
        await client.send(call_of(1, "greet", name="x" * 9_000_000))
        assert (await client.answer(1))["error"]["data"] == {"code": "too_large"}


async def test_a_new_session_has_messages_of_its_own() -> None:
    channel = CallbackChannel(["secret"], 1_000)
    said = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    for session in ("one", "two"):
        channel.session = session
        for _ in range(2):
            channel.take(MessageId(session, OWN_MESSAGES, 1), said)
        channel.lose_session()
    channel.close()
    assert len([line async for line in channel.lines()]) == 2


async def test_a_cancelled_request_makes_room_for_another_session(
    front: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "MOST_OPEN", 1)
    path = tmp_path / "notes"
    arguments = {"path": str(path), "gate": str(tmp_path / "gate")}
    async with Client(webhook_client(front), mode="legacy") as one:
        waiting = asyncio.create_task(one.call_tool("note", arguments))
        await there(Path(f"{path}.begun"))

        async def other() -> Any:
            async with Client(webhook_client(front), mode="legacy") as client:
                return (await client.call_tool("add", {"a": 1})).structured_content

        with anyio.fail_after(10):
            second = asyncio.create_task(other())
            await anyio.sleep(0.3)
            waiting.cancel()
            assert await second == {"result": 3}
