"""The SDK's Client over webhooks, in both protocol eras, and over kills of everything in between."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult
from starlette.applications import Starlette
from starlette.routing import Mount

from broker_plane.errors import ConfigError
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.transports.webhook.client import webhook_client
from broker_plane.transports.webhook.receiver import WebhookReceiver
from broker_plane.web.server import HttpServer
from tests.forked import ForkedMcpActor
from tests.webhook_transport.conftest import FrontActor, Serve
from tests.webhook_transport.sample import KEY

pytestmark = pytest.mark.anyio

ONCE: Any = {KEY: "once"}
ERAS = ("2026-07-28", "legacy", "auto")
Fronts = Callable[..., FrontActor]


@pytest.mark.parametrize("era", ERAS)
async def test_tools_are_listed_and_called_with_progress(front: str, era: str) -> None:
    steps: list[float] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with Client(webhook_client(front), mode=era) as client:
        assert "add" in [tool.name for tool in (await client.list_tools()).tools]
        assert (await client.call_tool("add", {"a": 3})).structured_content == {"result": 5}
        counted = await client.call_tool("count", {"to": 5}, progress_callback=progress)
        assert counted.structured_content == {"result": 5}
        assert steps == [1, 2, 3, 4, 5]
        results = await asyncio.gather(*(client.call_tool("add", {"a": number}) for number in range(30)))
        assert [each.structured_content for each in results] == [{"result": number + 2} for number in range(30)]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_is_made_again_under_its_key_has_one_effect_and_one_answer_for_each_caller(
    front: str, tmp_path: Path, era: str
) -> None:
    gate, path = tmp_path / "gate", tmp_path / "notes"
    arguments = {"gate": str(gate), "path": str(path)}
    async with Client(webhook_client(front), mode=era) as client, asyncio.timeout(60):

        async def note() -> Any:
            return (await client.call_tool("note", arguments, meta=ONCE)).structured_content

        at_once = [asyncio.create_task(note()) for _ in range(4)]
        await until(Path(f"{path}.begun").exists, "the call to begin")
        at_once[0].cancel()  # the others go on waiting
        gate.touch()
        assert [await each for each in at_once[1:]] == [{"result": "once"}] * 3
        for _ in range(3):  # what is stored is fetched, as often as it is asked for
            assert await note() == {"result": "once"}
        with pytest.raises(MCPError, match="idempotency key") as reused:
            await client.call_tool("add", {"a": 3}, meta=ONCE)
        assert (reused.value.error.code, reused.value.error.data) == (-32602, {"code": "key_reused"})
    assert path.read_text() == "once\n"


async def answering(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada"})


async def test_a_server_asks_the_client_in_the_handshake_era(front: str) -> None:
    async with Client(webhook_client(front), mode="legacy", elicitation_callback=answering) as client:
        assert (await client.call_tool("ask_name")).structured_content == {"result": "Ada"}


async def test_a_receiver_can_be_mounted_in_any_application(front: str) -> None:
    receiver = WebhookReceiver()
    application = Starlette(routes=[Mount("/deep/hooks", receiver)])
    async with HttpServer(application, stop_seconds=1) as server:
        mounted = webhook_client(front, receiver=receiver, callback=f"{server.url}/deep/hooks")
        async with Client(mounted, mode="2026-07-28") as client:
            assert (await client.call_tool("add", {"a": 3})).structured_content == {"result": 5}


async def test_an_error_of_the_front_answers_the_request(serve: Serve) -> None:
    async with serve(webhook_networks="") as front, Client(webhook_client(front), mode="2026-07-28") as client:
        with pytest.raises(MCPError, match="must not lead to"):
            await client.call_tool("add", {"a": 3})


async def test_of_two_fronts_each_serves_the_sessions_of_the_other(serve: Serve, http: httpx2.AsyncClient) -> None:
    """The upstream of a handshake is in one of them, and the client's messages arrive at the other."""
    server = secrets.token_hex(8)
    async with (
        serve(server) as one,
        serve(server) as other,
        HttpServer(Alternating(http, one, other), stop_seconds=1) as balancer,
    ):
        for era in ("legacy", "2026-07-28"):
            transport = webhook_client(f"{balancer.url}/mcp")
            async with Client(transport, mode=era, elicitation_callback=answering) as client:
                for number in range(6):
                    result = await client.call_tool("add", {"a": number})
                    assert result.structured_content == {"result": number + 2}
                if era == "legacy":
                    for _ in range(4):
                        assert (await client.call_tool("ask_name")).structured_content == {"result": "Ada"}


class Alternating:
    """A load balancer that sends each request to the next of its fronts."""

    def __init__(self, http: httpx2.AsyncClient, *fronts: str) -> None:
        self._http = http
        self._fronts = [front.removesuffix("/mcp") for front in fronts]
        self._count = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._count += 1
        body = (await receive()).get("body", b"")
        url = self._fronts[self._count % len(self._fronts)] + scope["path"]
        headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
        answer = await self._http.request(scope["method"], url, headers=headers, content=body)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.headers.raw})
        await send({"type": "http.response.body", "body": answer.content})


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_front_that_is_killed_between_request_and_answer_loses_nothing(
    fronts: Fronts, tmp_path: Path, era: str
) -> None:
    front, path, gate = fronts(), tmp_path / "notes", tmp_path / "gate"
    await front.start()
    steps: list[float] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with Client(webhook_client(front.url), mode=era) as client:
        arguments = {"path": str(path), "gate": str(gate)}
        calling = asyncio.create_task(client.call_tool("note", arguments, progress_callback=progress, meta=ONCE))
        await until(lambda: steps, "progress")
        front.kill()
        gate.touch()
        await front.start()
        assert (await calling).structured_content == {"result": "once"}
        assert steps == [1, 2]
        assert path.read_text() == "once\n"
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


async def test_a_client_that_is_killed_goes_on_with_its_session(fronts: Fronts, tmp_path: Path) -> None:
    front, path, gate = fronts(), tmp_path / "notes", tmp_path / "gate"
    await front.start()
    arguments = [front.url, tmp_path / "state", path, gate]
    first = ForkedMcpActor("tests.webhook_transport.client_program", *arguments)
    await until(Path(f"{path}.begun").exists, "the call to begin")
    first.close()
    session = json.loads((tmp_path / "state").read_bytes())["session"]
    gate.touch()
    await until(path.exists, "the call to end")
    second = ForkedMcpActor("tests.webhook_transport.client_program", *arguments)
    try:
        assert await second.said() == {"result": "once"}
    finally:
        second.close()
    assert path.read_text() == "once\n"
    assert json.loads((tmp_path / "state").read_bytes())["session"] == session


async def test_a_second_client_of_a_session_is_refused_until_the_first_has_ended(front: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with Client(webhook_client(front, state=state)) as first:
        with pytest.raises(ConfigError, match=r"Another client has the session in .*; share that client"):
            async with Client(webhook_client(front, state=state)):
                pass
        assert (await first.call_tool("add", {"a": 1})).structured_content == {"result": 3}
    async with Client(webhook_client(front, state=state)) as second:
        assert (await second.call_tool("add", {"a": 2})).structured_content == {"result": 4}


async def test_a_state_that_cannot_be_written_is_refused_before_anything_is_sent(front: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        async with Client(webhook_client(front, state=tmp_path / "nowhere" / "state")):
            pass


async def test_a_nats_server_that_is_killed_in_between_loses_nothing(
    own_server: NatsServer, fronts: Fronts, tmp_path: Path
) -> None:
    front, path, gate = fronts(own_server.url), tmp_path / "notes", tmp_path / "gate"
    await front.start()
    async with Client(webhook_client(front.url), mode="2026-07-28") as client:
        arguments = {"path": str(path), "gate": str(gate)}
        calling = asyncio.create_task(client.call_tool("note", arguments, meta=ONCE))
        await until(Path(f"{path}.begun").exists, "the call to begin")
        own_server.kill()
        gate.touch()
        own_server.start()
        assert (await calling).structured_content == {"result": "once"}
        assert path.read_text() == "once\n"
