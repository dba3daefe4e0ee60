"""Idempotency keys of tasks: whom a key brings to an earlier task, and that it never means another call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.settings import AuthSettings
from mcp.shared.exceptions import MCPError
from pydantic import AnyHttpUrl

from broker_plane import PlaneServer
from broker_plane.config import Settings, load_settings
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import connected_rules
from broker_plane.runtime.wiring import wire
from broker_plane.transports.describing import describe
from broker_plane.transports.hosting import ServerHost, server_host
from broker_plane.transports.nats import nats_client
from broker_plane.transports.nats.front import nats_front
from broker_plane.transports.opening import in_process
from broker_plane.transports.webhook.client import webhook_client
from broker_plane.transports.webhook.serving import webhook_front

from .tasks import TakesTasks, call
from .test_task_protocol import Verifier, posted, serving

pytestmark = pytest.mark.anyio
KEY = "io.broker-plane/idempotencyKey"
INVALID = -32602
Way = Callable[[PlaneServer, str, Settings], AbstractAsyncContextManager[Any]]


def make(name: str, settings: Settings, **options: Any) -> PlaneServer:
    server = PlaneServer(name, settings=settings, **options)

    @server.task_tool
    def pay(amount: Any) -> str:
        return f"paid {amount!r}"

    @server.task_tool
    def refund(amount: Any) -> str:
        return f"refunded {amount!r}"

    return server


@pytest.fixture
def name() -> str:
    return f"test-{uuid4().hex[:12]}"


@asynccontextmanager
async def in_memory(server: PlaneServer, name: str, settings: Settings) -> AsyncIterator[Any]:
    """As over stdio."""
    yield server.mcp


@asynccontextmanager
async def over_http(server: PlaneServer, name: str, settings: Settings) -> AsyncIterator[Any]:
    async with serving(server) as url:
        yield streamable_http_client(url)


@asynccontextmanager
async def over_nats(server: PlaneServer, name: str, settings: Settings) -> AsyncIterator[Any]:
    async with (
        server_host(in_process(server), settings=settings) as host,
        nats_front(host, await describe(host), name, settings, drain_seconds=0.1),
    ):
        yield nats_client(name, settings=settings)


@asynccontextmanager
async def over_webhooks(server: PlaneServer, name: str, settings: Settings) -> AsyncIterator[Any]:
    wiring = await wire(settings.nats_url, settings)
    try:
        async with connected_rules(ProxyOptions(), settings) as rules:
            host = ServerHost(in_process(server), rules)
            async with webhook_front(wiring.connection, host, name, settings) as url:
                yield webhook_client(url)
            await host.close()
    finally:
        await wiring.close()


@asynccontextmanager
async def taking(target: Any, **options: Any) -> AsyncIterator[Client]:
    async with Client(target, extensions=[TakesTasks()], **options) as client:
        yield client


def wrong(error: MCPError) -> tuple[int, str]:
    assert KEY in error.error.message
    return error.error.code, error.error.data["code"]


@pytest.mark.parametrize("way", [in_memory, over_http, over_nats, over_webhooks])
async def test_a_key_means_one_call_over_every_way(name: str, settings: Settings, way: Way) -> None:
    given = load_settings(
        nats_url=settings.nats_url, data_dir=settings.data_dir, task_lease_seconds=1, webhook_networks="127.0.0.0/8"
    )
    key = {KEY: uuid4().hex}

    async with way(make(name, given), name, given) as target, taking(target, mode="2026-07-28") as client:
        first, second = [await call(client, "pay", key, amount=1) for _ in range(2)]
        assert first["taskId"] == second["taskId"]
        for tool, arguments in (("refund", {"amount": 1}), ("pay", {"amount": 2}), ("pay", {"amount": True})):
            with pytest.raises(MCPError) as caught:
                await call(client, tool, key, **arguments)
            # Over NATS and webhooks, the store of requests refuses it before the server does.
            assert "another call" in caught.value.error.message or "dempotency key" in caught.value.error.message
            if way is not over_webhooks:
                assert (caught.value.error.code, caught.value.error.data["code"]) == (INVALID, "key_reused")
        with pytest.raises(MCPError) as caught:
            await call(client, "pay", {KEY: "order 7"}, amount=1)
        assert wrong(caught.value) == (INVALID, "weak_key")


async def test_without_a_token_a_key_has_to_be_one_that_nobody_guesses(name: str, settings: Settings) -> None:
    async with serving(make(name, settings)) as url, taking(url) as client:
        for key, code in (("order 7", "weak_key"), ("x" * 21, "weak_key"), ("", "bad_request"), ([], "bad_request")):
            with pytest.raises(MCPError) as caught:
                await call(client, "pay", {KEY: key}, amount=1)
            assert wrong(caught.value) == (INVALID, code)
        assert (await call(client, "pay", {KEY: "x" * 22}, amount=1))["resultType"] == "task"


async def test_the_key_of_one_identity_is_not_that_of_another(name: str, settings: Settings) -> None:
    """With a token, any key will do; two identities whose names run together alike are two."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl("https://issuer.example"),
        resource_server_url=AnyHttpUrl("http://127.0.0.1/mcp"),
        validate_token_resource=False,
    )
    server = make(name, settings, token_verifier=Verifier(), auth=auth)

    async with serving(server) as url:

        async def pay(who: str, amount: int = 1) -> dict[str, Any]:
            params = {"name": "pay", "arguments": {"amount": amount}}
            return (await posted(url, "tools/call", params, key="7", mcp_name="pay", authorization=f"Bearer {who}"))[1]

        people = ("app:ann", "app:bob", "app", "app ann:x", "app:ann x", "app%20ann:x", "a" * 5_000 + ":ann")
        found = {who: (await pay(who))["taskId"] for who in people}
        assert len({*found.values()}) == len(people)
        assert {who: (await pay(who))["taskId"] for who in people} == found
        for who, other in pairwise(people):
            shown = await posted(url, "tasks/get", {"taskId": found[other]}, authorization=f"Bearer {who}")
            assert shown[1]["code"] == INVALID
        assert (await pay("app:ann", 2))["data"] == {"code": "key_reused"}
