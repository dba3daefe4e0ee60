"""The application of a bridge without the rest of it, for tests of single features."""

from __future__ import annotations

from broker_plane.bridge.access import RequestAccess
from broker_plane.bridge.admission import Admission
from broker_plane.bridge.app import BridgeApp
from broker_plane.bridge.audience import NO_AUDIENCES, Audiences
from broker_plane.bridge.bodies import BodyRoutes
from broker_plane.bridge.routing import Feature
from broker_plane.bridge.status import Check
from broker_plane.bridge.uploads import UploadRoute
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.uploads.uploads import Uploads
from broker_plane.runtime.bridging import cache_metrics


def bridge_app(
    deliveries: Deliveries,
    check: Check,
    *,
    audiences: Audiences = NO_AUDIENCES,
    uploads: Uploads | None = None,
    cache: CachingBodyStore | None = None,
) -> BridgeApp:
    """A bridge that serves bodies, and uploads if given. `cache` adds its metrics only."""
    access = RequestAccess(admission=Admission(deliveries.work), audiences=audiences)
    features = [BodyRoutes(deliveries, access).feature()]
    if uploads is not None:
        features.append(UploadRoute(uploads, access).feature())
    if cache is not None:
        features.append(Feature(endpoints=(), metrics=cache_metrics(cache)))
    return BridgeApp(features, check)
