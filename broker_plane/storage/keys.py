"""Owners' keys in the key-value bucket `bp_keys`, one entry an owner: a msgpack list of secrets, the first seals."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from time import monotonic

import msgpack

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import fixed, newest
from broker_plane.errors import BrokerUnavailableError, ConflictError, KeysLostError
from broker_plane.plane.ports import Trouble
from broker_plane.storage.copies import copy_entry
from broker_plane.storage.layout import GRANTS, KEYS
from broker_plane.wire.entry_formats import KEY_RING_NOTE
from broker_plane.wire.grant import Key
from broker_plane.wire.names import is_owner

_SUBJECT = f"$KV.{KEYS}."
_STREAM = f"KV_{KEYS}"
_NOTE = f"$KV.{GRANTS}.ring."
"""In the other bucket: which owners have keys."""

LIVE_KEYS = 2
_KEY_BYTES = 32
_LOOK_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 10.0
"""A key that was rotated away opens nothing after this, on any bridge."""


class NatsKeys:
    """The Keys port for `owner`, whose first key is made where there is none."""

    def __init__(
        self,
        connection: Connection,
        owner: str,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        now: Callable[[], float] = monotonic,
        restore: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """`restore` brings back what the bucket has lost, where there is a copy of it."""
        self._connection = connection
        self._owner = owner
        self._random = random_bytes
        self._now = now
        self._restore = restore
        self.lost: list[str] = []
        """Owners whose keys were there once and are not any more, as far as this process has looked."""
        self._own: list[Key] = []
        self._by_id: dict[bytes, list[tuple[str, Key]]] = {}
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._looking: asyncio.Task[None] | None = None

    async def sealing(self) -> Key:
        if not self._own:
            self._own = await self._load_or_make()
        return self._own[0]

    async def opening(self, key_id: bytes) -> list[tuple[str, Key]]:
        if key_id in self._by_id:
            if self._now() > self._looked_at + LOOK_AGAIN_SECONDS:
                await self._look_again()
        else:
            # A new owner, a new key, or a forgery: all who ask at the same time share one look, and its failure.
            late = self._looking is not None
            await self.look()
            if late and key_id not in self._by_id:  # that look may have begun before the key was there
                await self.look()
        if key_id not in self._by_id and self.lost:
            await self._find_lost()
        if key_id not in self._by_id and self.lost:
            raise _lost(self.lost)
        return self._by_id.get(key_id, [])

    async def _find_lost(self) -> None:
        if self._restore is not None:
            await self._restore()
        await self.look()

    async def troubles(self) -> list[Trouble]:
        """That keys are lost, where they are."""
        if self.lost and self._now() > self._looked_at + 1:
            await self.look()
        return [Trouble("keys_lost", str(_lost(self.lost)), stops=not self._by_id)] if self.lost else []

    async def rotate(self) -> Key:
        """A new sealing key; the one before it still opens, older ones do not any more."""
        keys, revision = await self._load(self._owner)
        fresh = Key(self._random(32))
        await self._save([fresh, *keys][:LIVE_KEYS], revision)
        self._own = []
        self._by_id = {}
        return fresh

    async def _load_or_make(self) -> list[Key]:
        keys, revision = await self._load(self._owner)
        noted = await self._is_noted(self._owner)
        if not keys and noted and self._restore is not None:
            await self._restore()
            keys, revision = await self._load(self._owner)
        if not keys and noted:
            raise _lost([self._owner])
        keys = keys or await self._make(revision)
        if not noted:
            await self._note(self._owner)
        return keys

    async def _make(self, revision: int) -> list[Key]:
        made = [Key(self._random(32))]
        try:
            await self._save(made, revision)
        except ConflictError:  # another process of this owner was faster
            return (await self._load(self._owner))[0]
        return made

    async def _is_noted(self, owner: str) -> bool:
        return await fixed(self._connection, f"KV_{GRANTS}", _NOTE + owner) is not None

    async def _note(self, owner: str) -> None:
        """From here on the lack of this owner's keys is a loss: without this they would be replaced in silence."""
        note: bytes = msgpack.packb([KEY_RING_NOTE, owner])
        seconds = self._connection.attempt_seconds
        revision = await self._connection.repeat(lambda: self._connection.store(_NOTE + owner, note, seconds=seconds))
        await copy_entry(self._connection, GRANTS, f"ring.{owner}", note, revision)

    async def _load(self, owner: str) -> tuple[list[Key], int]:
        entry = await newest(self._connection, _STREAM, ring_subject(owner))
        if entry is None:
            return [], 0
        return (parse_ring(entry.data) if entry.data else []), sequence_of(entry)

    async def _save(self, keys: list[Key], revision: int) -> None:
        ring = pack_ring(keys)
        saved = await store_after(self._connection, _STREAM, ring_subject(self._owner), ring, revision, {})
        await copy_entry(self._connection, KEYS, self._owner, ring, saved)

    async def _look_again(self) -> None:
        """As `look`; while the broker is away, what is known holds on: bodies may still be there to be read."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self.look()
        except (BrokerUnavailableError, TimeoutError):
            self._looked_at = self._now() - LOOK_AGAIN_SECONDS + 1

    async def look(self) -> None:
        """Every owner's keys are known, as they were when this was called or a little before."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._read_all())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # everybody who waited for it may have given up

    async def _read_all(self) -> None:
        """Read every owner's keys.

        Each by its own request: whoever may write one entry chooses its headers, too, so no header may say whose an
        entry is, or that it was the last one.
        """
        begun = self._now()
        owners = await owners_with_keys(self._connection)
        rings = await asyncio.gather(*(self._load(owner) for owner in owners))
        found: dict[bytes, list[tuple[str, Key]]] = {}
        for owner, (ring, _) in zip(owners, rings, strict=True):
            for key in ring:
                found.setdefault(key.id, []).append((owner, key))
        noted = await _names_below(self._connection, GRANTS, _NOTE)
        self._by_id, self._looked_at = found, begun
        self.lost = sorted(set(noted) - set(owners))
        # A resource server registers its keys, and may not note that itself.
        for owner in set(owners) - set(noted):
            await self._note(owner)


async def owners_with_keys(connection: Connection) -> list[str]:
    """The owners that have registered keys."""
    return await _names_below(connection, KEYS, _SUBJECT)


async def _names_below(connection: Connection, bucket: str, prefix: str) -> list[str]:
    stream = await connection.asked(f"STREAM.INFO.KV_{bucket}", {"subjects_filter": f"{prefix}*"})
    names = (subject.removeprefix(prefix) for subject in stream["state"].get("subjects") or {})
    return [name for name in names if is_owner(name)]


def _lost(owners: list[str]) -> KeysLostError:
    return KeysLostError(
        f"The store has lost the keys of {', '.join(owners)}, and with them every grant that they sealed. Put them "
        "back from a backup, or have new ones made as that owner with `broker-plane keys rotate`"
    )


def ring_subject(owner: str) -> str:
    """Where an owner's keys stand; the owner's user alone may publish there."""
    return _SUBJECT + owner


def pack_ring(keys: list[Key]) -> bytes:
    packed: bytes = msgpack.packb([key.secret for key in keys])
    return packed


def parse_ring(raw: bytes) -> list[Key]:
    """The keys of an entry, at most two; none where it is no list of keys, because its owner writes what it likes."""
    try:
        ring = msgpack.unpackb(raw)
    except (ValueError, msgpack.UnpackException):
        return []
    if not isinstance(ring, list) or not all(type(secret) is bytes and len(secret) == _KEY_BYTES for secret in ring):
        return []
    return [Key(secret) for secret in ring[:LIVE_KEYS]]
