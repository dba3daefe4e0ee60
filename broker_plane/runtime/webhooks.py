"""`plane.webhooks`: HTTP receivers of feeds. Bridges send to them (`webhook_senders`)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from broker_plane.client.addresses import parse_networks
from broker_plane.client.guard import webhook_guard
from broker_plane.config import Settings
from broker_plane.plane.feeds.limits import DurablePayer
from broker_plane.plane.feeds.ports import Durable
from broker_plane.plane.feeds.webhook_endpoints import Endpoints
from broker_plane.plane.webhooks.signed_post import WebhookResponse
from broker_plane.runtime.feed_adapters import FeedAdapters
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.webhooks import NatsWebhooks
from broker_plane.wire.feeds import parse_feed
from broker_plane.wire.webhooks import Endpoint, durable_of_hook, subscription_id

if TYPE_CHECKING:
    from broker_plane.client.post import WebhookPost

_ACK_SECONDS = 30.0
_MAX_ACK_PENDING = 1000
_EndpointList = list[Endpoint]
_Attempts = list[dict[str, Any]]


class LazyPost:
    """Sends webhooks. The HTTP client is imported with the first event, because most processes send none."""

    def __init__(self, settings: Settings) -> None:
        self._guard = webhook_guard(parse_networks(settings.webhook_networks))
        self._made: WebhookPost | None = None

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> WebhookResponse:
        if self._made is None:
            from broker_plane.client.post import WebhookPost

            self._made = WebhookPost(self._guard)
        return await self._made.post(url, body, headers, now)

    async def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            await made.close()


class Webhooks:
    """The endpoints to which bridges send the notices of feeds. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, feeds: FeedAdapters, settings: Settings) -> None:
        self._feeds = feeds
        self._post = LazyPost(settings)
        self._hooks = NatsWebhooks(wiring.connection)
        self.endpoints = Endpoints(feeds.entries, self._post, now=wiring.now, random_bytes=secrets.token_bytes)
        """The entries of the endpoints, for the senders of a bridge."""
        self.attempt_log = self._hooks.log
        """Records one attempt to send, for the senders of a bridge."""

    async def close(self) -> None:
        await self._post.close()

    async def add(
        self, feed: str, url: str, *, columns: Sequence[str] | None = None, where: str | None = None
    ) -> tuple[Endpoint, str]:
        """Return a new endpoint for the versions of `feed` from now on, and its secret, which is shown only once.

        `columns` and `where` narrow the grant in its events. The endpoint is verified first: it must answer a POST of
        `{"type": "verification", "challenge": …}` with 200 and `{"challenge": …}`.

        Raises:
            WebhookError, UntrustedHostError: the endpoint was not added.
        """
        await self._feeds.log.ensure()
        begin = await self._feeds.start(parse_feed(feed), "new")
        shown = tuple(columns) if columns else None
        endpoint, secret = await self.endpoints.add(feed, url, columns=shown, where=where)
        await self._feeds.durables.ensure(durable_of(endpoint), lambda: _known(begin))
        return endpoint, secret

    async def subscribe(
        self, principal: str, feed: str, url: str, secret: str, *, begin: int, seconds: float
    ) -> tuple[Endpoint, bool]:
        """Return an MCP client's endpoint for the versions from the sequence `begin` on, and whether it is new.

        It expires `seconds` from now. If it exists already, it keeps its cursor and its expiry is renewed.

        Raises:
            WireError, WebhookError, UntrustedHostError: the endpoint was not added.
            DurableLimitError: the client has as many as it may have.
        """
        await self._feeds.log.ensure()
        payer = payer_of_client(principal)
        if not await self._feeds.durables.exists(durable_of_hook(subscription_id(principal, parse_feed(feed), url))):
            await self._feeds.durables.check(payer)  # before anything is sent to the receiver
        expires = self._feeds.now() + seconds
        endpoint, new = await self.endpoints.subscribe(principal, parse_feed(feed), url, secret, expires)
        await self._feeds.durables.ensure(replace(durable_of(endpoint), payer=payer), lambda: _known(begin))
        return endpoint, new

    async def remove(self, endpoint_id: str) -> None:
        """Stop sending to an endpoint, and delete its cursor."""
        endpoint = await self.endpoints.remove(endpoint_id)
        await self._feeds.durables.remove(endpoint.durable)

    async def list(self) -> _EndpointList:
        """Return every endpoint, in the order in which they were last changed."""
        return await self._hooks.all()

    async def attempts(self, endpoint_id: str) -> _Attempts:
        """Return every attempt of the last seven days, oldest first."""
        return await self._hooks.attempts(endpoint_id)

    async def rotate(self, endpoint_id: str) -> str:
        """Return a new secret; the previous one signs beside it for a day."""
        return await self.endpoints.rotate(endpoint_id)

    async def enable(self, endpoint_id: str) -> None:
        """Resume a disabled endpoint at its cursor, after verifying it.

        Raises:
            WebhookError, UntrustedHostError: it is still disabled.
        """
        await self.endpoints.enable(endpoint_id)


def payer_of_client(principal: str) -> DurablePayer:
    """Return the account to which the webhooks of an MCP client count."""
    return DurablePayer(f"mcp-{sha256(principal.encode()).hexdigest()[:32]}", "mcp")


def durable_of(endpoint: Endpoint) -> Durable:
    """Return the durable that holds an endpoint's cursor."""
    return Durable(
        name=endpoint.durable, feed=endpoint.feed, ack_seconds=_ACK_SECONDS, max_ack_pending=_MAX_ACK_PENDING
    )


async def _known(begin: int) -> int:
    return begin
