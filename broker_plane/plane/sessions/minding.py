"""What has to be done for a session from time to time: snapshots, presence, an end that another process began."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Final

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.sessions.closing import Closing
from broker_plane.plane.sessions.hearers import Hearers
from broker_plane.plane.sessions.presence import REPEAT_SECONDS
from broker_plane.plane.sessions.snapshots import Snapshots
from broker_plane.plane.sessions.tip import Tip
from broker_plane.plane.sessions.tools import SessionTools
from broker_plane.plane.sessions.writing import GroupWriter
from broker_plane.sessions.closing import ALL_CONFIRMED
from broker_plane.sessions.participants import PLANE_ID, Participant
from broker_plane.sessions.requests import LeaveRequest, ReleaseRequest

PLANE: Final = Participant(PLANE_ID, PLANE_ID, "owner", verified=True)
_TURN_SECONDS: Final = 1.0


class Minder:
    """Minds one session in one process. Any number of processes may do so at once."""

    def __init__(
        self,
        tip: Tip,
        tools: SessionTools,
        writer: GroupWriter,
        closing: Closing,
        snapshots: Snapshots,
        hearers: Hearers,
    ) -> None:
        self._tip = tip
        self._tools = tools
        self._writer = writer
        self._closing = closing
        self._snapshots = snapshots
        self._hearers = hearers
        self._complete = False

    async def run(self) -> None:
        """Do what is due, once a second, until cancelled."""
        repeat_at = monotonic() + REPEAT_SECONDS
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            await self._snapshots.turn()
            await self._finish()
            for key in self._hearers.expire():
                await self._release(key)
            if monotonic() > repeat_at:
                repeat_at = monotonic() + REPEAT_SECONDS
                await self._hearers.repeat()

    async def vanished(self, who: Participant, key: str) -> None:
        """The last connection of a participant has ended: unless it comes back, it has left."""
        await asyncio.sleep(self._tools.vanished_seconds)
        if key not in self._hearers.connected and self._tip.state.closure is None and self._tip.state.is_present(key):
            with suppress(BrokerPlaneError):
                await self._writer.submit(LeaveRequest(), who)

    async def _finish(self) -> None:
        """Close a session that all have confirmed, if the process that stored the last confirmation has not."""
        state = self._tip.state
        expected = set(state.policy.expected)
        complete = state.closure is None and bool(expected) and expected <= set(state.confirmed)
        if complete and self._complete:  # for a second already
            with suppress(BrokerPlaneError):
                async with self._writer.settled():
                    await self._closing.close(ALL_CONFIRMED, by_owner=False)
        self._complete = complete

    async def _release(self, key: str) -> None:
        """Release what a participant holds of whom nothing is heard any more."""
        for lease in [each for each in self._tip.state.leases.values() if each.participant == key]:
            with suppress(BrokerPlaneError):
                await self._writer.submit(ReleaseRequest(lease=lease.id), PLANE)
