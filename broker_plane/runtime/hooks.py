"""Webhooks over a wiring: the endpoints of a process, and the senders that a bridge runs.

Every bridge runs a sender for every endpoint; they share its durable, so that each event has one sender at a time, and
what one bridge was doing when it died another one does again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from broker_plane.client.addresses import parse_networks
from broker_plane.client.guard import webhook_guard
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.feeds.limits import Payer
from broker_plane.plane.feeds.ports import Durable
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.webhook_endpoints import Endpoints
from broker_plane.plane.feeds.webhook_sender import FeedSender
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.plane.webhooks.signed_post import WebhookResponse, WebhookTransport
from broker_plane.runtime.feeding import Feeding
from broker_plane.runtime.narrowing import Less, narrowed
from broker_plane.storage.webhooks import NatsWebhooks
from broker_plane.wire.feeds import Notice, parse_feed
from broker_plane.wire.urls import feed_url
from broker_plane.wire.webhooks import Endpoint, durable_of_hook, subscription_id

if TYPE_CHECKING:
    from broker_plane.client.post import WebhookPost

_LOOK_SECONDS = 1.0
_GRANT_SECONDS = 7 * 86_400
_ACK_SECONDS = 30.0
_MAX_ACK_PENDING = 1000
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Hooking:
    """The endpoints of webhooks."""

    feeds: Feeding
    hooks: NatsWebhooks
    endpoints: Endpoints

    async def add(
        self, feed: str, url: str, *, columns: list[str] | None = None, where: str | None = None
    ) -> tuple[Endpoint, str]:
        """An endpoint for the versions of `feed` from now on, and its secret, which is told this once.

        `columns` and `where` narrow the grant in its events. Before it is there it is asked whether it wants them: it
        answers a POST of `{"type": "verification", "challenge": …}` with 200 and `{"challenge": …}`.

        Raises:
            WebhookError, UntrustedHostError: it is not there.
        """
        await self.feeds.log.ensure()
        begin = await self.feeds.start(parse_feed(feed), "new")
        endpoint, secret = await self.endpoints.add(feed, url, columns=tuple(columns) if columns else None, where=where)
        await self.feeds.durables.ensure(durable_of(endpoint), lambda: _known(begin))
        return endpoint, secret

    async def subscribe(
        self, principal: str, feed: str, url: str, secret: str, *, begin: int, seconds: float
    ) -> tuple[Endpoint, bool]:
        """An MCP client's endpoint for the versions from the place `begin` on, for `seconds`; one that is there goes on
        where it is, for `seconds` from now. And whether it is new.

        Raises:
            WireError, WebhookError, UntrustedHostError: it is not there.
            DurableLimitError: the client has as many as it may.
        """
        await self.feeds.log.ensure()
        payer = payer_of_client(principal)
        if not await self.feeds.durables.exists(durable_of_hook(subscription_id(principal, parse_feed(feed), url))):
            await self.feeds.durables.check(payer)  # before anything is sent to the receiver
        endpoint, new = await self.endpoints.subscribe(
            principal, parse_feed(feed), url, secret, self.feeds.wiring.now() + seconds
        )
        await self.feeds.durables.ensure(replace(durable_of(endpoint), payer=payer), lambda: _known(begin))
        return endpoint, new

    async def remove(self, endpoint_id: str) -> None:
        """Nothing is sent there any more, and its place is gone."""
        endpoint = await self.endpoints.remove(endpoint_id)
        await self.feeds.durables.remove(endpoint.durable)

    async def ls(self) -> list[Endpoint]:
        return await self.hooks.all()

    async def log(self, endpoint_id: str) -> list[dict[str, Any]]:
        """Every try of the last seven days, oldest first."""
        return await self.hooks.attempts(endpoint_id)


@asynccontextmanager
async def hooking(feeds: Feeding, settings: Settings) -> AsyncIterator[Hooking]:
    """The endpoints, for the time of the block."""
    post = _Post(settings)
    try:
        endpoints = Endpoints(feeds.entries, post, now=feeds.wiring.now, random_bytes=secrets.token_bytes)
        yield Hooking(feeds, NatsWebhooks(feeds.wiring.connection), endpoints)
    finally:
        await post.close()


@asynccontextmanager
async def sending(feeds: Feeding, settings: Settings, bridge_url: str) -> AsyncIterator[None]:
    """Senders for every endpoint that is active, for the time of the block."""
    async with hooking(feeds, settings) as hooks:
        post = _Post(settings)
        task = asyncio.create_task(_Senders(hooks, post, settings, bridge_url).run())
        try:
            yield
        finally:
            await cancel_and_forget(task)
            await post.close()


class _Post:
    """The WebhookTransport port; the HTTP client is imported at the first event, because most bridges send none."""

    def __init__(self, settings: Settings) -> None:
        self._guard = webhook_guard(parse_networks(settings.webhook_networks))
        self._made: WebhookPost | None = None

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> WebhookResponse:
        if self._made is None:
            from broker_plane.client.post import WebhookPost

            self._made = WebhookPost(self._guard)
        return await self._made.post(url, body, headers, now)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


class _Senders:
    """One task an endpoint, begun and ended as endpoints come and go."""

    def __init__(self, hooks: Hooking, post: WebhookTransport, settings: Settings, bridge_url: str) -> None:
        self._hooks = hooks
        self._post = post
        self._bridge_url = bridge_url
        self._tries = RetrySchedule(
            delays=tuple(map(float, settings.webhook_retry_delays_seconds.split(","))), jitter=_JITTER
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        try:
            while True:
                with suppress(BrokerPlaneError):
                    await self._look()
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self) -> None:
        # Who has no feeds has none of their streams: to look makes none.
        if not await self._hooks.feeds.log.exists():
            return
        endpoints = await self._hooks.ls()
        now = self._hooks.feeds.wiring.now()
        for endpoint in endpoints:
            if not endpoint.alive(now):
                await self._hooks.remove(endpoint.id)
        active = {each.id: each for each in endpoints if each.state == "active" and each.alive(now)}
        for gone in [number for number in self._tasks if number not in active]:
            self._tasks.pop(gone).cancel()
        for number, endpoint in active.items():
            if number not in self._tasks or self._tasks[number].done():
                self._tasks[number] = asyncio.create_task(self._send(endpoint))

    async def _send(self, endpoint: Endpoint) -> None:
        hooks, now = self._hooks, self._hooks.feeds.wiring.now
        sender = FeedSender(endpoint, hooks.endpoints, self._post, self._address, hooks.hooks.log, now=now)
        with suppress(BrokerPlaneError):  # the next look begins it again
            await self._hooks.feeds.subscriber(durable_of(endpoint), self._tries).run(sender.send)

    async def _address(self, endpoint: Endpoint, notice: Notice) -> str:
        """Where the receiver gets the version, with a grant of its own for it."""
        grant = await self._hooks.feeds.wiring.grants.minting.mint_feed(notice.feed, ttl=_GRANT_SECONDS)
        url = feed_url(self._bridge_url, grant)
        less = Less(columns=endpoint.columns, where=endpoint.where)
        wiring = self._hooks.feeds.wiring
        shown = narrowed(url, less, bridge_url=self._bridge_url, names=wiring.connection.names, now=wiring.now())
        return f"{shown.resource_url}/{notice.version}"


def payer_of_client(principal: str) -> Payer:
    """On whose account the webhooks of an MCP client are."""
    return Payer(f"mcp-{sha256(principal.encode()).hexdigest()[:32]}", "mcp")


def durable_of(endpoint: Endpoint) -> Durable:
    return Durable(
        name=endpoint.durable, feed=endpoint.feed, ack_seconds=_ACK_SECONDS, max_ack_pending=_MAX_ACK_PENDING
    )


async def _known(begin: int) -> int:
    return begin
