"""Runs a bridge: its HTTP side, its answers on presigned subjects, and its background work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.plane.first_use import FirstUse
from broker_plane.plane.reclaim.orphans import EVERY_SECONDS, OrphanCollector
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.bridge_features import bridge_app
from broker_plane.runtime.bridge_services import BridgeServices
from broker_plane.runtime.guest_connections import admitting
from broker_plane.runtime.started_bridges import started
from broker_plane.runtime.webhook_sending import sending_webhooks
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.copies import Copies
from broker_plane.storage.orphans import NatsOrphans
from broker_plane.storage.owners import OwnerBuckets
from broker_plane.web.server import HttpServer

if TYPE_CHECKING:
    from broker_plane.runtime.feed_adapters import FeedAdapters

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
    """Run a bridge for the block; yields its public base URL.

    Raises:
        PortInUseError, ConfigError: it cannot listen at the address, or a setting is wrong.
    """
    _check(settings)
    wiring.gate.shut()  # the watch of revocations opens it
    services = BridgeServices(wiring, settings)
    app = bridge_app(services, host)
    public_url = settings.bridge_url
    tracking = app.tracking()
    server = HttpServer(app, host, port, public_url=public_url, certfile=certfile, keyfile=keyfile, tracking=tracking)
    services.sessions.url = server.url
    responder, watch = services.responder(app.metrics.answered), services.revocation_watch()
    app.metrics.expect(responder.routes)
    async with server, admitting(wiring, settings), _sweeping(services.sweeper, wiring.copies):
        await OwnerBuckets(wiring.connection).start()
        watch.start()
        with suppress(BrokerPlaneError):  # requests wait for the gate as well
            await wiring.gate.passed()
        await responder.start()
        await services.sessions.start(app.metrics)
        sweeping = asyncio.create_task(_sweep_feeds(services.feeds, NatsOrphans(wiring.connection)))
        try:
            async with sending_webhooks(wiring, services.feeds, settings, server.url):
                with started(server.url):
                    yield server.url
        finally:
            services.closing.set()
            sweeping.cancel()
            await services.close()
            await responder.close()
            await watch.close()


def _check(settings: Settings) -> None:
    if settings.role != "plane":
        raise ConfigError("A bridge reads every body and needs the role plane: unset BROKER_PLANE_ROLE")
    if settings.nats_domain:  # revocations are only visible where they are written
        raise ConfigError(
            "A bridge must run in JetStream's own domain: run it at the hub, without BROKER_PLANE_NATS_DOMAIN, and set "
            "BROKER_PLANE_BRIDGE_URL to it here"
        )
    _check_features(settings)


def _check_features(settings: Settings) -> None:
    """Refuse settings of features now, which would otherwise be read with the first request."""
    if settings.session_validators:
        from broker_plane.validators.runner import parse_validators

        parse_validators(settings.session_validators)
    if settings.webhook_networks:
        from broker_plane.client.addresses import parse_networks

        parse_networks(settings.webhook_networks)


@asynccontextmanager
async def _sweeping(sweeper: OrphanCollector, copies: Copies) -> AsyncIterator[None]:
    """Delete orphaned chunks every minute, for the block; on most turns another bridge is already doing it.

    The bridge that does it also copies the keys that resource servers have registered, which may not do so themselves.
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
        await cancel_and_forget(task)


async def _sweep_feeds(feeds: FirstUse[FeedAdapters], buckets: NatsOrphans) -> None:
    """Delete bodies of feeds that no version refers to, for every owner. Several bridges may do so at once."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        with suppress(BrokerPlaneError):  # the next turn tries again
            adapters = await feeds.get()
            for owner in await buckets.owners():
                await adapters.delete_orphans(owner)
