"""The application of a bridge without the rest of it, for tests of single features."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from broker_plane.bridge import routes
from broker_plane.bridge.access import RequestAccess
from broker_plane.bridge.admission import Admission
from broker_plane.bridge.app import BridgeApp
from broker_plane.bridge.audience import NO_AUDIENCES, Audiences
from broker_plane.bridge.bodies import BodyRoutes
from broker_plane.bridge.reading import ReadingRoutes
from broker_plane.bridge.routing import Feature
from broker_plane.bridge.status import Check
from broker_plane.bridge.uploads import UploadRoute
from broker_plane.config import load_settings
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.first_use import FirstUse
from broker_plane.plane.uploads.uploads import Uploads
from broker_plane.runtime.bridge_features import cache_metrics
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.web.protocol import Tracking
from broker_plane.web.server import HttpServer
from tests.bridge.wire import PATIENCE


@asynccontextmanager
async def second_wiring(wiring: Wiring) -> AsyncIterator[Wiring]:
    """A wiring that shares nothing with this one but the nats-server."""
    second = await wire(wiring.url, load_settings(nats_url=wiring.url))
    try:
        yield second
    finally:
        await second.close()


@asynccontextmanager
async def served(app: BridgeApp, tracking: Tracking) -> AsyncIterator[tuple[HttpServer, httpx2.AsyncClient]]:
    """The application at a port of its own, and a client whose every request has a connection of its own."""
    server = HttpServer(app, tracking=tracking, stop_seconds=2)
    limits = httpx2.Limits(max_keepalive_connections=0)
    client = httpx2.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE, limits=limits)
    async with server, client:
        yield server, client


def bridge_app(
    deliveries: Deliveries,
    check: Check,
    *,
    audiences: Audiences = NO_AUDIENCES,
    uploads: Uploads | None = None,
    cache: CachingBodyStore | None = None,
) -> BridgeApp:
    """A bridge that serves bodies, and uploads if given. `cache` adds its metrics only."""
    access = RequestAccess(admission=Admission(), audiences=audiences)
    served = deliveries.via("http")
    features = [
        routes.bodies(FirstUse.of(BodyRoutes(served, access)), served.audit, served.grants),
        routes.reading(FirstUse.of(ReadingRoutes(served, access))),
    ]
    if uploads is not None:
        features.append(routes.uploads(FirstUse.of(UploadRoute(uploads, access)), FirstUse.of(uploads)))
    if cache is not None:
        features.append(Feature(metrics=cache_metrics(cache)))
    return BridgeApp(features, check)
