"""Sweeping: chunks of bodies that were never committed are freed. What expires, the broker frees by itself.

A put that was killed leaves chunks without a meta, which would stay as long as its body was meant to live: up to 30
days. One of all bridges sweeps at a time; whoever that is holds an entry in `bp_grants` that it has to renew.
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
"""Since its newest chunk, by nats-server's clock. Whoever puts a body writes more often, or its commit is refused."""

EVERY_SECONDS = 60.0
ELECTED_SECONDS = 150
"""A sweeper that is gone is followed by another one after this."""

ELECTION = "sweeper"
"""The key of the entry; no grant has such an id."""


class OrphanStore(Protocol):
    """What a sweeper needs of the store."""

    async def owners(self) -> list[str]:
        """Everybody who has a bucket."""

    async def chunked(self, owner: str) -> set[BodyId]:
        """Every body of which there are chunks."""

    async def committed(self, owner: str) -> set[BodyId]:
        """Every body that has its meta, readable or not."""

    async def now(self, owner: str) -> float:
        """The time (unix seconds) of the clock that stamps this owner's chunks."""

    async def newest(self, owner: str, body_id: BodyId) -> tuple[float, int] | None:
        """When its newest chunk came (unix seconds), and the place of that; None where there is none any more."""

    async def bar(self, owner: str, body_id: BodyId) -> bool:
        """Take the place of its meta, so that it cannot be committed any more; False where it was committed.

        Raises:
            StoreFullError: there is no room for that; nothing was changed.
        """

    async def free(self, owner: str, body_id: BodyId, up_to: int) -> None:
        """Its chunks are gone up to that place; what came behind it stays."""


class OrphanCollector:
    """Sweeps when it is this process's turn. `name` is this process's own."""

    def __init__(self, states: EntryStore, store: OrphanStore, name: str, *, after: float = ORPHAN_SECONDS) -> None:
        """`after` is how many seconds old the newest chunk of an orphan is at least."""
        self.freed = 0
        """Puts whose chunks this process freed."""
        self.passes = 0
        """Sweeps that this process completed."""
        self._states = states
        self._store = store
        self._entry: bytes = msgpack.packb([ELECTED_SWEEPER, name])
        self._after = after

    async def turn(self) -> bool:
        """One pass, where this process is elected or nobody is; returns whether it was.

        Raises:
            StorageError: the broker is away; the next turn does what this one did not.
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
        """No chunks without a meta are left whose newest one was older than ORPHAN_SECONDS as this began."""
        for owner in await self._store.owners():
            oldest = await self._store.now(owner) - self._after
            # In this order: a put that commits in between has its meta when we look for it.
            chunked = await self._store.chunked(owner)
            for body_id in sorted(chunked - await self._store.committed(owner)):
                newest = await self._store.newest(owner, body_id)
                if newest is not None and newest[0] <= oldest and not await self._uploading(body_id):
                    await self._free(owner, body_id, newest[1])
        self.passes += 1

    async def _free(self, owner: str, body_id: BodyId, up_to: int) -> None:
        # Clocks may step: its writer may be there after all. Barred first, its commit fails; it never loses chunks
        # and is acknowledged.
        try:
            barred = await self._store.bar(owner, body_id)
        except StoreFullError:  # the next turn may find room
            return
        if barred:
            await self._store.free(owner, body_id, up_to)
            self.freed += 1

    async def _uploading(self, body_id: BodyId) -> bool:
        """Whether its chunks wait for whoever uploads to come back; they end with their time to live."""
        return (await self._states.load(upload_key(body_id)))[0] is not None
