"""`events/subscribe` by webhook: signed by the client's secret, refreshed, ended, and alive without its server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import Request

from broker_plane import Plane, PlaneServer
from broker_plane.config import Settings, load_settings
from broker_plane.mcp_server.event_shapes import CODES, INVALID_PARAMS, SubscribeParams, UnsubscribeParams
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.web.server import HttpServer
from tests.contract.test_webhooks import Receiver, receiver
from tests.interaction.test_feeds import FEED, ask, crm

pytestmark = pytest.mark.anyio
__all__ = ["receiver"]
SECRET, OTHER = ("whsec_" + b64encode(letter * 32).decode() for letter in (b"a", b"b"))


class Subscribe(Request[SubscribeParams, Literal["events/subscribe"]]):
    method: Literal["events/subscribe"] = "events/subscribe"


class Unsubscribe(Request[UnsubscribeParams, Literal["events/unsubscribe"]]):
    method: Literal["events/unsubscribe"] = "events/unsubscribe"


def subscribe(url: str, secret: str = SECRET, **more: Any) -> Subscribe:
    delivery = {"mode": "webhook", "url": url, "secret": secret}
    return Subscribe(params=SubscribeParams.model_validate({"name": FEED, "delivery": delivery, **more}))


def unsubscribe(url: str) -> Unsubscribe:
    return Unsubscribe(params=UnsubscribeParams.model_validate({"name": FEED, "delivery": {"url": url}}))


@pytest.fixture
def quick(own_server: NatsServer, tmp_path: Path) -> Settings:
    return load_settings(
        nats_url=own_server.url, data_dir=tmp_path, webhook_networks="127.0.0.0/8", webhook_retry_delays_seconds="0.01"
    )


@pytest.fixture
async def plane(quick: Settings) -> AsyncIterator[Plane]:
    """Its bridge sends."""
    async with Plane.connect(quick) as connected:
        yield connected


async def test_events_come_signed_and_go_on_when_the_server_is_gone(
    plane: Plane, quick: Settings, receiver: Receiver
) -> None:
    async with Client(crm(quick).mcp) as client:
        made = await ask(client, subscribe(receiver.url))
        assert (made["truncated"], made["cursor"]) == (False, "0")
        assert receiver.challenges[0].signed_by(SECRET)
        await client.call_tool("rename", {"name": "Ann"})
        await until(lambda: receiver.heard, "the first event")
        again = await ask(client, subscribe(receiver.url, OTHER))
        assert again["id"] == made["id"] and again["refreshBefore"] > made["refreshBefore"]
    await plane.publish([{"id": 1, "name": "Bob"}], feed=FEED, key="id")
    await until(lambda: len(receiver.heard) == 2, "the second event")
    first, second = receiver.heard
    assert first.event["data"]["version"] == 1 and second.event["data"]["version"] == 2
    assert first.headers["webhook-id"] == first.event["eventId"] != second.event["eventId"]
    assert first.headers["x-mcp-subscription-id"] == made["id"]
    assert first.signed_by(SECRET) and second.signed_by(OTHER)
    assert second.event["name"] == FEED and int(second.event["cursor"]) > int(first.event["cursor"])
    assert second.event["data"]["resource_url"].endswith("/2")


async def test_a_subscription_begins_after_its_cursor_and_ends_on_its_clients_word(
    plane: Plane, quick: Settings, receiver: Receiver
) -> None:
    async with Client(crm(quick).mcp) as client:
        for name in ("Ann", "Bob"):
            await client.call_tool("rename", {"name": name})
        await ask(client, subscribe(receiver.url, cursor="0"))
        await until(lambda: len(receiver.heard) == 2, "both")
        await ask(client, unsubscribe(receiver.url))
        hooks = plane.webhooks
        assert await hooks.list() == []
        with pytest.raises(MCPError):
            await ask(client, unsubscribe(receiver.url))


async def test_a_subscription_that_is_not_refreshed_ends(plane: Plane, quick: Settings, receiver: Receiver) -> None:
    async with Client(crm(quick).mcp) as client:
        hooks = plane.webhooks
        await client.call_tool("rename", {"name": "Ann"})
        made = await ask(client, subscribe(receiver.url, ttlMs=1))

        async def forgotten() -> bool:
            durables = await plane.feeds.durables()
            return not await hooks.list() and f"hook_{made['id']}" not in durables

        await until(forgotten, "the subscription to be forgotten")


async def test_who_may_not_subscribe_is_told_why(quick: Settings, receiver: Receiver) -> None:
    receiver.echo = False
    async with Client(crm(quick).mcp) as client:
        for request, code in [
            (subscribe(receiver.url), CODES["CallbackEndpointError"]),
            (subscribe("https://10.0.0.1/"), CODES["CallbackEndpointError"]),
            (subscribe(receiver.url, "whsec_x"), INVALID_PARAMS),
        ]:
            with pytest.raises(MCPError) as refused:
                await ask(client, request)
            assert refused.value.code == code


async def test_over_http_a_subscription_is_of_somebody(quick: Settings, receiver: Receiver) -> None:
    server: PlaneServer = crm(quick)
    app = server.mcp.streamable_http_app()
    async with (
        server.mcp.session_manager.run(),
        HttpServer(app) as http,
        Client(f"{http.url}/mcp") as client,
    ):
        with pytest.raises(MCPError) as refused:
            await ask(client, subscribe(receiver.url))
    assert refused.value.code == CODES["Forbidden"]
    assert not receiver.challenges
