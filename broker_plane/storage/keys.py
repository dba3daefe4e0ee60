"""Owners' keys in the key-value bucket `bp_keys`. An entry is a msgpack list of an owner's secrets; the first seals."""

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
from broker_plane.wire.entry_formats import KEY_RING_NOTE
from broker_plane.wire.grant import Key
from broker_plane.wire.names import is_owner
from broker_plane.wire.plane_names import kv_stream

LIVE_KEYS = 2
_KEY_BYTES = 32
_LOOK_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 10.0
"""After this time, a key that was rotated out opens nothing on any bridge."""


class NatsKeys:
    """The Keys port for `owner`, whose first key is created if there is none."""

    def __init__(
        self,
        connection: Connection,
        owner: str,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        now: Callable[[], float] = monotonic,
        restore: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """`restore` restores what the bucket has lost from its copy, if there is one."""
        self._connection = connection
        self._names = connection.names
        self._owner = owner
        self._random = random_bytes
        self._now = now
        self._restore = restore
        self.lost: list[str] = []
        """Owners whose keys existed and are missing, as far as this process has seen."""
        self._own: list[Key] = []
        self._by_id: dict[bytes, list[tuple[str, Key]]] = {}
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._looking: asyncio.Task[None] | None = None

    async def sealing(self) -> Key:
        if not self._own:
            self._own = await self._load_or_make()
        return self._own[0]

    async def sealing_of(self, owner: str) -> Key:
        """The key that seals the grants of any owner. Raises KeysLostError if the owner has none."""
        if owner == self._owner:
            return await self.sealing()
        keys, _ = await self._load(owner)
        if not keys:
            raise _lost([owner])
        return keys[0]

    async def opening(self, key_id: bytes) -> list[tuple[str, Key]]:
        if key_id in self._by_id:
            if self._now() > self._looked_at + LOOK_AGAIN_SECONDS:
                await self._look_again()
        else:
            # A new owner, a new key, or a forgery: simultaneous calls share one look-up, and its failure.
            late = self._looking is not None
            await self.look()
            if late and key_id not in self._by_id:  # that look-up may have begun before the key was stored
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
        """Reports lost keys."""
        if self.lost and self._now() > self._looked_at + 1:
            await self.look()
        return [Trouble("keys_lost", str(_lost(self.lost)), stops=not self._by_id)] if self.lost else []

    async def rotate(self) -> Key:
        """Create a new sealing key; the previous one still opens grants, older ones do not any more."""
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
        stream, subject = kv_stream(self._names.grants_bucket), self._names.ring_note_subject(owner)
        return await fixed(self._connection, stream, subject) is not None

    async def _note(self, owner: str) -> None:
        """From now on, missing keys of this owner are a loss; without this note they would be replaced silently."""
        note: bytes = msgpack.packb([KEY_RING_NOTE, owner])
        seconds = self._connection.attempt_seconds
        subject = self._names.ring_note_subject(owner)
        revision = await self._connection.retry(lambda: self._connection.store(subject, note, seconds=seconds))
        await copy_entry(self._connection, self._names.grants_bucket, f"ring.{owner}", note, revision)

    async def _load(self, owner: str) -> tuple[list[Key], int]:
        entry = await newest(self._connection, kv_stream(self._names.keys_bucket), self._names.ring_subject(owner))
        if entry is None:
            return [], 0
        return (parse_ring(entry.data) if entry.data else []), sequence_of(entry)

    async def _save(self, keys: list[Key], revision: int) -> None:
        ring, stream = pack_ring(keys), kv_stream(self._names.keys_bucket)
        saved = await store_after(self._connection, stream, self._names.ring_subject(self._owner), ring, revision, {})
        await copy_entry(self._connection, self._names.keys_bucket, self._owner, ring, saved)

    async def _look_again(self) -> None:
        """As `look`; while the broker is unavailable, the known keys stay in use: bodies may still be readable."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self.look()
        except (BrokerUnavailableError, TimeoutError):
            self._looked_at = self._now() - LOOK_AGAIN_SECONDS + 1

    async def look(self) -> None:
        """Look up every owner's keys, as they are now or were a moment ago."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._read_all())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # all callers may have given up: mark it as retrieved

    async def _read_all(self) -> None:
        """Read every owner's keys.

        Each with its own request: the writer of an entry also chooses its headers, so no header may say whose entry it
        is, or that it was the last one.
        """
        begun = self._now()
        owners = await owners_with_keys(self._connection)
        rings = await asyncio.gather(*(self._load(owner) for owner in owners))
        found: dict[bytes, list[tuple[str, Key]]] = {}
        for owner, (ring, _) in zip(owners, rings, strict=True):
            for key in ring:
                found.setdefault(key.id, []).append((owner, key))
        noted = await _names_below(self._connection, self._names.grants_bucket, self._names.ring_note_subject(""))
        self._by_id, self._looked_at = found, begun
        self.lost = sorted(set(noted) - set(owners))
        # A resource server registers its keys, and has no permission to write the note.
        for owner in set(owners) - set(noted):
            await self._note(owner)


async def owners_with_keys(connection: Connection) -> list[str]:
    """The owners that have registered keys."""
    return await _names_below(connection, connection.names.keys_bucket, connection.names.ring_subject(""))


async def _names_below(connection: Connection, bucket: str, prefix: str) -> list[str]:
    stream = await connection.retrying_api(f"STREAM.INFO.{kv_stream(bucket)}", {"subjects_filter": f"{prefix}*"})
    names = (subject.removeprefix(prefix) for subject in stream["state"].get("subjects") or {})
    return [name for name in names if is_owner(name)]


def _lost(owners: list[str]) -> KeysLostError:
    return KeysLostError(
        f"The store has lost the keys of {', '.join(owners)}, and with them every grant that they sealed. Put them "
        "back from a backup, or have new ones made as that owner with `broker-plane keys rotate`"
    )


def pack_ring(keys: list[Key]) -> bytes:
    packed: bytes = msgpack.packb([key.secret for key in keys])
    return packed


def parse_ring(raw: bytes) -> list[Key]:
    """The keys in an entry, at most two; none if it is not a list of keys, because its owner may write anything."""
    try:
        ring = msgpack.unpackb(raw)
    except (ValueError, msgpack.UnpackException):
        return []
    if not isinstance(ring, list) or not all(type(secret) is bytes and len(secret) == _KEY_BYTES for secret in ring):
        return []
    return [Key(secret) for secret in ring[:LIVE_KEYS]]
