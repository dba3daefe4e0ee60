"""The HTTP side of one bridge: its features, each made with its first request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from broker_plane.bridge import routes
from broker_plane.bridge.access import RequestAccess
from broker_plane.bridge.admission import Admission
from broker_plane.bridge.app import BridgeApp
from broker_plane.bridge.audience import load_audiences
from broker_plane.bridge.metrics import Metric, counter, gauge
from broker_plane.bridge.routing import Feature
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.first_use import FirstUse
from broker_plane.runtime.bridge_services import BridgeServices
from broker_plane.web.cors import parse_cors
from broker_plane.web.guard import guard_of

if TYPE_CHECKING:
    from broker_plane.bridge.bodies import BodyRoutes
    from broker_plane.bridge.feeds import FeedRoutes
    from broker_plane.bridge.protocols import ProtocolRoutes
    from broker_plane.bridge.queries import QueryRoute
    from broker_plane.bridge.reading import ReadingRoutes
    from broker_plane.bridge.streams import StreamRoute
    from broker_plane.bridge.uploads import UploadRoute


def bridge_app(services: BridgeServices, host: str) -> BridgeApp:
    """The HTTP application, for a server that listens on `host`."""
    settings = services.settings
    access = RequestAccess(
        admission=Admission(),
        audiences=load_audiences(settings.audiences),
        closing=services.closing,
    )
    cors = parse_cors(settings.cors_origins)
    guard = guard_of(
        settings.bridge_hosts, settings.bridge_url, bound=host, pages=cors.origins, any_origin=cors.any_origin
    )
    features = BridgeFeatures(services, access).all()
    return BridgeApp(features, services.wiring.broker.ready, guard=guard, cors=cors)


class BridgeFeatures:
    """Makes the features of one bridge."""

    def __init__(self, services: BridgeServices, access: RequestAccess) -> None:
        self._services = services
        self._settings = services.settings
        self._access = access
        self._bodies = FirstUse(self._make_bodies)

    def all(self) -> list[Feature]:
        """The features; the routes that are used most come first."""
        services = self._services
        return [
            routes.bodies(self._bodies, services.audit, services.wiring.grants),
            routes.reading(FirstUse(self._make_reading)),
            routes.feeds(FirstUse(self._make_feeds)),
            routes.streams(FirstUse(self._make_streams)),
            routes.uploads(FirstUse(self._make_uploads), services.uploads),
            routes.queries(FirstUse(self._make_queries), services.queries),
            *services.sessions.features(self._access),
            *([routes.protocols(FirstUse(self._make_protocols))] if self._settings.serve_protocols else []),
            Feature(metrics=self._metrics()),
        ]

    def _metrics(self) -> Mapping[str, Metric]:
        services = self._services
        return {
            "state_restored_total": counter(lambda: services.wiring.copies.restored),
            "orphans_swept_total": counter(lambda: services.sweeper.freed),
            "sweeps_total": counter(lambda: services.sweeper.passes),
            **cache_metrics(services.cache),
        }

    def _make_bodies(self) -> BodyRoutes:
        from broker_plane.bridge.bodies import BodyRoutes

        required = self._settings.delivery_confirmation == "required"
        return BodyRoutes(self._services.deliveries("http"), self._access, confirmation_required=required)

    def _make_reading(self) -> ReadingRoutes:
        from broker_plane.bridge.reading import ReadingRoutes

        return ReadingRoutes(self._services.deliveries("http"), self._access)

    def _make_feeds(self) -> FeedRoutes:
        from broker_plane.bridge.feeds import FeedRoutes
        from broker_plane.plane.feeds.http_durables import HttpDurables

        feeds = self._services.feeds.now()
        places = HttpDurables(feeds.durables, feeds.start, feeds.durables.limits, now=self._services.wiring.now)
        return FeedRoutes(self._services.granted_feeds("http"), places, self._bodies.now(), self._access)

    def _make_streams(self) -> StreamRoute:
        from broker_plane.bridge.streams import StreamRoute

        return StreamRoute(self._services.granted_streams("http"), self._access)

    def _make_uploads(self) -> UploadRoute:
        from broker_plane.bridge.uploads import UploadRoute

        return UploadRoute(self._services.uploads.now(), self._access)

    def _make_queries(self) -> QueryRoute:
        from broker_plane.bridge.queries import QueryRoute

        queries = self._services.queries
        return QueryRoute(None if queries is None else queries.now(), self._access, self._settings.bridge_url)

    def _make_protocols(self) -> ProtocolRoutes:
        from broker_plane.bridge.protocols import ProtocolRoutes

        return ProtocolRoutes(self._services.protocols.now().reader, self._settings.bridge_url)


def cache_metrics(cache: CachingBodyStore) -> dict[str, Metric]:
    """The metrics of the bodies in memory."""
    return {
        "cache_hits_total": counter(lambda: cache.hits),
        "cache_misses_total": counter(lambda: cache.misses),
        "cache_bytes": gauge(lambda: cache.size),
    }
