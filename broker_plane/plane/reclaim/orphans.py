"""Deletes orphans: chunks of bodies that were never committed. The broker deletes expired bodies by itself.

A put that was killed leaves chunks without a meta message, which would stay for the body's whole time to live, up to 30
days. One bridge at a time collects them: it holds an entry in `bp_grants` that it has to renew.
"""

from __future__ import annotations

from typing import Protocol

import msgpack

from broker_plane.errors import ConflictError, StoreFullError
from broker_plane.plane.ports import EntryStore
from broker_plane.wire.entry_formats import ELECTED_SWEEPER
from broker_plane.wire.names import BodyId
from broker_plane.wire.upload import upload_key

ORPHAN_SECONDS = 600
"""Age of the newest chunk of an orphan, by nats-server's clock. A live put writes more often, or its commit is
refused.
"""

EVERY_SECONDS = 60.0
ELECTED_SECONDS = 150
"""If the elected collector disappears, another one takes over after this time."""

ELECTION = "sweeper"
"""The key of the entry; no grant has such an id."""


class OrphanStore(Protocol):
    """What the collector needs of the store."""

    async def owners(self) -> list[str]:
        """The owners that have a bucket."""

    async def chunked(self, owner: str) -> set[BodyId]:
        """Every body that has chunks."""

    async def committed(self, owner: str) -> set[BodyId]:
        """Every body that has its meta message, readable or not."""

    async def now(self, owner: str) -> float:
        """The time (unix seconds) of the clock that stamps this owner's chunks."""

    async def newest(self, owner: str, body_id: BodyId) -> tuple[float, int] | None:
        """The time of its newest chunk (unix seconds) and its sequence; None if there is none any more."""

    async def bar(self, owner: str, body_id: BodyId) -> bool:
        """Occupy the place of its meta message, so that it cannot be committed any more; False if it was committed.

        Raises:
            StoreFullError: there is no room for that; nothing was changed.
        """

    async def free(self, owner: str, body_id: BodyId, up_to: int) -> None:
        """Delete its chunks up to that sequence; later ones stay."""


class OrphanCollector:
    """Deletes orphans while this process is elected. `name` identifies the process."""

    def __init__(self, states: EntryStore, store: OrphanStore, name: str, *, after: float = ORPHAN_SECONDS) -> None:
        """`after` is the minimum age of an orphan's newest chunk, in seconds."""
        self.freed = 0
        """The number of puts whose chunks this process deleted."""
        self.passes = 0
        """The number of passes that this process completed."""
        self._states = states
        self._store = store
        self._entry: bytes = msgpack.packb([ELECTED_SWEEPER, name])
        self._after = after

    async def turn(self) -> bool:
        """Make one pass if this process is elected or can be; returns whether it was.

        Raises:
            StorageError: the broker is unavailable; the next turn makes up for this one.
        """
        held, revision = await self._states.load(ELECTION)
        if held is not None and held != self._entry:
            return False
        try:
            await self._states.save(ELECTION, self._entry, revision, ELECTED_SECONDS)
        except ConflictError:
            return False
        await self.sweep()
        return True

    async def sweep(self) -> None:
        """Delete chunks without a meta message whose newest one was older than ORPHAN_SECONDS at the start."""
        for owner in await self._store.owners():
            oldest = await self._store.now(owner) - self._after
            # In this order: a put that commits in between has its meta message when we look for it.
            chunked = await self._store.chunked(owner)
            for body_id in sorted(chunked - await self._store.committed(owner)):
                newest = await self._store.newest(owner, body_id)
                if newest is not None and newest[0] <= oldest and not await self._uploading(body_id):
                    await self._free(owner, body_id, newest[1])
        self.passes += 1

    async def _free(self, owner: str, body_id: BodyId, up_to: int) -> None:
        # Clocks may jump: the writer may still be alive. If its meta is barred first, its commit fails; it never loses
        # chunks and is acknowledged all the same.
        try:
            barred = await self._store.bar(owner, body_id)
        except StoreFullError:  # the next turn may find room
            return
        if barred:
            await self._store.free(owner, body_id, up_to)
            self.freed += 1

    async def _uploading(self, body_id: BodyId) -> bool:
        """Whether its chunks belong to an upload that may be resumed; they expire with it."""
        return (await self._states.load(upload_key(body_id)))[0] is not None
