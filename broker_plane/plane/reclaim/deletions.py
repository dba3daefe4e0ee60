"""What was deleted, so that a body that is gone without that is known to be lost.

A grant is made when its body is acknowledged and ends with it at the latest: whoever has a genuine one was promised the
body. Where it is not there, and nobody deleted it, the store lost it, and that is another answer than *not found*: on a
nats-server without fsync, or after a damaged disk (reference: one flipped bit and an unclean restart lost 43 to 175 of
200 acknowledged objects, without a line in its log).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import ceil

import msgpack

from broker_plane.errors import ConflictError
from broker_plane.plane.ports import EntryStore
from broker_plane.wire.entry_formats import LEDGER
from broker_plane.wire.names import BodyId

_REMEMBER_SECONDS = 120
_ENDING_SECONDS = 2
"""Before its end, in which the broker's clock may have ended it already."""


class DeletionRecord:
    """Deletions, in `bp_grants`, as long as a grant for the body may still come."""

    def __init__(self, states: EntryStore, *, now: Callable[[], float]) -> None:
        self._states = states
        self._now = now

    async def deleting(self, body_id: BodyId, expires: float) -> None:
        """The body is about to be deleted; it would have ended at `expires` (unix seconds)."""
        entry: bytes = msgpack.packb([LEDGER, ceil(expires)])
        with suppress(ConflictError):  # it is noted already
            await self._states.save(_key(body_id), entry, 0, max(1, ceil(expires - self._now())) + _REMEMBER_SECONDS)

    async def lost(self, body_id: BodyId, expires: float) -> bool:
        """Whether a body that is not there, and for which there is a grant until `expires`, was not deleted."""
        if self._now() > expires - _ENDING_SECONDS:
            return False
        return not await self.deleted(body_id)

    async def deleted(self, body_id: BodyId) -> bool:
        """Whether somebody deleted it, as long as a grant for it may still come."""
        return (await self._states.load(_key(body_id)))[0] is not None


def _key(body_id: BodyId) -> str:
    return f"deleted_{body_id}"
