"""A bridge over a wiring: the HTTP side, and a member of the responders of the presigned subject."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from broker_plane.bridge.app import Subscriptions, bridge_app
from broker_plane.bridge.audience import load_audiences
from broker_plane.bridge.cors import parse_cors
from broker_plane.bridge.guard import guard_of
from broker_plane.bridge.serve import BridgeServer
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.fairness.work import Work
from broker_plane.plane.feeds.access import GrantedFeeds
from broker_plane.plane.feeds.http_durables import Places
from broker_plane.plane.reclaim.orphans import EVERY_SECONDS, Sweeper
from broker_plane.plane.streams.access import GrantedLive
from broker_plane.plane.tasks import abandoned
from broker_plane.runtime.feed_adapters import FeedAdapters, feed_adapters
from broker_plane.runtime.own_bridges import started
from broker_plane.runtime.uploads import upload_service
from broker_plane.runtime.webhook_senders import sending_webhooks
from broker_plane.runtime.wiring import Wiring, access_of
from broker_plane.storage.copies import Copies
from broker_plane.storage.keys import NatsKeys
from broker_plane.storage.live_streams import NatsLive
from broker_plane.storage.orphans import NatsSwept
from broker_plane.storage.owners import OwnersBuckets
from broker_plane.storage.revocations import RevocationWatch
from broker_plane.subjects.auth_callout import callout
from broker_plane.subjects.feed_requests import FeedAnswers
from broker_plane.subjects.responder import Responder
from broker_plane.wire.names import encode_id

_SWEEP_SECONDS = 3600.0


@asynccontextmanager
async def bridging(
    wiring: Wiring,
    settings: Settings,
    *,
    host: str,
    port: int,
    certfile: Path | None = None,
    keyfile: Path | None = None,
) -> AsyncIterator[str]:
    """Serve bodies for the time of the block; yields the public base URL.

    Raises:
        PortInUseError, ConfigError: the address cannot be served.
    """
    if settings.role != "plane":
        raise ConfigError("A bridge reads every body and needs the user plane: unset BROKER_PLANE_ROLE")
    if settings.nats_domain:  # revocations are heard where they are written
        raise ConfigError(
            "A bridge runs where JetStream is, not in another domain: run it at the hub, without "
            "BROKER_PLANE_NATS_DOMAIN, and set BROKER_PLANE_BRIDGE_URL to it here"
        )
    wiring.gate.shut()  # the watch of revocations opens it
    cache = CachingBodyStore(wiring.store, settings.cache_bytes)
    deliveries = Deliveries(cache, wiring.grants, wiring.broker, Work(settings.pass_seconds))
    sweeper = Sweeper(wiring.states, NatsSwept(wiring.connection), encode_id(secrets.token_bytes(9)))
    feeds = feed_adapters(wiring, settings)
    granted = GrantedFeeds(feeds.log, feeds.tail, feeds.stored, deliveries.on("http"))
    subscriptions = Subscriptions(granted, Places(feeds.durables, feeds.start, feeds.durables.limits, now=wiring.now))
    live = NatsLive(wiring.connection, settings.replicas)
    over_http = GrantedLive(live, deliveries.on("http"))
    uploads = upload_service(wiring, settings)
    audiences = load_audiences(settings.audiences)
    cors = parse_cors(settings.cors_origins)
    guard = guard_of(settings.hosts, settings.bridge_url, bound=host, pages=cors.origins, any_origin=cors.any_origin)
    required = settings.confirm == "required"
    served = (deliveries, cache, audiences, sweeper, subscriptions, over_http, uploads)
    app = bridge_app(
        *served,
        guard=guard,
        cors=cors,
        confirmation_required=required,
        restored=lambda: wiring.copies.restored,
    )
    server = BridgeServer(app, host, port, public_url=settings.bridge_url, certfile=certfile, keyfile=keyfile)
    asked = GrantedFeeds(feeds.log, feeds.tail, feeds.stored, deliveries.on("nats"))
    responder = Responder(
        wiring.connection,
        deliveries.on("nats"),
        FeedAnswers(asked, feeds.durables, feeds.start, feeds.durables.limits, now=wiring.now),
        GrantedLive(live, deliveries.on("nats")),
    )

    async def verify() -> bool:
        changed = await wiring.copies.verify()
        if isinstance(wiring.keys, NatsKeys):
            await wiring.keys.look()
        return changed

    watch = RevocationWatch(wiring.connection, wiring.grants.revoked, wiring.gate, verify)
    async with server, _admitting(wiring, settings), _sweeping(sweeper, wiring.copies):
        await OwnersBuckets(wiring.connection, settings.replicas).start()
        watch.start()
        with suppress(BrokerPlaneError):  # whoever asks waits as well
            await wiring.gate.passed()
        await responder.start()
        sweeping = asyncio.create_task(_sweep(feeds, NatsSwept(wiring.connection)))
        try:
            async with sending_webhooks(wiring, feeds, settings, server.url):
                with started(server.url):
                    yield server.url
        finally:
            granted.closing.set()
            sweeping.cancel()
            await responder.close()
            await watch.close()


@asynccontextmanager
async def _sweeping(sweeper: Sweeper, copies: Copies) -> AsyncIterator[None]:
    """A turn every minute, for the time of the block; most turns find that another bridge sweeps.

    Whoever sweeps copies the keys that resource servers have registered, which may not do that themselves.
    """

    async def sweep() -> None:
        while True:
            with suppress(BrokerPlaneError):
                if await sweeper.turn() and sweeper.passes > 1:
                    await copies.verify_keys()
            await asyncio.sleep(EVERY_SECONDS)

    task = asyncio.create_task(sweep())
    try:
        yield
    finally:
        await abandoned(task)


@asynccontextmanager
async def _admitting(wiring: Wiring, settings: Settings) -> AsyncIterator[None]:
    """Whoever connects with a grant is let in, where the settings say how."""
    admitting = await callout(wiring.url, settings, wiring.grants, wiring.now, access_of(settings))
    try:
        yield
    finally:
        if admitting is not None:
            await admitting.close()


async def _sweep(feeds: FeedAdapters, buckets: NatsSwept) -> None:
    """Bodies that no version names are freed, of every owner; that several bridges do it harms nothing."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        with suppress(BrokerPlaneError):  # the next one finds it as well
            for owner in await buckets.owners():
                await feeds.delete_orphans(owner)
