"""The parts of the plane that one bridge serves, over HTTP and on presigned subjects.

A bridge starts with what opens a grant. The rest is imported and made with the first request for it, as most bridges
serve few features.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from broker_plane.config import Settings
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.bodies.delivery_audit import DeliveryAudit
from broker_plane.plane.fairness.work import Work
from broker_plane.plane.first_use import FirstUse
from broker_plane.plane.reclaim.orphans import OrphanCollector
from broker_plane.runtime.session_services import SessionServices
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.keys import NatsKeys
from broker_plane.storage.orphans import NatsOrphans
from broker_plane.storage.revocations import RevocationWatch
from broker_plane.subjects.responder import Observer, Responder
from broker_plane.wire.names import encode_id

if TYPE_CHECKING:
    from broker_plane.plane.bodies.deliveries import Deliveries
    from broker_plane.plane.feeds.access import GrantedFeeds
    from broker_plane.plane.streams.access import GrantedStreams
    from broker_plane.plane.uploads.uploads import Uploads
    from broker_plane.query.queries import Queries
    from broker_plane.runtime.feed_adapters import FeedAdapters
    from broker_plane.runtime.protocol_reading import ProtocolReading
    from broker_plane.subjects.feed_requests import FeedRequests

_LISTING_SECONDS = 2.0
"""A bridge reads the whole registry at most so often, however many ask for it."""


class BridgeServices:
    """What one bridge serves, until `close`."""

    def __init__(self, wiring: Wiring, settings: Settings) -> None:
        self.wiring = wiring
        self.settings = settings
        self.cache = CachingBodyStore(wiring.store, settings.cache_bytes)
        self.work = Work(settings.max_scan_cpu_seconds)
        self.audit = DeliveryAudit(wiring.grants.audit)
        self._deliveries = FirstUse(self._make_deliveries)
        self.sweeper = OrphanCollector(wiring.states, NatsOrphans(wiring.connection), encode_id(secrets.token_bytes(9)))
        self.closing = asyncio.Event()
        """Set when endless answers end because the bridge stops; clients reconnect to another bridge."""
        self.sessions = SessionServices(wiring, settings, self.deliveries, self.work)
        self.feeds = FirstUse(self._make_feeds)
        self.uploads = FirstUse(self._make_uploads)
        self.protocols = FirstUse(self._make_protocols)
        self.queries = FirstUse(self._make_queries) if settings.query_workers else None
        """None on a bridge without an engine."""

    def responder(self, answered: Observer) -> Responder:
        """The answers on presigned subjects."""
        return Responder(
            self.wiring.connection,
            FirstUse(lambda: self.deliveries("nats")),
            FirstUse(self._make_feed_requests),
            FirstUse(lambda: self.granted_streams("nats")),
            answered=answered,
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

    def deliveries(self, way: str) -> Deliveries:
        """The deliveries over one transport. Imports; call it in a thread."""
        return self._deliveries.now().via(way)

    def granted_feeds(self, way: str) -> GrantedFeeds:
        """The feeds for holders of a grant. Imports; call it in a thread."""
        from broker_plane.plane.feeds.access import GrantedFeeds

        feeds = self.feeds.now()
        return GrantedFeeds(feeds.log, feeds.tail, feeds.stored, self.deliveries(way))

    def granted_streams(self, way: str) -> GrantedStreams:
        """The streams for holders of a grant. Imports; call it in a thread."""
        from broker_plane.plane.streams.access import GrantedStreams
        from broker_plane.storage.streams import NatsStreams

        return GrantedStreams(NatsStreams(self.wiring.connection), self.deliveries(way))

    async def close(self) -> None:
        if self.queries is not None and self.queries.made is not None:
            await self.queries.made.close()
        await self.sessions.close()
        if self.protocols.made is not None:
            await self.protocols.made.close()

    def _make_deliveries(self) -> Deliveries:
        from broker_plane.plane.bodies.deliveries import Deliveries
        from broker_plane.plane.bodies.scoped_bodies import ScopedBodies

        grants = self.wiring.grants
        return Deliveries(ScopedBodies(self.cache, grants, self.work), grants, self.wiring.broker, self.audit)

    def _make_feeds(self) -> FeedAdapters:
        from broker_plane.runtime.feed_adapters import feed_adapters

        return feed_adapters(self.wiring, self.settings)

    def _make_feed_requests(self) -> FeedRequests:
        from broker_plane.subjects.feed_requests import FeedRequests

        feeds = self.feeds.now()
        durables = feeds.durables
        return FeedRequests(self.granted_feeds("nats"), durables, feeds.start, durables.limits, now=self.wiring.now)

    def _make_uploads(self) -> Uploads:
        from broker_plane.runtime.uploads import upload_service

        return upload_service(self.wiring, self.settings)

    def _make_queries(self) -> Queries:
        from broker_plane.runtime.query_engines import bridge_queries

        return bridge_queries(self.wiring, self.settings, self.deliveries("http"))

    def _make_protocols(self) -> ProtocolReading:
        from broker_plane.runtime.protocol_reading import ProtocolReading, registry_bucket

        return ProtocolReading.of(registry_bucket(self.wiring), self.settings, fresh_seconds=_LISTING_SECONDS)
