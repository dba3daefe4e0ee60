"""`plane.bodies`: the stored bodies of one owner, and their audit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from broker_plane.errors import BodyNotFoundError
from broker_plane.plane.audit import audit_of
from broker_plane.runtime.wiring import Wiring
from broker_plane.wire.audit import AuditEntry
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId, table_id

_Bodies = list[BodyInfo]
_Entries = list[AuditEntry]


class OwnedBodies:
    """The bodies of this owner. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, owner: str) -> None:
        self._wiring = wiring
        self._owner = owner

    async def list(self) -> _Bodies:
        """Return this owner's bodies, oldest first."""
        return [body async for body in self._wiring.store.list(self._owner)]

    async def info(self, body_id: BodyId) -> BodyInfo:
        """Return the metadata of a body.

        Raises:
            BodyNotFoundError: this owner has no such body.
        """
        return await self._wiring.store.info(self._owner, body_id)

    async def watch(self) -> AsyncGenerator[BodyInfo, None]:
        """Yield this owner's new bodies as they are committed. Never ends."""
        async with aclosing(self._wiring.store.watch(self._owner)) as bodies:
            async for body in bodies:
                yield body

    async def delete(self, body_id: BodyId) -> None:
        """Delete a body, and the table beside a text; its grants no longer open anything.

        Raises:
            BodyNotFoundError: this owner has no such body.
            FeedError: the body belongs to a feed's version, whose notice would be left without it.
        """
        await self._wiring.owning.delete(body_id)
        with suppress(BodyNotFoundError):
            await self._wiring.owning.delete(table_id(body_id))

    async def audit(self, body_id: BodyId) -> _Entries:
        """Return who received grants for a body, what they pulled, and how that ended, in order of time.

        Entries are written within a second of the event.
        """
        return await audit_of(self._wiring.audit, body_id)
