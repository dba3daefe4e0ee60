"""Every route of a bridge, and the method that answers it.

Each function has the routes and metrics of one feature. `answers` is the object with the methods that the routes name;
a bridge starts without it, and imports and makes it with the feature's first request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker_plane.bridge.metrics import counter, gauge
from broker_plane.bridge.routing import Feature, RouteEndpoint
from broker_plane.plane.first_use import FirstUse
from broker_plane.wire import urls
from broker_plane.wire.upload import METHODS

if TYPE_CHECKING:
    from broker_plane.bridge.bodies import BodyRoutes
    from broker_plane.bridge.feeds import FeedRoutes
    from broker_plane.bridge.protocols import ProtocolRoutes
    from broker_plane.bridge.queries import QueryRoute
    from broker_plane.bridge.reading import ReadingRoutes
    from broker_plane.bridge.session_page import SessionPage
    from broker_plane.bridge.sessions import SessionRoutes
    from broker_plane.bridge.status import StatusRoutes
    from broker_plane.bridge.streams import StreamRoute
    from broker_plane.bridge.uploads import UploadRoute
    from broker_plane.plane.bodies.delivery_audit import DeliveryAudit
    from broker_plane.plane.grants.grants import Grants
    from broker_plane.plane.uploads.uploads import Uploads
    from broker_plane.query.queries import Queries

_DATA, _DATA_NAME = urls.DATA + "{grant}", urls.DATA + "…"
_FEED, _FEED_NAME = urls.FEEDS + "{grant}", urls.FEEDS + "…"
_PROTOCOL = "/protocols/{owner}/{name}"
SESSION_ASSETS = "/v1/session-page/"
DOCUMENTS = ("/openapi.yaml", "/asyncapi.yaml")


def bodies(answers: FirstUse[BodyRoutes], audit: DeliveryAudit, grants: Grants) -> Feature:
    counters = audit.counters
    return Feature(
        answers=answers,
        endpoints=[
            RouteEndpoint(path=_DATA, name=_DATA_NAME, methods={"GET": "get", "HEAD": "get", "POST": "post"}),
            RouteEndpoint(path=f"{_DATA}/confirm", name=f"{_DATA_NAME}/confirm", methods={"POST": "confirm"}),
            RouteEndpoint(path=f"{_DATA}/look", name=f"{_DATA_NAME}/look", methods={"POST": "preview"}),
            RouteEndpoint(path=f"{_DATA}/page", name=f"{_DATA_NAME}/page", methods={"POST": "page"}),
        ],
        metrics={
            "body_bytes_total": counter(lambda: counters.sent, "way"),
            "deliveries_complete_total": counter(lambda: counters.complete, "way"),
            "deliveries_broken_total": counter(lambda: counters.broken, "way"),
            "revoked_grants": gauge(lambda: len(grants.revoked)),
            "deliveries_revoked_total": counter(lambda: grants.revoked.cut),
            "bodies_collected_total": counter(lambda: grants.collecting.freed),
            "audit_dropped_total": counter(lambda: audit.dropped),
            "forged_grants_total": counter(lambda: counters.forged, "way"),
            "bodies_lost_total": counter(lambda: counters.lost, "way"),
            "transfers_failed_total": counter(lambda: counters.failures, "why"),
        },
    )


def reading(answers: FirstUse[ReadingRoutes]) -> Feature:
    return Feature(
        answers=answers,
        endpoints=[
            RouteEndpoint(path=f"{_DATA}/read", name=f"{_DATA_NAME}/read", methods={"POST": "read"}),
            RouteEndpoint(path=f"{_DATA}/describe", name=f"{_DATA_NAME}/describe", methods={"POST": "describe"}),
        ],
    )


def feeds(answers: FirstUse[FeedRoutes]) -> Feature:
    version, changes = f"{_FEED}/{{version}}", f"{_FEED}/{{version}}/changes"
    return Feature(
        answers=answers,
        endpoints=[
            RouteEndpoint(path=_FEED, name=_FEED_NAME, methods={"GET": "get"}, websocket="serve"),
            RouteEndpoint(path=f"{_FEED}/taken", name=f"{_FEED_NAME}/taken", methods={"POST": "ack"}),
            RouteEndpoint(path=version, name=f"{_FEED_NAME}/version", methods={"GET": "version", "HEAD": "version"}),
            RouteEndpoint(path=changes, name=f"{_FEED_NAME}/version/changes", methods={"GET": "changes"}),
        ],
    )


def streams(answers: FirstUse[StreamRoute]) -> Feature:
    path, name = urls.STREAMS + "{grant}", urls.STREAMS + "…"
    return Feature(
        answers=answers,
        endpoints=[RouteEndpoint(path=path, name=name, methods={"GET": "get"}, websocket="serve")],
    )


def uploads(answers: FirstUse[UploadRoute], received: FirstUse[Uploads]) -> Feature:
    methods = dict.fromkeys(METHODS, "answer")
    return Feature(
        answers=answers,
        endpoints=[
            RouteEndpoint(path=urls.UPLOAD + "{grant}", name=urls.UPLOAD + "…", methods=methods, otherwise="answer")
        ],
        metrics={
            "uploads_complete_total": counter(received.read(lambda each: each.complete)),
            "upload_bytes_total": counter(received.read(lambda each: each.bytes_in)),
        },
    )


def queries(answers: FirstUse[QueryRoute], run: FirstUse[Queries] | None) -> Feature:
    """`run` is None on a bridge without an engine, which has no metrics of queries."""
    return Feature(
        answers=answers,
        endpoints=[RouteEndpoint(path=urls.QUERY, name=urls.QUERY, methods={"POST": "post"})],
        metrics={}
        if run is None
        else {
            "queries_total": counter(run.read(lambda each: each.answered)),
            "query_seconds_total": counter(run.read(lambda each: round(each.seconds))),
        },
    )


def sessions(answers: FirstUse[SessionRoutes]) -> Feature:
    path, name = urls.SESSIONS + "{grant}", urls.SESSIONS + "…"
    return Feature(
        answers=answers,
        endpoints=[RouteEndpoint(path=path, name=name, methods={"GET": "get", "POST": "post"}, websocket="serve")],
    )


def session_page(answers: FirstUse[SessionPage]) -> Feature:
    """Pages of other origins may not read it."""
    page, asset = urls.SESSIONS + "{grant}/page", SESSION_ASSETS + "{version}/{asset}"
    return Feature(
        answers=answers,
        endpoints=[
            RouteEndpoint(path=page, name=urls.SESSIONS + "…/page", methods=_reads("page"), for_pages=False),
            RouteEndpoint(path=asset, name=SESSION_ASSETS + "…", methods=_reads("asset"), for_pages=False),
        ],
    )


def protocols(answers: FirstUse[ProtocolRoutes]) -> Feature:
    """Every page may read what is discovered, by CORS headers of its own."""
    card, mcp, ai = f"{_PROTOCOL}/server-card", "/.well-known/mcp/catalog.json", "/.well-known/ai-catalog.json"
    one = "/protocols/…/…"
    return Feature(
        answers=answers,
        endpoints=[
            RouteEndpoint(path="/protocols", name="/protocols", methods=_reads("list")),
            RouteEndpoint(path="/protocols/search", name="/protocols/search", methods=_reads("search")),
            RouteEndpoint(path="/protocols/{digest}", name="/protocols/…", methods=_reads("by_digest")),
            RouteEndpoint(path=_PROTOCOL, name=one, methods=_reads("newest")),
            RouteEndpoint(path=f"{_PROTOCOL}/versions", name=f"{one}/versions", methods=_reads("versions")),
            RouteEndpoint(path=card, name=f"{one}/server-card", methods=_reads("card"), for_pages=False),
            RouteEndpoint(path=f"{_PROTOCOL}/{{version}}", name=f"{one}/version", methods=_reads("exact")),
            RouteEndpoint(path=mcp, name=mcp, methods=_reads("mcp_catalog"), for_pages=False),
            RouteEndpoint(path=ai, name=ai, methods=_reads("ai_catalog"), for_pages=False),
        ],
    )


def status(answers: StatusRoutes) -> Feature:
    routes = {
        "/s2sp/health": "health",
        "/healthz": "health",
        "/readyz": "ready",
        "/metrics": "metrics",
        "/version": "version",
        **dict.fromkeys(DOCUMENTS, "document"),
    }
    return Feature(
        answers=FirstUse[Any].of(answers),
        endpoints=[
            RouteEndpoint(path=path, name=path, methods=_reads(method), for_pages=False)
            for path, method in routes.items()
        ],
        metrics={"clock_skew_seconds": gauge(lambda: round(answers.skew_seconds))},
    )


def _reads(method: str) -> dict[str, str]:
    return {"GET": method, "HEAD": method}
