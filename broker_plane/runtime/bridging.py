"""Runs a bridge: its HTTP side, its answers on presigned subjects, and its background work."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from broker_plane.bridge.access import RequestAccess
from broker_plane.bridge.admission import Admission
from broker_plane.bridge.app import BridgeApp
from broker_plane.bridge.audience import load_audiences
from broker_plane.bridge.bodies import BodyRoutes
from broker_plane.bridge.feeds import FeedRoutes
from broker_plane.bridge.metrics import Metric, Metrics, counter, gauge
from broker_plane.bridge.protocols import ProtocolRoutes
from broker_plane.bridge.queries import QueryRoute
from broker_plane.bridge.reading import ReadingRoutes
from broker_plane.bridge.routing import Feature
from broker_plane.bridge.streams import StreamRoute
from broker_plane.bridge.uploads import UploadRoute
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.fairness.work import Work
from broker_plane.plane.feeds.access import GrantedFeeds
from broker_plane.plane.feeds.http_durables import HttpDurables
from broker_plane.plane.reclaim.orphans import EVERY_SECONDS, OrphanCollector
from broker_plane.plane.streams.access import GrantedStreams
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.feed_adapters import FeedAdapters, feed_adapters
from broker_plane.runtime.guest_connections import admitting
from broker_plane.runtime.own_bridges import started
from broker_plane.runtime.protocol_reading import ProtocolReading, registry_bucket
from broker_plane.runtime.query_engines import QueryService, query_service
from broker_plane.runtime.session_services import SessionServices
from broker_plane.runtime.uploads import upload_service
from broker_plane.runtime.webhook_senders import sending_webhooks
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.copies import Copies
from broker_plane.storage.keys import NatsKeys
from broker_plane.storage.orphans import NatsOrphans
from broker_plane.storage.owners import OwnerBuckets
from broker_plane.storage.revocations import RevocationWatch
from broker_plane.storage.streams import NatsStreams
from broker_plane.subjects.feed_requests import FeedRequests
from broker_plane.subjects.responder import Responder
from broker_plane.web.cors import parse_cors
from broker_plane.web.guard import guard_of
from broker_plane.web.server import HttpServer
from broker_plane.wire.names import encode_id

_SWEEP_SECONDS = 3600.0
_LISTING_SECONDS = 2.0
"""A bridge reads the whole registry at most so often, however many ask for it."""


@dataclass(frozen=True, slots=True)
class BridgeServices:
    """The parts of the plane that one bridge serves, over HTTP and on presigned subjects."""

    wiring: Wiring
    settings: Settings
    cache: CachingBodyStore
    deliveries: Deliveries
    feeds: FeedAdapters
    streams: NatsStreams
    sweeper: OrphanCollector
    querying: QueryService
    sessions: SessionServices
    protocols: ProtocolReading

    @classmethod
    def of(cls, wiring: Wiring, settings: Settings) -> BridgeServices:
        cache = CachingBodyStore(wiring.store, settings.cache_bytes)
        deliveries = Deliveries.of(cache, wiring.grants, wiring.broker, Work(settings.max_scan_cpu_seconds))
        return cls(
            wiring,
            settings,
            cache,
            deliveries,
            feed_adapters(wiring, settings),
            NatsStreams(wiring.connection),
            OrphanCollector(wiring.states, NatsOrphans(wiring.connection), encode_id(secrets.token_bytes(9))),
            query_service(wiring, settings, deliveries.via("http")),
            SessionServices(wiring, settings, deliveries),
            ProtocolReading.of(registry_bucket(wiring), settings, fresh_seconds=_LISTING_SECONDS),
        )

    def granted_feeds(self, way: str) -> GrantedFeeds:
        return GrantedFeeds(self.feeds.log, self.feeds.tail, self.feeds.stored, self.deliveries.via(way))

    def app(self, feeds: GrantedFeeds, host: str) -> BridgeApp:
        """The HTTP application, for a server that listens on `host`."""
        settings = self.settings
        access = RequestAccess(
            admission=Admission(self.deliveries.work),
            audiences=load_audiences(settings.audiences),
            closing=feeds.closing,
        )
        cors = parse_cors(settings.cors_origins)
        guard = guard_of(
            settings.bridge_hosts, settings.bridge_url, bound=host, pages=cors.origins, any_origin=cors.any_origin
        )
        return BridgeApp(self._features(feeds, access), self.wiring.broker.ready, guard=guard, cors=cors)

    def _features(self, feeds: GrantedFeeds, access: RequestAccess) -> list[Feature]:
        """The features of the bridge; the routes that are used most come first."""
        durables = self.feeds.durables
        places = HttpDurables(durables, self.feeds.start, durables.limits, now=self.wiring.now)
        public = self.settings.serve_protocols
        required = self.settings.delivery_confirmation == "required"
        bodies = BodyRoutes(self.deliveries, access, confirmation_required=required)
        return [
            bodies.feature(),
            ReadingRoutes(self.deliveries, access).feature(),
            FeedRoutes(feeds, places, bodies, access).feature(),
            StreamRoute(GrantedStreams(self.streams, self.deliveries.via("http")), access).feature(),
            UploadRoute(upload_service(self.wiring, self.settings), access).feature(),
            QueryRoute(self.querying.queries, access, self.settings.bridge_url).feature(),
            *self.sessions.features(access),
            *([ProtocolRoutes(self.protocols.reader, self.settings.bridge_url).feature()] if public else []),
            Feature(endpoints=(), metrics=self._metrics()),
        ]

    def _metrics(self) -> Mapping[str, Metric]:
        return {
            "state_restored_total": counter(lambda: self.wiring.copies.restored),
            "orphans_swept_total": counter(lambda: self.sweeper.freed),
            "sweeps_total": counter(lambda: self.sweeper.passes),
            **cache_metrics(self.cache),
        }

    def responder(self, metrics: Metrics) -> Responder:
        """The answers on presigned subjects, which are counted in `metrics`."""
        durables = self.feeds.durables
        feeds = self.granted_feeds("nats")
        return Responder(
            self.wiring.connection,
            self.deliveries.via("nats"),
            FeedRequests(feeds, durables, self.feeds.start, durables.limits, now=self.wiring.now),
            GrantedStreams(self.streams, self.deliveries.via("nats")),
            answered=metrics.answered,
        )

    def revocation_watch(self) -> RevocationWatch:
        """Follows revocations; after each reconnection, state that was lost is restored before grants are opened."""
        wiring = self.wiring

        async def verify() -> bool:
            changed = await wiring.copies.verify()
            if isinstance(wiring.keys, NatsKeys):
                await wiring.keys.look()
            return changed

        return RevocationWatch(wiring.connection, wiring.grants.revoked, wiring.gate, verify)


def cache_metrics(cache: CachingBodyStore) -> dict[str, Metric]:
    """The metrics of the bodies in memory."""
    return {
        "cache_hits_total": counter(lambda: cache.hits),
        "cache_misses_total": counter(lambda: cache.misses),
        "cache_bytes": gauge(lambda: cache.size),
    }


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
        PortInUseError, ConfigError: it cannot listen at the address.
    """
    _check(settings)
    wiring.gate.shut()  # the watch of revocations opens it
    services = BridgeServices.of(wiring, settings)
    feeds = services.granted_feeds("http")
    app = services.app(feeds, host)
    public_url = settings.bridge_url
    tracking = app.tracking()
    server = HttpServer(app, host, port, public_url=public_url, certfile=certfile, keyfile=keyfile, tracking=tracking)
    services.sessions.url = server.url
    responder, watch = services.responder(app.metrics), services.revocation_watch()
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
            feeds.closing.set()
            sweeping.cancel()
            await services.querying.close()
            await services.sessions.close()
            await services.protocols.close()
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


async def _sweep_feeds(feeds: FeedAdapters, buckets: NatsOrphans) -> None:
    """Delete bodies of feeds that no version refers to, for every owner. Several bridges may do so at once."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        with suppress(BrokerPlaneError):  # the next turn tries again
            for owner in await buckets.owners():
                await feeds.delete_orphans(owner)
