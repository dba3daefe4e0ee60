"""The bridge as an ASGI application: Starlette's router over the routes of its features, and errors as problem details.

Starlette's own application adds two layers for errors to each request, which cost more than finding its route; here one
layer has them, with the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_plane.bridge import routes
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
    """The ASGI application of one bridge: a router, wrapped by answers to errors, metrics and the access log."""

    def __init__(
        self, features: Sequence[Feature], check: Check, *, guard: Guard = ANY_HOST, cors: Cors = NO_CORS
    ) -> None:
        """Serve `features` in the order of their routes; `check` finds out whether the plane is ready."""
        self.metrics = metrics = Metrics()
        features = [*features, routes.status(StatusRoutes(metrics, check))]
        for feature in features:
            metrics.add(feature.metrics)
            metrics.expect(endpoint.name for endpoint in feature.endpoints)
        self._router = Router(routes_of(features, guard, cors), redirect_slashes=False, default=NoEndpoint(guard))
        self._serve: ASGIApp = AccessLog(_Answered(self._router, metrics), route_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routing table; a route's name is what logs and metrics show."""
        return self._router.routes

    def tracking(self, limits: Limits = DEFAULT_LIMITS) -> Tracking:
        """How a server tracks the deliveries of this application."""
        return Tracking(
            limits=limits,
            may_upgrade=self._may_upgrade,
            is_confirmation=lambda path: path.endswith(CONFIRM_SUFFIX),
        )

    def _may_upgrade(self, path: str) -> bool:
        return any(isinstance(route, WebSocketRoute) and route.path_regex.match(path) for route in self.routes)


class _Answered:
    """Answers errors, counts answers by route and status, and adds Date and CORS headers to them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def observed(message: Message) -> None:
            nonlocal begun
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start"):
                begun = True
                self._metrics.answered(route_name(scope), message["status"])
                message["headers"] = [*message["headers"], (b"date", format_date(time()).encode()), *_shared(scope)]
            elif kind == "websocket.accept":
                self._metrics.answered(route_name(scope), 101)
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except ReaderLeftError:
            log.info("left: the client no longer waits for an answer")
        except Exception as error:
            problem = _problem(scope, error)
            if problem is not None and begun:
                raise RuntimeError("A request failed after its answer had begun") from error
            if problem is None and (begun or scope["type"] != "http"):
                raise
            await _response(scope, problem or internal_problem())(scope, receive, observed)
            if problem is None:
                raise  # the server logs it


def _shared(scope: Scope) -> Sequence[tuple[bytes, bytes]]:
    endpoint = scope.get("endpoint")
    return endpoint.shared_headers(scope) if isinstance(endpoint, GuardedEndpoint) else ()


def _problem(scope: Scope, error: Exception) -> Problem | None:
    """The answer to an error; None if it is a fault of ours."""
    if isinstance(error, BrokerPlaneError):
        route = route_name(scope)
        fields = {FIELDS: {"code": error.code, "path": route}}
        log.info("refused: %s on %s", error.brief, route, extra=fields)
        return problem_of(error)
    if isinstance(error, HTTPException):
        allowed = (error.headers or {}).get("allow", "")
        return method_problem(allowed) if allowed else route_problem()
    return None


def _response(scope: Scope, problem: Problem) -> Response:
    response = Response(b"" if scope.get("method") == "HEAD" else problem.body, problem.status)
    response.raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in problem.headers]
    return response
