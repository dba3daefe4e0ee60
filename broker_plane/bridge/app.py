"""The bridge as a Starlette application: the routes of its features, and errors as problem details."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from broker_plane.bridge.metrics import Metrics
from broker_plane.bridge.routing import Feature, GuardedEndpoint, NoEndpoint, route_name, routes_of
from broker_plane.bridge.status import Check, StatusRoutes
from broker_plane.errors import BrokerPlaneError
from broker_plane.logs import FIELDS
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.web.access_log import AccessLog
from broker_plane.web.cors import NO_CORS, Cors
from broker_plane.web.dates import format_date
from broker_plane.web.delivery import ReaderLeftError
from broker_plane.web.guard import ANY_HOST, Guard
from broker_plane.web.problems import Problem, internal_problem, method_problem, problem_of, route_problem
from broker_plane.web.protocol import DEFAULT_LIMITS, Limits, Tracking

CONFIRM_SUFFIX = "/confirm"

log = redacted_logger(__name__)


class BridgeApp:
    """The ASGI application of one bridge: Starlette, wrapped by metrics and the access log."""

    def __init__(
        self, features: Sequence[Feature], check: Check, *, guard: Guard = ANY_HOST, cors: Cors = NO_CORS
    ) -> None:
        """Serve `features` in the order of their routes; `check` finds out whether the plane is ready."""
        self.metrics = metrics = Metrics()
        features = [*features, StatusRoutes(metrics, check).feature()]
        for feature in features:
            metrics.add(feature.metrics)
            metrics.expect(endpoint.name for endpoint in feature.endpoints)
        self._app = Starlette(routes=routes_of(features, guard, cors), exception_handlers=_HANDLERS)
        self._app.router.redirect_slashes = False
        self._app.router.default = NoEndpoint(guard)
        self._serve: ASGIApp = AccessLog(_Observed(self._app, metrics), route_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routing table; a route's name is what logs and metrics show."""
        return self._app.routes

    def tracking(self, limits: Limits = DEFAULT_LIMITS) -> Tracking:
        """How a server tracks the deliveries of this application."""
        return Tracking(
            limits=limits,
            may_upgrade=self._may_upgrade,
            is_confirmation=lambda path: path.endswith(CONFIRM_SUFFIX),
        )

    def _may_upgrade(self, path: str) -> bool:
        return any(isinstance(route, WebSocketRoute) and route.path_regex.match(path) for route in self.routes)


class _Observed:
    """Counts answers by route and status, and adds Date and CORS headers to them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def observed(message: Message) -> None:
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start"):
                self._metrics.answered(route_name(scope), message["status"])
                message["headers"] = [*message["headers"], (b"date", format_date(time()).encode()), *_shared(scope)]
            elif kind == "websocket.accept":
                self._metrics.answered(route_name(scope), 101)
            await send(message)

        await self._app(scope, receive, observed)


def _shared(scope: Scope) -> Sequence[tuple[bytes, bytes]]:
    endpoint = scope.get("endpoint")
    return endpoint.shared_headers(scope) if isinstance(endpoint, GuardedEndpoint) else ()


async def _refused(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, BrokerPlaneError)  # noqa: S101  # registered for this class only
    route = route_name(connection.scope)
    fields = {FIELDS: {"code": error.code, "path": route}}
    log.info("refused: %s on %s", error.brief, route, extra=fields)
    return _response(connection, problem_of(error))


async def _unrouted(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class only
    allowed = (error.headers or {}).get("allow", "")
    return _response(connection, method_problem(allowed) if allowed else route_problem())


async def _left(connection: HTTPConnection, error: Exception) -> None:
    log.info("left: the client no longer waits for an answer")


async def _failed(connection: HTTPConnection, error: Exception) -> Response:
    return _response(connection, internal_problem())  # Starlette raises the error again, and the server logs it


def _response(connection: HTTPConnection, problem: Problem) -> Response:
    response = Response(b"" if connection.scope.get("method") == "HEAD" else problem.body, problem.status)
    response.raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in problem.headers]
    return response


_HANDLERS: dict[object, ExceptionHandler] = {
    BrokerPlaneError: _refused,
    HTTPException: _unrouted,
    ReaderLeftError: _left,
    Exception: _failed,
}
