"""The bridge as an ASGI application: which route, which method, and errors as problem details."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from time import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_plane.bridge.access_log import AccessLog
from broker_plane.bridge.admission import Admission
from broker_plane.bridge.audience import NOBODY_KNOWN, Audiences
from broker_plane.bridge.cors import NO_CORS, Cors
from broker_plane.bridge.data import DataRoute
from broker_plane.bridge.dates import format_date
from broker_plane.bridge.delivery import ReaderLeftError
from broker_plane.bridge.feeds import FeedRoute
from broker_plane.bridge.following import Following
from broker_plane.bridge.guard import ANY_HOST, Guard
from broker_plane.bridge.live import StreamRoute
from broker_plane.bridge.problems import Problem, internal_problem, make_problem, problem_of
from broker_plane.bridge.request import delivery_of
from broker_plane.bridge.routes import (
    CONFIRM,
    DATA,
    DOCUMENTS,
    FEED,
    LOOK,
    PAGE,
    PLAIN,
    STREAM,
    TAKEN,
    VERSION,
    feed_of,
    grant_of,
    route_of,
    stream_of,
    upload_of,
)
from broker_plane.bridge.sending import send_bytes, send_json
from broker_plane.bridge.settling import Settling
from broker_plane.bridge.sockets import FeedSockets
from broker_plane.bridge.uploads import UploadRoute
from broker_plane.errors import BrokerPlaneError, GrantRevokedError, NotAcceptableError
from broker_plane.logs import FIELDS
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.feeds.access import GrantedFeeds
from broker_plane.plane.feeds.http_durables import HttpDurables
from broker_plane.plane.ports import Readiness
from broker_plane.plane.reclaim.orphans import Sweeper
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.plane.streams.access import GrantedStreams
from broker_plane.plane.uploads.uploads import Uploads

log = quiet_logger(__name__)

_READY_SECONDS = 0.9
"""A readiness probe has its answer within a second, whatever nats-server does."""


def bridge_app(
    deliveries: Deliveries,
    cache: CachingBodyStore | None = None,
    audiences: Audiences = NOBODY_KNOWN,
    sweeper: Sweeper | None = None,
    feeds: Subscriptions | None = None,
    live: GrantedStreams | None = None,
    uploads: Uploads | None = None,
    *,
    guard: Guard = ANY_HOST,
    cors: Cors = NO_CORS,
    confirmation_required: bool = False,
    restored: Callable[[], int] = int,
) -> ASGIApp:
    """The application that serves all but `cache`, `sweeper` and `restored`; these are for the metrics only."""
    closing = feeds.feeds.closing if feeds else None
    settling = Settling(deliveries.on("http"), confirmation_required=confirmation_required, closing=closing)
    app = BridgeApp(deliveries, cache, audiences, sweeper, feeds, live, uploads, guard, cors, settling, restored)
    return AccessLog(app)


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """What a bridge has of feeds."""

    feeds: GrantedFeeds
    places: HttpDurables


class BridgeApp:
    """Plain ASGI: a router and a request object would cost more than most answers."""

    def __init__(
        self,
        deliveries: Deliveries,
        cache: CachingBodyStore | None,
        audiences: Audiences,
        sweeper: Sweeper | None,
        feeds: Subscriptions | None,
        live: GrantedStreams | None,
        uploads: Uploads | None,
        guard: Guard,
        cors: Cors,
        settling: Settling,
        restored: Callable[[], int],
    ) -> None:
        self._guard = guard
        self._cors = cors
        self._deliveries = deliveries
        self._restored = restored
        self._cache = cache
        self._sweeper = sweeper
        deliveries = deliveries.on("http")
        self._settling = settling
        admission = Admission(deliveries.work)
        self._data = DataRoute(deliveries, settling, audiences, admission)
        self._uploads = UploadRoute(uploads, audiences) if uploads else None
        self._feeds: FeedRoute | None = None
        self._sockets: FeedSockets | None = None
        if feeds is not None:
            following = Following(feeds.feeds, feeds.places)
            self._feeds = FeedRoute(feeds.feeds, audiences, following, admission)
            self._sockets = FeedSockets(feeds.feeds, audiences, following, admission)
        closing = feeds.feeds.closing if feeds else asyncio.Event()
        self._live = StreamRoute(live, audiences, closing, admission) if live else None
        self._answers: Counter[tuple[str, int]] = Counter()
        self._skew_seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        started = False
        shared = self._cors.fields(scope) if self._cors else ()

        async def counted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._answers[route_of(scope["path"]), message["status"]] += 1
                message["headers"] = [*message["headers"], _date(), *shared]
            await send(message)

        try:
            self._guard.check(scope)
            preflight = self._cors.preflight(scope) if self._cors else None
            if preflight is not None:
                await send_bytes(counted, 204, preflight, b"")
            else:
                await self._route(scope, receive, counted)
        except BrokerPlaneError as error:
            if started and isinstance(error, GrantRevokedError):
                log.info("cut: %s", error.code, extra={FIELDS: {"code": error.code}})
                delivery_of(scope).reset()
                return
            if started:
                raise  # a body that breaks midway must be seen as broken: the server cuts the connection
            _log_refusal(error, scope)
            await _send_problem(counted, problem_of(error), scope)
        except ReaderLeftError:
            log.info("left: nobody waits for an answer any more")
        except Exception:
            if started:
                raise
            log.exception("a request failed")
            await _send_problem(counted, internal_problem(), scope)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only a feed's route and a stream's come here (`BridgeProtocol`)."""
        accepted = False
        route = route_of(scope["path"])

        async def counted(message: Message) -> None:
            nonlocal accepted
            if message["type"] == "websocket.accept":
                accepted = True
                self._answers[route, 101] += 1
            await send(message)

        await receive()  # websocket.connect
        try:
            self._guard.check(scope)
            if route == STREAM and self._live is not None:
                await self._live.socket(stream_of(scope["path"]), scope, receive, counted)
            elif route == FEED and self._sockets is not None:
                await self._sockets.serve(feed_of(scope["path"])[0] or "", scope, receive, counted)
            else:
                raise NotAcceptableError("There are no feeds and no streams here")
        except BrokerPlaneError as error:
            if accepted:
                raise
            _log_refusal(error, scope)
            problem = problem_of(error)
            self._answers[route, problem.status] += 1
            headers = [_date(), *((name.encode(), value.encode()) for name, value in problem.headers)]
            start = {"type": "websocket.http.response.start", "status": problem.status, "headers": headers}
            await send(start)
            await send({"type": "websocket.http.response.body", "body": problem.body})

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        feed, version, feed_route = feed_of(path)
        if feed is not None and self._feeds is not None:
            await self._feed(self._feeds, feed, version, feed_route, scope, receive, send)
            return
        stream = stream_of(path)
        if stream and self._live is not None:
            if method == "GET":
                await self._live.get(stream, scope, receive, send)
            else:
                await _send_problem(send, _not_allowed("GET"), scope)
            return
        upload = upload_of(path)
        if upload is not None and self._uploads is not None:
            await self._uploads.answer(upload, scope, receive, send)
            return
        grant, route = grant_of(path)
        if grant is None:
            await self._plain(method, path, scope, send)
        elif route != DATA:
            if method != "POST":
                await _send_problem(send, _not_allowed("POST"), scope)
            else:
                answer = {CONFIRM: self._data.confirm, LOOK: self._data.look, PAGE: self._data.page}[route]
                await answer(grant, scope, receive, send)
        elif method in ("GET", "HEAD"):
            await self._data.get(grant, scope, send)
        elif method == "POST":
            await self._data.post(grant, scope, receive, send)
        else:
            await _send_problem(send, _not_allowed("GET, HEAD, POST"), scope)

    async def _feed(
        self, feeds: FeedRoute, grant: str, version: str, route: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if route == TAKEN:
            if scope["method"] != "POST":
                await _send_problem(send, _not_allowed("POST"), scope)
            else:
                await feeds.taken(grant, scope, receive, send)
        elif scope["method"] != "GET" and not (route == VERSION and scope["method"] == "HEAD"):
            await _send_problem(send, _not_allowed("GET, HEAD" if route == VERSION else "GET"), scope)
        elif route == FEED:
            await feeds.get(grant, scope, receive, send)
        elif route == VERSION:
            await feeds.version(grant, version, self._data, scope, send)
        else:
            await feeds.changes(grant, version, scope, send)

    async def _plain(self, method: str, path: str, scope: Scope, send: Send) -> None:
        answer = {"/s2sp/health": self._health, "/healthz": self._health, "/readyz": self._ready}.get(path)
        if path not in PLAIN:
            await _send_problem(send, make_problem(404, "no_route", "There is nothing here"), scope)
        elif method not in ("GET", "HEAD"):
            await _send_problem(send, _not_allowed("GET, HEAD"), scope)
        elif answer is not None:
            await send_json(send, *await answer())
        elif path in DOCUMENTS:
            await _send_text(send, "application/yaml", _document(path))
        else:
            await _send_text(send, "text/plain; version=0.0.4; charset=utf-8", self._metrics().encode())

    async def _health(self) -> tuple[int, Any]:
        return 200, {"status": "ok"}

    async def _ready(self) -> tuple[int, Any]:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                ready = await self._deliveries.ready()
        except BrokerPlaneError as error:
            return 503, {"status": "away", "error": str(error)}
        except TimeoutError:
            return 503, {"status": "away", "error": "nats-server does not answer"}
        self._skew_seconds = ready.skew_seconds
        return _readiness(ready)

    def _metrics(self) -> str:
        lines = ["# TYPE broker_plane_requests_total counter"]
        for (route, status), count in sorted(self._answers.items()):
            lines.append(f'broker_plane_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += _metric("body_bytes_total", "counter", self._settling.bytes_out)
        lines += _metric("deliveries_complete_total", "counter", self._settling.complete)
        lines += _metric("deliveries_broken_total", "counter", self._settling.broken)
        lines += _metric("revoked_grants", "gauge", len(self._deliveries.revoked))
        lines += _metric("deliveries_revoked_total", "counter", self._deliveries.revoked.cut)
        lines += _metric("bodies_collected_total", "counter", self._deliveries.bodies_freed)
        lines += _metric("audit_dropped_total", "counter", self._deliveries.audit_dropped)
        lines += _metric("state_restored_total", "counter", self._restored())
        lines += _metric("clock_skew_seconds", "gauge", round(self._skew_seconds))
        lines += _by_way("forged_grants_total", self._deliveries.forged)
        lines += _by_way("bodies_lost_total", self._deliveries.lost)
        lines += _by_way("transfers_failed_total", self._deliveries.failures, label="why")
        if self._uploads is not None:
            lines += _metric("uploads_complete_total", "counter", self._uploads.uploads.complete)
            lines += _metric("upload_bytes_total", "counter", self._uploads.uploads.bytes_in)
        if self._sweeper is not None:
            lines += _metric("orphans_swept_total", "counter", self._sweeper.freed)
            lines += _metric("sweeps_total", "counter", self._sweeper.passes)
        if self._cache is not None:
            lines += _metric("cache_hits_total", "counter", self._cache.hits)
            lines += _metric("cache_misses_total", "counter", self._cache.misses)
            lines += _metric("cache_bytes", "gauge", self._cache.size)
        return "\n".join(lines) + "\n"


def _log_refusal(error: BrokerPlaneError, scope: Scope) -> None:
    route = route_of(scope["path"])
    log.info(
        "refused: %s (%s) on %s", error.code, error.reason, route, extra={FIELDS: {"code": error.code, "path": route}}
    )


def _date() -> tuple[bytes, bytes]:
    return b"date", format_date(time()).encode()


def _readiness(ready: Readiness) -> tuple[int, Any]:
    """Red where nothing new can be stored or no grant opened; *degraded* is served on."""
    stops = [trouble for trouble in ready.troubles if trouble.stops]
    status = "unavailable" if stops else "degraded" if ready.troubles else "ready"
    said: dict[str, Any] = {
        "status": status,
        "durability": ready.durability,
        "stored_bytes": ready.stored_bytes,
    }
    if ready.troubles:
        said["troubles"] = [{"code": each.code, "detail": each.detail} for each in ready.troubles]
    if stops:
        said["error"] = stops[0].detail
    return (503 if stops else 200), said


@cache
def _document(path: str) -> bytes:
    """What says of this bridge which routes it has (OpenAPI), and of the plane which subjects (AsyncAPI)."""
    return files(__package__).joinpath(path.removeprefix("/")).read_bytes()


async def _send_text(send: Send, media_type: str, text: bytes) -> None:
    await send_bytes(send, 200, [("content-type", media_type), ("content-length", str(len(text)))], text)


def _by_way(name: str, counts: Mapping[str, int], label: str = "way") -> list[str]:
    """A counter with a line for each way on which something was counted, or for each of another label."""
    lines = [f'broker_plane_{name}{{{label}="{value}"}} {count}' for value, count in sorted(counts.items())]
    return [f"# TYPE broker_plane_{name} counter", *lines]


def _metric(name: str, kind: str, value: int) -> list[str]:
    return [f"# TYPE broker_plane_{name} {kind}", f"broker_plane_{name} {value}"]


def _not_allowed(allowed: str) -> Problem:
    return make_problem(405, "method_not_allowed", f"Here is only {allowed}", headers=[("allow", allowed)])


async def _send_problem(send: Send, problem: Problem, scope: Scope) -> None:
    body = b"" if scope["method"] == "HEAD" else problem.body
    await send_bytes(send, problem.status, list(problem.headers), body)
