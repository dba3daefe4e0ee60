"""How a bridge routes requests: one `RouteEndpoint` per route, grouped into features. All routes are in routes.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_plane.bridge.metrics import Metric
from broker_plane.plane.first_use import FirstUse
from broker_plane.web.cors import NO_CORS, Cors
from broker_plane.web.guard import ANY_HOST, Guard
from broker_plane.web.sending import send_bytes

NO_ROUTE = "(none)"
"""The name of a path without a route. The path itself is not shown: it might contain a grant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEndpoint:
    """One route: its path in Starlette's form, and for each method of HTTP the method of its feature that answers.

    Those are ASGI applications, which find the parts of the path in `scope["path_params"]`.
    """

    path: str
    name: str
    """The route in logs and metrics; never a part of a real path, which contains the grant."""
    methods: Mapping[str, str]
    """By method, in the order of Allow. A HEAD is answered only if it is listed."""
    otherwise: str = ""
    """Answers requests with any other method; an empty text answers 405."""
    websocket: str = ""
    for_pages: bool = True
    """Whether pages of admitted origins may read the answers (CORS)."""

    @property
    def allowed(self) -> str:
        """The value of Allow."""
        return ", ".join(self.methods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A part of what a bridge serves: its routes, and its metrics by name."""

    endpoints: Sequence[RouteEndpoint] = ()
    answers: FirstUse[Any] = field(default_factory=lambda: FirstUse(object))
    """The object with the methods that the endpoints name. It is imported and made with the first request."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)


class GuardedEndpoint:
    """The ASGI application of one route, behind the guard against foreign pages and with CORS preflights."""

    def __init__(self, endpoint: RouteEndpoint, answers: FirstUse[Any], guard: Guard, cors: Cors) -> None:
        self.name = endpoint.name
        self._endpoint = endpoint
        self._answers = answers
        self._guard = guard
        self._cors = cors if endpoint.for_pages else NO_CORS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._upgrade(scope, receive, send)
            return
        self._guard.check(scope)
        if self._cors:
            preflight = self._cors.preflight(scope, self._endpoint.allowed)
            if preflight is not None:
                await send_bytes(send, 204, preflight, b"")
                return
        method = self._endpoint.methods.get(scope["method"]) or self._endpoint.otherwise
        if not method:
            raise HTTPException(405, headers={"allow": self._endpoint.allowed})
        await (await self._handler(method))(scope, receive, send)

    def shared_headers(self, scope: Scope) -> Sequence[tuple[bytes, bytes]]:
        """The CORS headers of every answer to this request."""
        return self._cors.fields(scope) if self._cors else ()

    async def _handler(self, method: str) -> ASGIApp:
        handler: ASGIApp = getattr(self._answers.made or await self._answers.get(), method)
        return handler

    async def _upgrade(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = gone = False

        async def watched(message: Message) -> None:
            nonlocal accepted, gone
            accepted = accepted or message["type"] == "websocket.accept"
            try:
                await send(message)
            except OSError:  # what a server raises when its client is away (ASGI, 2.4)
                gone = True
                raise

        await receive()  # websocket.connect
        self._guard.check(scope)
        if not self._endpoint.websocket:
            raise HTTPException(404)
        handler = await self._handler(self._endpoint.websocket)
        try:
            await handler(scope, receive, watched)
        except Exception as error:
            if gone:
                return
            if accepted:  # too late for a problem: the server closes the connection
                raise RuntimeError("A WebSocket handler failed after it had accepted the connection") from error
            raise


class NoEndpoint:
    """Answers paths without a route."""

    def __init__(self, guard: Guard = ANY_HOST) -> None:
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard.check(scope)
        raise HTTPException(404)


def routes_of(features: Iterable[Feature], guard: Guard, cors: Cors) -> list[BaseRoute]:
    """Starlette's routes of the features, in their order."""
    routes: list[BaseRoute] = []
    for feature in features:
        for endpoint in feature.endpoints:
            guarded = GuardedEndpoint(endpoint, feature.answers, guard, cors)
            routes.append(_exact(Route(endpoint.path, guarded, name=endpoint.name)))
            if endpoint.websocket:
                routes.append(_exact(WebSocketRoute(endpoint.path, guarded, name=endpoint.name)))
    return routes


def route_name(scope: Scope) -> str:
    """The name of the route that a request was matched to."""
    endpoint = scope.get("endpoint")
    return endpoint.name if isinstance(endpoint, GuardedEndpoint) else NO_ROUTE


def _exact(route: Route | WebSocketRoute) -> BaseRoute:
    """Match the whole path: Starlette's `$` also matches before a line break at the end."""
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return route
