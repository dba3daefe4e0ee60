"""Snapshots of a session, so that opening it need not read the whole log. One bridge at a time writes them."""

from __future__ import annotations

from typing import Final

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.sessions.ports import Group, SessionLog, Snapshot
from broker_plane.plane.sessions.tip import Tip
from broker_plane.plane.sessions.tools import EVERY_ENTRIES
from broker_plane.plane.sessions.writing import GroupWriter
from broker_plane.sessions.folded import pack_state

log = redacted_logger(__name__)

_EVERY_BYTES: Final = 1 << 20
_LEASE_SECONDS: Final = 30


class Snapshots:
    """The snapshots of one session. `holder` names this process; it writes every `every` entries, or each MiB."""

    def __init__(
        self, session: str, tip: Tip, log: SessionLog, writer: GroupWriter, holder: str, every: int = EVERY_ENTRIES
    ) -> None:
        self._session = session
        self._tip = tip
        self._log = log
        self._writer = writer
        self._holder = holder
        self._every = every
        self._entries = 0
        self._bytes = 0

    @property
    def is_due(self) -> bool:
        return self._entries >= self._every or self._bytes >= _EVERY_BYTES

    def count(self, group: Group) -> None:
        """A group was stored."""
        self._entries += len(group.entries)
        self._bytes += group.size

    async def turn(self) -> None:
        """Write a snapshot if it is due and this process has the lease. An error loses nothing."""
        if not self.is_due:
            return
        self._entries = self._bytes = 0
        try:
            if await self._log.take_lease(self._session, self._holder, _LEASE_SECONDS):
                async with self._writer.settled() as folded:
                    snapshot = Snapshot(folded.state.revision, self._tip.sequence, pack_state(folded))
                await self._log.save_snapshot(self._session, snapshot)
        except BrokerPlaneError as error:
            log.debug("No snapshot of a session was written (%s)", error.brief)
