"""The sessions of one bridge: their host, their routes over HTTP, and their subjects over NATS."""

from __future__ import annotations

from broker_plane.bridge.access import RequestAccess
from broker_plane.bridge.metrics import Metrics
from broker_plane.bridge.routing import Feature
from broker_plane.bridge.session_access import SessionAccess
from broker_plane.bridge.session_page import SessionPage
from broker_plane.bridge.session_places import SessionPlaces
from broker_plane.bridge.sessions import SessionRoutes
from broker_plane.config import Settings
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.sessions.granted import GrantedSessions
from broker_plane.runtime.session_hosting import session_host
from broker_plane.runtime.wiring import Wiring
from broker_plane.subjects.session_requests import SessionRequests


class SessionServices:
    """What a bridge runs for sessions, from `start` to `close`."""

    def __init__(self, wiring: Wiring, settings: Settings, deliveries: Deliveries) -> None:
        self.url = settings.bridge_url
        """The base URL of the bridge, for the results of closed sessions; set before the first request."""
        self._wiring = wiring
        self._deliveries = deliveries
        self._host = session_host(wiring, settings, lambda: self.url, deliveries.work)
        self._places = SessionPlaces(self._host)
        self._requests: SessionRequests | None = None

    def features(self, access: RequestAccess) -> list[Feature]:
        """The routes of sessions, and of the page for people."""
        granted = GrantedSessions(self._deliveries.via("http"))
        routes = SessionRoutes(self._host, self._places, SessionAccess(granted, access, self._wiring.now))
        return [routes.feature(), SessionPage().feature()]

    async def start(self, metrics: Metrics) -> None:
        """Answer on the subjects of sessions; answers are counted in `metrics`."""
        granted = GrantedSessions(self._deliveries.via("nats"))
        requests = SessionRequests(self._wiring.connection, granted, self._host, answered=metrics.answered)
        metrics.expect(requests.routes)
        await requests.start()
        self._requests = requests

    async def close(self) -> None:
        """Stop answering, and close the sockets; their clients reconnect to another bridge."""
        if self._requests is not None:
            await self._requests.close()
        await self._places.close()
        await self._host.close()
