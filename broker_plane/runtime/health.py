"""`plane.health`: whether the broker works, how it is replicated, and whether guests can use it."""

from __future__ import annotations

from broker_plane.config import Settings
from broker_plane.plane.ports import Readiness
from broker_plane.runtime.guest_connections import mcp_access_problem, revocation_problem
from broker_plane.runtime.guests import guest_access_problem, session_access_problem
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.replication import Replication, replication_of


class Health:
    """The state of the broker. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, settings: Settings) -> None:
        self._wiring = wiring
        self._settings = settings

    async def ready(self) -> Readiness:
        """Return whether bodies can be stored and pulled, and what is wrong if not."""
        return await self._wiring.broker.ready()

    async def replication(self) -> Replication | None:
        """Return how the streams are replicated; None if NATS is a single server."""
        return await replication_of(self._wiring.connection, self._settings.replicas)

    async def guest_access_problem(self) -> str:
        """Return why guests cannot use a presigned subject of this NATS; empty if a grant connects and may pull."""
        return await guest_access_problem(self._wiring, self._settings)

    async def session_access_problem(self) -> str:
        """Return why a grant cannot take part in a session over NATS; empty if it can, or cannot even connect."""
        return await session_access_problem(self._wiring, self._settings)

    async def revocation_problem(self) -> str:
        """Return why a revoked grant's connections to NATS stay open until it expires; empty if they are ended."""
        return await revocation_problem(self._wiring, self._settings)

    async def mcp_access_problem(self) -> str:
        """Return why no user of the account GUEST can be permitted to use MCP servers; empty if that is possible."""
        return await mcp_access_problem(self._wiring, self._settings)
