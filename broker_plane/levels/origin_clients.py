"""The HTTP clients of one run, one for each scheme, host and port.

Two names may have one address. With one client for both, a request for the second name would reuse a connection whose
certificate was verified for the first.
"""

from __future__ import annotations

import httpx2

from broker_plane.client.capped import no_cookies
from broker_plane.client.guard import RequestTarget
from broker_plane.client.http import bare, verifying
from broker_plane.levels.credential import EndpointCredential
from broker_plane.sandbox.ports import DoorRefusedError
from broker_plane.transfer.credential import CredentialTransport

MAX_ORIGINS = 16
"""Maximum number of clients of a run."""

_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=1, keepalive_expiry=10.0)
"""The door limits the number of responses that are open."""


class OriginClients:
    """Clients that connect to checked addresses, and add the credential where it belongs."""

    def __init__(self, credential: EndpointCredential, *, seconds: float) -> None:
        self._credential = credential
        self._seconds = seconds
        self._clients: dict[tuple[str, str, int], httpx2.AsyncClient] = {}

    def of(self, target: RequestTarget) -> httpx2.AsyncClient:
        """The client for a target.

        Raises:
            DoorRefusedError: the run has too many, or the credential would be sent in plain text.
        """
        origin = (target.scheme.name, target.host, target.port)
        if origin not in self._clients:
            if len(self._clients) == MAX_ORIGINS:
                raise DoorRefusedError(f"A run may send requests to {MAX_ORIGINS} different hosts and ports")
            self._clients[origin] = self._new(target)
        return self._clients[origin]

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        while self._clients:
            await self._clients.popitem()[1].aclose()

    def _new(self, target: RequestTarget) -> httpx2.AsyncClient:
        transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(
            verify=verifying() if target.encrypted else bare(), trust_env=False, limits=_LIMITS
        )
        auth = self._credential.auth
        if auth is not None and self._credential.sent_to(target):
            transport = CredentialTransport(transport, auth)
        return httpx2.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            cookies=no_cookies(),
            timeout=httpx2.Timeout(self._seconds, connect=10.0),
        )
