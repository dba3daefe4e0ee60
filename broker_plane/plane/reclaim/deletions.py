"""Records deletions, so that a body that is missing without one is known to be lost.

A grant is minted once its body is acknowledged and expires with it at the latest, so the holder of a genuine grant was
promised the body. If the body is missing although nobody deleted it, the store lost it, which is another error than
*not found*: it happens on a nats-server without fsync or after a damaged disk (one flipped bit and an unclean restart
lost 43 to 175 of 200 acknowledged objects, without a line in the log).
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
"""Time before the expiry of a body in which the broker's clock may have expired it already."""


class DeletionRecord:
    """Deletions, in `bp_grants`, kept while a grant for the body may still be used."""

    def __init__(self, states: EntryStore, *, now: Callable[[], float]) -> None:
        self._states = states
        self._now = now

    async def deleting(self, body_id: BodyId, expires: float) -> None:
        """Record that the body will be deleted; it would have expired at `expires` (unix seconds)."""
        entry: bytes = msgpack.packb([LEDGER, ceil(expires)])
        with suppress(ConflictError):  # recorded already
            await self._states.save(_key(body_id), entry, 0, max(1, ceil(expires - self._now())) + _REMEMBER_SECONDS)

    async def lost(self, body_id: BodyId, expires: float) -> bool:
        """Whether a missing body, for which there is a grant until `expires`, was not deleted."""
        if self._now() > expires - _ENDING_SECONDS:
            return False
        return not await self.deleted(body_id)

    async def deleted(self, body_id: BodyId) -> bool:
        """Whether somebody deleted the body; known while a grant for it may still be used."""
        return (await self._states.load(_key(body_id)))[0] is not None


def _key(body_id: BodyId) -> str:
    return f"deleted_{body_id}"
