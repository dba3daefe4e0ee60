"""The sessions of one bridge: their host, their routes over HTTP, and their subjects over NATS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker_plane.bridge import routes
from broker_plane.bridge.access import RequestAccess
from broker_plane.bridge.metrics import Metrics
from broker_plane.bridge.routing import Feature
from broker_plane.config import Settings
from broker_plane.plane.fairness.work import Work
from broker_plane.plane.first_use import FirstUse
from broker_plane.runtime.wiring import Wiring
from broker_plane.subjects.session_requests import SessionRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker_plane.bridge.session_page import SessionPage
    from broker_plane.bridge.session_places import SessionPlaces
    from broker_plane.bridge.sessions import SessionRoutes
    from broker_plane.plane.bodies.deliveries import Deliveries
    from broker_plane.plane.sessions.granted import GrantedSessions
    from broker_plane.plane.sessions.host import SessionHost


class SessionServices:
    """What a bridge runs for sessions, from `start` to `close`. Most bridges never have one."""

    def __init__(self, wiring: Wiring, settings: Settings, deliveries: Callable[[str], Deliveries], work: Work) -> None:
        self.url = settings.bridge_url
        """The base URL of the bridge, for the results of closed sessions; set before the first request."""
        self._wiring = wiring
        self._settings = settings
        self._deliveries = deliveries
        self._work = work
        self._host = FirstUse(self._make_host)
        self._places = FirstUse(self._make_places)
        self._requests: SessionRequests | None = None

    def features(self, access: RequestAccess) -> list[Feature]:
        """The routes of sessions, and of the page for people."""
        return [
            routes.sessions(FirstUse(lambda: self._make_routes(access))),
            routes.session_page(FirstUse(_session_page)),
        ]

    async def start(self, metrics: Metrics) -> None:
        """Answer on the subjects of sessions; answers are counted in `metrics`."""
        granted = FirstUse(lambda: self._granted("nats"))
        requests = SessionRequests(self._wiring.connection, granted, self._host, answered=metrics.answered)
        metrics.expect(requests.routes)
        await requests.start()
        self._requests = requests

    async def close(self) -> None:
        """Stop answering, and close the sockets; their clients reconnect to another bridge."""
        if self._requests is not None:
            await self._requests.close()
        if self._places.made is not None:
            await self._places.made.close()
        if self._host.made is not None:
            await self._host.made.close()

    def _make_host(self) -> SessionHost:
        from broker_plane.runtime.session_hosting import session_host

        return session_host(self._wiring, self._settings, lambda: self.url, self._work)

    def _make_places(self) -> SessionPlaces:
        from broker_plane.bridge.session_places import SessionPlaces

        return SessionPlaces(self._host.now())

    def _make_routes(self, access: RequestAccess) -> SessionRoutes:
        from broker_plane.bridge.session_access import SessionAccess
        from broker_plane.bridge.sessions import SessionRoutes

        admitted = SessionAccess(self._granted("http"), access, self._wiring.now)
        return SessionRoutes(self._host.now(), self._places.now(), admitted)

    def _granted(self, way: str) -> GrantedSessions:
        from broker_plane.plane.sessions.granted import GrantedSessions

        return GrantedSessions(self._deliveries(way))


def _session_page() -> SessionPage:
    from broker_plane.bridge.session_page import SessionPage

    return SessionPage()
