"""Copies of the state buckets, from which damaged entries are restored (docs/decisions/0013).

nats-server cuts off a damaged block file at the damage. Later entries are lost, and the older versions that they had
replaced are back: used grants would open again, and revoked ones, too. So each entry is written a second time, to a
stream with files of its own, and nobody waits for that write. A process that serves grants compares bucket and copy
before it trusts the bucket: when it starts, and after each break of the connection.

nats-server could copy by itself, with `sources`; but a stream with sources that finds its disk full makes it shut down
JetStream, and then no body can be read any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from broker_plane.broker.conditional import EXPECTED, store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, newest, numbered
from broker_plane.broker.messages import Message
from broker_plane.errors import BrokerPlaneError, ConflictError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.storage.layout import ensure_copy, ensure_state
from broker_plane.wire.plane_names import kv_stream, kv_subject

log = redacted_logger(__name__)
_REVISION = "Bp-Revision"
"""Header of a copy: the sequence of the entry in its bucket."""

_BATCH = 1024
_WRITES = 256
_ENDING_SECONDS = 2
"""Of an entry's life, in which one of the two may have expired already."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry with the sequence `place` in a bucket or its copy; `revision` is its sequence in the bucket."""

    place: int
    revision: int
    stamp: datetime
    life: float | None
    """Seconds from `stamp` on; None does not expire."""

    data: bytes


class Copies:
    """Compares the state buckets with their copies, and restores what a bucket has lost."""

    def __init__(self, connection: Connection) -> None:
        self.restored = 0
        """Number of entries that this process restored; more than 0 is worth an alert."""
        self._connection = connection
        self._names = connection.names
        self._copying: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop copying."""
        for task in self._copying:
            task.cancel()
        await asyncio.gather(*self._copying, return_exceptions=True)

    async def verify(self) -> bool:
        """Make sure that each bucket and its copy have the same entries; returns whether a bucket had lost some.

        Raises:
            StorageError: it is not known whether they do.
        """
        await ensure_state(self._connection)
        return any([await self.verify_bucket(bucket) for bucket in self._names.copied_buckets])

    async def verify_keys(self) -> bool:
        """As `verify`, for the keys only."""
        return await self.verify_bucket(self._names.keys_bucket)

    async def verify_bucket(self, bucket: str) -> bool:
        """As `verify`, for one bucket."""
        if not await ensure_copy(self._connection, bucket) or await self._is_same(bucket):
            return False
        kept = await self._entries(kv_stream(bucket))
        copied = await self._entries(self._names.copy_stream(bucket))
        lost = [name for name, copy in copied.items() if _is_lost(kept.get(name), copy)]
        uncopied = [name for name, entry in kept.items() if _is_uncopied(entry, copied.get(name)) and name not in lost]
        for start in range(0, len(lost), _WRITES):
            batch = lost[start : start + _WRITES]
            await asyncio.gather(*(self._restore(bucket, name, copied[name], kept.get(name)) for name in batch))
        copying = self._copy(bucket, [(name, kept[name], copied.get(name)) for name in uncopied])
        if len(uncopied) <= _WRITES:
            await copying
        else:  # do not wait at the first start of a version that makes copies
            task = asyncio.create_task(copying)
            self._copying.add(task)
            task.add_done_callback(self._copying.discard)
        if lost:
            log.error("The bucket %s was damaged: %d entries were restored from its copy", bucket, len(lost))
        return bool(lost)

    async def _is_same(self, bucket: str) -> bool:
        """Whether both have the same number of entries and the same last one."""
        kept = (await self._connection.retrying_api(f"STREAM.INFO.{kv_stream(bucket)}"))["state"]
        copied = (await self._connection.retrying_api(f"STREAM.INFO.{self._names.copy_stream(bucket)}"))["state"]
        return kept["messages"] == copied["messages"] and await self._is_copy(bucket, kept, copied)

    async def _is_copy(self, bucket: str, kept: Mapping[str, int], copied: Mapping[str, int]) -> bool:
        if not kept["messages"]:
            return True
        entry = await numbered(self._connection, kv_stream(bucket), kept["last_seq"])
        copy = await numbered(self._connection, self._names.copy_stream(bucket), copied["last_seq"])
        if entry is None or copy is None:
            return False
        return entry.data == copy.data and (_key(entry), kept["last_seq"]) == (_key(copy), _entry(copy).revision)

    async def _entries(self, stream: str) -> dict[str, _Entry]:
        found: dict[str, _Entry] = {}
        async for message in every(self._connection, stream, ">", first=_BATCH, most=_BATCH):
            found[_key(message)] = _entry(message)
        return found

    async def _restore(self, bucket: str, key: str, copy: _Entry, existing: _Entry | None) -> None:
        """Write the entry of a copy back to the bucket, unless the bucket has a newer one by now."""
        left = self._seconds_left(copy)
        if left is not None and left <= _ENDING_SECONDS:
            return
        stream, subject, after = kv_stream(bucket), kv_subject(bucket, key), existing.revision if existing else 0
        with suppress(ConflictError):  # another bridge was faster
            revision = await store_after(self._connection, stream, subject, copy.data, after, _life(left))
            self.restored += 1
            await copy_entry(self._connection, bucket, key, copy.data, revision, left)

    async def _copy(self, bucket: str, entries: list[tuple[str, _Entry, _Entry | None]]) -> None:
        with suppress(BrokerPlaneError):
            for number, (key, entry, existing) in enumerate(entries, 1):
                # If another process has made a copy meanwhile, that copy is newer.
                headers = {EXPECTED: str(existing.place if existing else 0)}
                headers |= _copy_headers(entry.revision, self._seconds_left(entry))
                subject = self._names.copy_subject(bucket, key)
                if number % _WRITES and number < len(entries):
                    await self._connection.publish(subject, entry.data, headers=headers)
                else:  # back-pressure: not faster than the disk
                    await self._connection.store(subject, entry.data, headers)

    def _seconds_left(self, entry: _Entry) -> float | None:
        """How long an entry still has to live; None does not expire."""
        return None if entry.life is None else entry.stamp.timestamp() + entry.life - self._connection.clock.now()


async def copy_entry(
    connection: Connection, bucket: str, key: str, entry: bytes, revision: int, ttl: float | None = None
) -> None:
    """Copy an entry that its bucket has acknowledged. `Copies.verify` makes up for a copy that fails here."""
    with suppress(BrokerPlaneError):
        subject = connection.names.copy_subject(bucket, key)
        # This does not suspend, and nats-py flushes once per turn of the event loop, so the copy shares a socket write
        # with the answer that the caller sends next.
        await connection.publish(subject, entry, headers=_copy_headers(revision, ttl))


async def copy_unless_newer(
    connection: Connection, bucket: str, key: str, entry: bytes, revision: int, ttl: float
) -> None:
    """Copy an entry that was written a while ago, unless its copy is of a later one by now.

    Raises:
        BrokerPlaneError: it was not copied.
    """
    subject = connection.names.copy_subject(bucket, key)
    copy = await newest(connection, connection.names.copy_stream(bucket), subject)
    if copy is None or _entry(copy).revision < revision:
        headers = _copy_headers(revision, ttl) | {EXPECTED: str(sequence_of(copy) if copy else 0)}
        await connection.publish(subject, entry, headers=headers)


def _is_lost(kept: _Entry | None, copy: _Entry) -> bool:
    """Whether the bucket has less than the copy. After damage, sequences are reused: the later entry counts."""
    return kept is None or (kept.revision < copy.revision and kept.stamp < copy.stamp)


def _is_uncopied(kept: _Entry, copy: _Entry | None) -> bool:
    return copy is None or copy.revision != kept.revision


def _is_in_bucket(subject: str) -> bool:
    return subject.startswith("$KV.")


def _key(message: Message) -> str:
    """The entry's key, which may have dots: what follows the name of the bucket in both kinds of subject."""
    subject = (message.headers or {})["Nats-Subject"]
    return subject.split(".", 2 if _is_in_bucket(subject) else 3)[-1]


def _entry(message: Message) -> _Entry:
    headers = message.headers or {}
    place = sequence_of(message)
    life = headers.get("Nats-TTL", "").removesuffix("s")
    return _Entry(
        place=place,
        # An owner chooses the headers of its entry in the keys' bucket; only the plane writes copies.
        revision=place if _is_in_bucket(headers["Nats-Subject"]) else int(headers[_REVISION]),
        stamp=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        life=float(life) if life.isdigit() else None,
        data=message.data,
    )


def _copy_headers(revision: int, left: float | None) -> dict[str, str]:
    return {_REVISION: str(revision)} | _life(left)


def _life(left: float | None) -> dict[str, str]:
    return {} if left is None else {"Nats-TTL": f"{max(1, ceil(left))}s"}
