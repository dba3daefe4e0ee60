"""The `webhooks` of a single tool call (PR 593): the caller gets an acknowledgement, and they get the answer."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp import Client

from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import until
from broker_plane.transports.webhook.client import webhook_client
from tests.webhook_transport.conftest import Serve
from tests.webhook_transport.test_front import answered, beside, call, opened
from tests.webhook_transport.world import callback

pytestmark = pytest.mark.anyio

ACCEPTED = "Response will be forwarded to the webhook."
TOKEN = "token-of-somebody-else"


@dataclass
class Other:
    """Another system that receives answers: it knows nothing of sessions or signatures."""

    port: int = 0
    echoes: bool = True
    status: int = 200
    heard: list[tuple[dict[str, str], Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/answers"

    @property
    def answers(self) -> list[Any]:
        return [body for _, body in self.heard if "challenge" not in body]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = [line.partition(":") for line in head[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.heard.append((headers, body))
            challenged = self.echoes and "challenge" in body
            text = json.dumps({"challenge": body["challenge"]} if challenged else {}).encode()
            status = 200 if "challenge" in body else self.status
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def other() -> AsyncIterator[Other]:
    found = Other()
    async with await asyncio.start_server(found.serve, "127.0.0.1", 0) as server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


def forwarded(number: int, *webhooks: Any, **arguments: Any) -> dict[str, Any]:
    message = call("add", number, **arguments)
    message["params"]["webhooks"] = list(webhooks)
    return message


@pytest.mark.parametrize(
    ("strategy", "credentials", "header", "value"),
    [
        ("bearer", TOKEN, "authorization", f"Bearer {TOKEN}"),
        ("bearer", {"token": TOKEN}, "authorization", f"Bearer {TOKEN}"),
        ("apiKey", TOKEN, "x-api-key", TOKEN),
        ("basic", f"ada:{TOKEN}", "authorization", f"Basic {b64encode(f'ada:{TOKEN}'.encode()).decode()}"),
        ("basic", {"username": "a", "password": "b"}, "authorization", "Basic YTpi"),
        ("customHeader", f"X-Token: {TOKEN}", "x-token", TOKEN),
        ("customHeader", {"name": "X-Token", "value": TOKEN}, "x-token", TOKEN),
    ],
)
async def test_the_whole_answer_goes_to_the_webhook_with_its_credentials(
    front: str, http: httpx2.AsyncClient, strategy: str, credentials: Any, header: str, value: str
) -> None:
    async with callback() as place, other() as receiver:
        webhook = {"url": receiver.url, "authentication": {"strategy": strategy, "credentials": credentials}}
        await http.post(front, json=forwarded(1, webhook, a=3) | beside(place))
        acknowledged = await answered(place, 1)
        assert acknowledged["result"] == {
            "content": [{"type": "text", "text": ACCEPTED}],
            "resultType": "complete",
        }
        found = await until(lambda: receiver.answers, "the answer")
        assert found[0]["id"] == 1
        assert found[0]["result"]["structuredContent"] == {"result": 5}
        assert all(headers[header] == value for headers, _ in receiver.heard)
        assert all(place.channel.taken[0][0].session not in str(headers) for headers, _ in receiver.heard)


async def test_each_of_several_webhooks_gets_the_answer_once(front: str, http: httpx2.AsyncClient) -> None:
    async with callback() as place, other() as one, other() as two:
        two.status = 503
        await http.post(front, json=forwarded(1, {"url": one.url}, {"url": two.url}, a=3) | beside(place))
        await until(lambda: len(two.answers) > 2, "repeated attempts")
        two.status = 200
        tries = len(two.answers)
        await until(lambda: len(two.answers) > tries, "the answer")
        assert len(one.answers) == 1


async def test_a_webhook_that_echoes_nothing_gets_nothing_unless_it_is_listed(
    serve: Serve, http: httpx2.AsyncClient
) -> None:
    async with callback() as place, other() as receiver:
        receiver.echoes = False
        async with serve() as front:
            session = await opened(http, front, place)
            refused = await http.post(f"{front}/{session}", json=forwarded(1, {"url": receiver.url}, a=3))
            assert refused.status_code == 422
            assert receiver.answers == []
        async with serve(webhook_hosts=urlsplit(receiver.url).netloc) as front:
            session = await opened(http, front, place)
            await http.post(f"{front}/{session}", json=forwarded(1, {"url": receiver.url}, a=3))
            await until(lambda: receiver.answers, "the answer")


@pytest.mark.parametrize(
    ("webhook", "status"),
    [
        ({"url": "http://169.254.169.254/"}, 403),
        ({"url": 7}, 400),
        ("text", 400),
        ({"url": "http://127.0.0.1:1/", "authentication": {"strategy": "magic", "credentials": "x"}}, 400),
        ({"url": "http://127.0.0.1:1/", "authentication": {"strategy": "bearer", "credentials": "a\r\nhost: b"}}, 400),
        ({"url": "http://127.0.0.1:1/", "authentication": {"strategy": "customHeader", "credentials": "Host: b"}}, 400),
        (
            {
                "url": "http://127.0.0.1:1/",
                "authentication": {"strategy": "customHeader", "credentials": "webhook-id: b"},
            },
            400,
        ),
    ],
)
async def test_a_webhook_that_may_not_be_used_refuses_the_call(
    front: str, http: httpx2.AsyncClient, webhook: Any, status: int
) -> None:
    async with callback() as place:
        session = await opened(http, front, place)
        answer = await http.post(f"{front}/{session}", json=forwarded(1, webhook, a=3))
        assert answer.status_code == status, answer.text
        assert place.channel.taken == []


async def test_credentials_are_stored_encrypted_and_never_logged(
    front: str, http: httpx2.AsyncClient, wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with callback() as place, other() as receiver:
        receiver.status = 500
        webhook = {"url": receiver.url, "authentication": {"strategy": "bearer", "credentials": TOKEN}}
        await http.post(front, json=forwarded(1, webhook, a=3) | beside(place))
        await until(lambda: receiver.answers, "an attempt")
        names = wiring.connection.names
        for stream in (f"KV_{names.mcp_sessions_bucket}", names.requests_stream, names.said_stream):
            assert TOKEN.encode() not in await everything(wiring, stream)
        assert TOKEN not in caplog.text
        receiver.status = 200


async def everything(wiring: Wiring, stream: str) -> bytes:
    """The data of all messages of a stream."""
    info = await wiring.connection.api(f"STREAM.INFO.{stream}")
    state = info["state"]
    found = b""
    for sequence in range(state["first_seq"], state["last_seq"] + 1):
        with suppress(Exception):
            answer = await wiring.connection.request(
                f"$JS.API.DIRECT.GET.{stream}", json.dumps({"seq": sequence}).encode()
            )
            found += answer.data + str(answer.headers).encode()
    assert found
    return found


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_client_of_the_sdk_names_webhooks_in_meta(front: str, era: str) -> None:
    """Of a tool without an output schema: the SDK's client requires structured content of the others."""
    async with other() as receiver, Client(webhook_client(front), mode=era) as client:
        meta: Any = {"io.broker-plane/webhooks": [{"url": receiver.url}]}
        result = await client.call_tool("greet", {"name": "Ada"}, meta=meta)
        assert result.content[0].text == ACCEPTED  # type: ignore[union-attr]
        found = await until(lambda: receiver.answers, "the answer")
        assert found[0]["result"]["content"][0]["text"] == "Hello Ada"


async def test_a_server_says_that_calls_may_have_webhooks(front: str) -> None:
    async with Client(webhook_client(front), mode="auto") as client:
        extensions = client.server_capabilities.extensions or {}
        assert extensions["io.broker-plane/webhooks"] == {"webhooksSupported": True}
