"""Feeds over MCP: a client that listens hears of versions that another process publishes; a poll misses nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.client import ClientExtension, NotificationBinding
from mcp.shared.exceptions import MCPError
from mcp.types import Request

from broker_plane import Plane, PlaneServer
from broker_plane.config import Settings, load_settings
from broker_plane.mcp_server.event_shapes import (
    CODES,
    EVENTS,
    EventParams,
    EventsResult,
    ListParams,
    PollParams,
)
from broker_plane.mcp_server.feed import feed_uri
from broker_plane.testing.server import NatsServer

pytestmark = pytest.mark.anyio
FEED = "crm.contacts"


class ListRequest(Request[ListParams, Literal["events/list"]]):
    method: Literal["events/list"] = "events/list"


class PollRequest(Request[PollParams, Literal["events/poll"]]):
    method: Literal["events/poll"] = "events/poll"


class StreamRequest(Request[PollParams, Literal["events/stream"]]):
    method: Literal["events/stream"] = "events/stream"


@pytest.fixture
def own_settings(own_server: NatsServer, tmp_path: Any) -> Settings:
    return load_settings(nats_url=own_server.url, data_dir=tmp_path)


def crm(settings: Settings) -> PlaneServer:
    """A server process; others with the same settings are other processes to it."""
    server = PlaneServer("crm", settings=settings)
    feed = server.feed(FEED, key="id")

    @server.mcp.tool()
    async def rename(name: str) -> int:
        return (await feed.publish([{"id": 1, "name": name}])).version

    return server


async def test_clients_of_every_server_process_hear_of_a_version(own_settings: Settings) -> None:
    one, other = crm(own_settings), crm(own_settings)
    async with Client(one.mcp) as first, Client(other.mcp) as second:
        await first.call_tool("rename", {"name": "Ann"})
        async with (
            first.listen(resource_subscriptions=[feed_uri(FEED)]) as here,
            second.listen(resource_subscriptions=[feed_uri(FEED)]) as there,
        ):
            for heard in (here, there):  # that they listen now, and may have missed something
                await asyncio.wait_for(anext(aiter(heard)), 20)
            await first.call_tool("rename", {"name": "Bob"})
            for heard in (here, there):
                event: Any = await asyncio.wait_for(anext(aiter(heard)), 20)
                assert event.uri == feed_uri(FEED)
        (content,) = (await second.read_resource(feed_uri(FEED))).contents
        resource = json.loads(content.text)  # type: ignore[union-attr]
        assert resource["version"] == 2
        async with Plane.connect(own_settings) as plane:
            assert f"{plane.bridge_url[:17]}" in resource["resource_url"]


async def ask(client: Client, request: Any) -> dict[str, Any]:
    return (await client.session.send_request(request, EventsResult)).model_dump(by_alias=True)


def poll(cursor: str | None = None, **more: Any) -> PollRequest:
    return PollRequest(params=PollParams.model_validate({"name": FEED, "cursor": cursor, **more}))


async def test_a_poll_with_a_cursor_misses_nothing_also_after_a_restart_of_everything(
    own_settings: Settings, own_server: NatsServer
) -> None:
    async with Client(crm(own_settings).mcp) as client:
        assert [event["name"] for event in (await ask(client, ListRequest(params=ListParams())))["events"]] == [FEED]
        begun = await ask(client, poll())
        assert (begun["events"], begun["hasMore"]) == ([], False)
        await client.call_tool("rename", {"name": "Ann"})
        first = await ask(client, poll(begun["cursor"]))
        assert [event["data"]["version"] for event in first["events"]] == [1]
        for name in ("Bob", "Cem"):
            await client.call_tool("rename", {"name": name})
    own_server.kill()
    own_server.start()
    async with Client(crm(own_settings).mcp) as client:
        page = await ask(client, poll(first["cursor"], maxEvents=1))
        assert ([event["data"]["version"] for event in page["events"]], page["hasMore"]) == ([2], True)
        rest = await ask(client, poll(page["cursor"]))
        assert [event["data"]["version"] for event in rest["events"]] == [3]
        assert not rest["truncated"]


async def test_a_stream_says_where_it_is_and_what_comes(own_settings: Settings) -> None:
    heard: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    class Subscription(ClientExtension):
        identifier = EVENTS

        def notifications(self) -> list[NotificationBinding[Any]]:
            return [self._binding(what) for what in ("active", "event")]

        def _binding(self, what: str) -> NotificationBinding[Any]:
            async def take(params: EventParams) -> None:
                heard.put_nowait((what, params.model_dump(by_alias=True)))

            return NotificationBinding(method=f"notifications/events/{what}", params_type=EventParams, handler=take)

    async with Client(crm(own_settings).mcp, extensions=[Subscription()]) as client:
        streaming = asyncio.create_task(
            client.session.send_request(StreamRequest(params=PollParams(name=FEED)), EventsResult)
        )
        try:
            assert (await asyncio.wait_for(heard.get(), 20))[0] == "active"
            await client.call_tool("rename", {"name": "Ann"})
            what, params = await asyncio.wait_for(heard.get(), 20)
            assert (what, params["data"]["version"], params["name"]) == ("event", 1, FEED)
        finally:
            streaming.cancel()
            await asyncio.gather(streaming, return_exceptions=True)


async def test_an_event_that_is_none_has_the_code_of_the_table(own_settings: Settings) -> None:
    async with Client(crm(own_settings).mcp) as client:
        with pytest.raises(MCPError) as refused:
            await ask(client, PollRequest(params=PollParams(name="other")))
    assert refused.value.error.code == CODES["NotFound"]
