"""Durables of grants are bounded, by root grant, owner and in total, as the broker has them; on every way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Literal
from uuid import uuid4

import httpx2
import pytest
from msgspec.structs import replace
from websockets.exceptions import InvalidStatus

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, DurableLimitError, ForbiddenError, WebhookError
from broker_plane.plane.feeds.limits import DurablePayer
from broker_plane.plane.feeds.ports import Durable
from broker_plane.runtime.webhooks import payer_of_client
from broker_plane.subjects.puller import NatsPuller
from broker_plane.testing.server import NatsServer
from broker_plane.wire.durables import guest_durable
from broker_plane.wire.names import asker_of
from broker_plane.wire.plane_names import Names
from broker_plane.wire.presigned import PullRequest, parse_durable_answer
from broker_plane.wire.selector import WHOLE
from tests.bridge.test_feed_sockets import socket
from tests.bridge.test_feeds import ROWS, publish

pytestmark = pytest.mark.anyio
MOST = 4
Way = Literal["events", "socket"]


@pytest.fixture
async def bounded(settings: Settings) -> AsyncIterator[Plane]:
    """A plane with a bridge, on which a grant may have four durables."""
    async with Plane.connect(replace(settings, max_durables_per_grant=MOST)) as connected:
        yield connected


async def open_durable(way: Way, client: httpx2.AsyncClient, url: str, name: str) -> int:
    """Ask for a durable; the status of the answer."""
    address = f"{url}?durable={name}&since=first"
    if way == "socket":
        try:
            async with socket(address):
                return 200
        except InvalidStatus as refused:
            return refused.response.status_code
    async with client.stream("GET", address, headers={"accept": "text/event-stream"}) as answer:
        return answer.status_code


async def made_by(plane: Plane, grant: str) -> int:
    """Durables that the broker has of the root of this grant."""
    found = await plane.feeds.adapters.durables._payers()
    opened = await plane.wiring.deliveries.open(grant)
    return sum(payer.grant == opened.grant.id for payer in found)


@pytest.mark.parametrize("way", ["events", "socket"])
async def test_a_grant_has_so_many_durables_and_no_more(
    bounded: Plane, feed: str, client: httpx2.AsyncClient, way: Way
) -> None:
    await publish(bounded, feed, ROWS)
    granted = await bounded.feeds.grant(feed)
    found = [await open_durable(way, client, granted.resource_url, f"d{number}") for number in range(MOST + 6)]
    assert found == [200] * MOST + [429] * 6
    assert await made_by(bounded, granted.grant) == MOST
    assert await open_durable(way, client, granted.resource_url, "d0") == 200  # what is there goes on
    other = await bounded.feeds.grant(feed)
    assert await open_durable(way, client, other.resource_url, "d0") == 200


async def test_the_refusal_has_a_name_and_says_what_to_do(
    bounded: Plane, feed: str, client: httpx2.AsyncClient
) -> None:
    await publish(bounded, feed, ROWS)
    url = (await bounded.feeds.grant(feed)).resource_url
    for number in range(MOST):
        await open_durable("events", client, url, f"d{number}")
    answer = await client.get(f"{url}?durable=more", headers={"accept": "text/event-stream"})
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_many_durables"
    assert "Reuse one" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


NARROWED: list[dict[str, Any]] = [
    {"ttl": 500},
    {"ttl": 400},
    {"columns": ["id", "name"]},
    {"columns": ["id", "city"]},
    {"columns": ["id"]},
    {"where": "city = 'Oslo'"},
    {"where": "id > 1"},
    {"rows": [0, 1]},
    {"max_bytes": 10_000_000},
    {"columns": ["id", "name"], "ttl": 300},
    {"where": "id < 3", "columns": ["id", "city"]},
    {"ttl": 200, "max_bytes": 20_000_000},
]


@pytest.mark.parametrize("way", ["events", "socket"])
async def test_narrowed_grants_share_the_durables_of_their_root(
    bounded: Plane, feed: str, client: httpx2.AsyncClient, way: Way
) -> None:
    await publish(bounded, feed, ROWS)
    granted = await bounded.feeds.grant(feed)
    urls = []
    for less in NARROWED:
        with suppress(BrokerPlaneError, TypeError):
            urls.append(bounded.narrow(granted.resource_url, **less).resource_url)
    assert len(urls) >= 10
    found = [await open_durable(way, client, url, "mine") for url in urls]
    assert found.count(200) == MOST
    assert found.count(429) == len(urls) - MOST
    assert await made_by(bounded, granted.grant) == MOST


async def test_those_who_come_at_once_to_two_bridges_are_counted(
    bounded: Plane, feed: str, client: httpx2.AsyncClient
) -> None:
    await publish(bounded, feed, ROWS)
    granted = await bounded.feeds.grant(feed)
    async with Plane.connect(bounded.settings) as other:
        urls = [granted.resource_url, granted.resource_url.replace(bounded.bridge_url, other.bridge_url)]
        await asyncio.gather(*(open_durable("events", client, urls[number % 2], f"d{number}") for number in range(40)))
        made = await made_by(bounded, granted.grant)
        assert MOST <= made <= MOST + 1  # each bridge makes one after the other
        assert await open_durable("events", client, urls[0], "late") == 429
        assert await open_durable("events", client, urls[1], "later") == 429
    async with Plane.connect(bounded.settings) as restarted:  # what was counted is what the broker has
        moved = granted.resource_url.replace(bounded.bridge_url, restarted.bridge_url)
        assert await open_durable("events", client, moved, "again") == 429
    assert await made_by(bounded, granted.grant) == made


async def test_over_nats_a_grant_makes_the_durable_called_feeds_and_no_other(bounded: Plane, feed: str) -> None:
    await publish(bounded, feed, ROWS)
    granted = await bounded.feeds.grant(feed)
    narrowed = bounded.narrow(granted.resource_url, ttl=300).resource_url
    puller = NatsPuller(bounded.wiring.connection, f"asker-{uuid4().hex[:8]}")
    for name in ("d0", "d1", "email", "Feeds", "feeds2", "feed", "hook_x", "a_b", "0", "feeds_"):
        with pytest.raises(ForbiddenError, match="feeds"):
            raise_error(await puller.request(narrowed, PullRequest(puller.new_number(), WHOLE, durable=name)))
    raise_error(await puller.request(narrowed, PullRequest(puller.new_number(), WHOLE, durable="feeds")))
    assert await made_by(bounded, granted.grant) == 1


async def test_over_nats_askers_of_any_name_share_the_durables_of_a_grant(bounded: Plane, feed: str) -> None:
    await publish(bounded, feed, ROWS)
    granted = await bounded.feeds.grant(feed)
    refused = 0
    for number in range(MOST + 6):
        narrowed = bounded.narrow(granted.resource_url, ttl=300 - number).resource_url
        puller = NatsPuller(bounded.wiring.connection, f"asker-{number}-{uuid4().hex[:8]}")
        try:
            raise_error(await puller.request(narrowed, PullRequest(puller.new_number(), WHOLE, durable="feeds")))
        except BrokerPlaneError as error:
            assert error.code == "too_many_durables"
            refused += 1
    assert (refused, await made_by(bounded, granted.grant)) == (6, MOST)


async def test_a_durable_ends_with_its_grant_or_sooner(bounded: Plane, feed: str, client: httpx2.AsyncClient) -> None:
    await publish(bounded, feed, ROWS)
    for ttl, most in [(90, 90), (600, 600), (30 * 86_400, 7 * 86_400)]:
        granted = await bounded.feeds.grant(feed, ttl=ttl)
        assert await open_durable("events", client, granted.resource_url, "mine") == 200
        name = guest_durable(asker_of(granted.grant), "mine")
        info = await bounded.wiring.connection.api(f"CONSUMER.INFO.{Names().feeds_stream}.{name}")
        assert 0 < info["config"]["inactive_threshold"] <= (most + 1) * 10**9


@pytest.mark.parametrize(("setting", "most"), [("max_durables_per_owner", 6), ("max_durables", 7)])
async def test_all_grants_of_an_owner_and_all_together_have_a_bound(
    own_server: NatsServer, client: httpx2.AsyncClient, feed: str, settings: Settings, setting: str, most: int
) -> None:
    limited = replace(settings, nats_url=own_server.url, **{"max_durables_per_grant": MOST, setting: most})
    async with Plane.connect(limited) as plane:
        await publish(plane, feed, ROWS)
        urls = [(await plane.feeds.grant(feed)).resource_url for _ in range(12)]
        found = [await open_durable("events", client, url, "mine") for url in urls]
        assert found == [200] * most + [429] * (12 - most)
        await plane.feeds.ensure_durable(feed, "of-somebody-with-rights", "first", 30.0)


async def test_an_mcp_client_has_so_many_webhooks_and_nothing_is_sent_beyond(bounded: Plane, feed: str) -> None:
    await publish(bounded, feed, ROWS)
    payer = DurablePayer("mcp-" + "0" * 32, "mcp")
    durables = bounded.feeds.adapters.durables
    assert durables.limits.per_grant == MOST
    hooks = bounded.webhooks
    principal, secret = f"client-{uuid4().hex}", "whsec_" + "A" * 44
    for number in range(MOST):
        await _fill(bounded, feed, principal, number)
    with pytest.raises(DurableLimitError):
        await hooks.subscribe(principal, feed, "https://receiver.invalid/x", secret, begin=1, seconds=60)
    with pytest.raises((WebhookError, BrokerPlaneError)) as other:
        await hooks.subscribe("another", feed, "https://receiver.invalid/x", secret, begin=1, seconds=60)
    assert not isinstance(other.value, DurableLimitError)
    await durables.check(payer)


async def _fill(plane: Plane, feed: str, principal: str, number: int) -> None:
    """A durable as a webhook of this client has it."""
    durable = Durable(name=f"hook_{uuid4().hex}{number}", feed=feed, payer=payer_of_client(principal))
    await plane.feeds.adapters.durables.ensure(durable, _one)


async def _one() -> int:
    return 1


def raise_error(raw: bytes) -> None:
    """Raise what a pull's answer says is wrong."""
    parse_durable_answer(raw)
