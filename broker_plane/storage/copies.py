"""Copies of the state buckets, from which damaged ones are restored (docs/decisions/0013).

nats-server cuts a damaged block file off at the damage. Later entries vanish, and of what they had replaced the older
version is back: used grants would open again, and revoked ones. So each entry is written a second time, to a stream
with files of its own. Nobody waits for that. Whoever serves grants compares the two before it trusts the bucket: at its
start, and after each break of the connection.

nats-server could copy by itself, by `sources`; but one such stream that finds its disk full makes it shut JetStream
down, and then no body can be read any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from nats.aio.msg import Msg

from broker_plane.broker.conditional import EXPECTED, store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, numbered
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, ConflictError
from broker_plane.plane.ports import GrantStates
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.storage.layout import COPIES, COPY_SUBJECT, GRANTS, KEYS, ensure_copy, ensure_state

log = quiet_logger(__name__)
_REVISION = "Bp-Revision"
"""Header of a copy: the sequence of the entry in its bucket."""

_AT_ONCE = 1024
_WRITES = 256
_ENDING_SECONDS = 2
"""Of an entry's life, in which one of the two may have ended it already."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry, as it stands at `place` of a bucket or its copy; `revision` is its sequence in the bucket."""

    place: int
    revision: int
    stamp: datetime
    life: float | None
    """Seconds from then on; None is for ever."""

    data: bytes


class Copies:
    """Compares the state buckets with their copies, and restores what a bucket has lost."""

    def __init__(self, connection: Connection, replicas: int) -> None:
        self.restored = 0
        """Entries that this process wrote again: an alert."""
        self._connection = connection
        self._replicas = replicas
        self._copying: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """No copies are made any more."""
        for task in self._copying:
            task.cancel()
        await asyncio.gather(*self._copying, return_exceptions=True)

    async def verify(self) -> bool:
        """Every entry that a bucket or its copy has is in both; returns whether anything had to be done for that.

        Raises:
            StorageError: whether it is so is not known.
        """
        await ensure_state(self._connection, self._replicas)
        return any([await self.verify_bucket(bucket) for bucket in COPIES])

    async def verify_keys(self) -> bool:
        """As `verify`, for the keys alone."""
        return await self.verify_bucket(KEYS)

    async def verify_bucket(self, bucket: str) -> bool:
        """As `verify`, for one bucket."""
        if not await ensure_copy(self._connection, bucket, self._replicas) or await self._same(bucket):
            return False
        kept, copied = await self._entries(f"KV_{bucket}"), await self._entries(COPIES[bucket])
        lost = [name for name, copy in copied.items() if _is_lost(kept.get(name), copy)]
        uncopied = [name for name, entry in kept.items() if _is_uncopied(entry, copied.get(name)) and name not in lost]
        for start in range(0, len(lost), _WRITES):
            turn = lost[start : start + _WRITES]
            await asyncio.gather(*(self._restore(bucket, name, copied[name], kept.get(name)) for name in turn))
        copying = self._copy(bucket, [(name, kept[name], copied.get(name)) for name in uncopied])
        if len(uncopied) <= _WRITES:
            await copying
        else:  # nobody waits for the first start of a version that makes copies
            task = asyncio.create_task(copying)
            self._copying.add(task)
            task.add_done_callback(self._copying.discard)
        if lost:
            log.error("the bucket %s was damaged: %d entries were restored from its copy", bucket, len(lost))
        return bool(lost)

    async def _same(self, bucket: str) -> bool:
        """Whether both hold as many entries, and the last one is the same."""
        kept = (await self._connection.asked(f"STREAM.INFO.KV_{bucket}"))["state"]
        copied = (await self._connection.asked(f"STREAM.INFO.{COPIES[bucket]}"))["state"]
        return kept["messages"] == copied["messages"] and await self._is_copy(bucket, kept, copied)

    async def _is_copy(self, bucket: str, kept: Mapping[str, int], copied: Mapping[str, int]) -> bool:
        if not kept["messages"]:
            return True
        entry = await numbered(self._connection, f"KV_{bucket}", kept["last_seq"])
        copy = await numbered(self._connection, COPIES[bucket], copied["last_seq"])
        if entry is None or copy is None:
            return False
        return entry.data == copy.data and (_name(entry), kept["last_seq"]) == (_name(copy), _entry(copy).revision)

    async def _entries(self, stream: str) -> dict[str, _Entry]:
        found: dict[str, _Entry] = {}
        async for message in every(self._connection, stream, ">", first=_AT_ONCE, most=_AT_ONCE):
            found[_name(message)] = _entry(message)
        return found

    async def _restore(self, bucket: str, name: str, copy: _Entry, there: _Entry | None) -> None:
        """The bucket has the entry again that its copy has; where it has a newer one by now, that stays."""
        left = self._seconds_left(copy)
        if left is not None and left <= _ENDING_SECONDS:
            return
        stream, subject, after = f"KV_{bucket}", f"$KV.{bucket}.{name}", there.revision if there else 0
        with suppress(ConflictError):  # another bridge was faster
            revision = await store_after(self._connection, stream, subject, copy.data, after, _life(left))
            self.restored += 1
            await copy_entry(self._connection, bucket, name, copy.data, revision, left)

    async def _copy(self, bucket: str, entries: list[tuple[str, _Entry, _Entry | None]]) -> None:
        with suppress(BrokerPlaneError):
            for number, (name, entry, there) in enumerate(entries, 1):
                # Where somebody made a copy meanwhile, that one is newer.
                headers = {EXPECTED: str(there.place if there else 0)}
                headers |= _copy_headers(entry.revision, self._seconds_left(entry))
                if number % _WRITES and number < len(entries):
                    await self._connection.publish(_copy_subject(bucket, name), entry.data, headers=headers)
                else:  # not faster than the disk takes them
                    await self._connection.store(_copy_subject(bucket, name), entry.data, headers)

    def _seconds_left(self, entry: _Entry) -> float | None:
        """How long an entry has still to live; None for ever."""
        return None if entry.life is None else entry.stamp.timestamp() + entry.life - self._connection.clock.now()


def _is_lost(kept: _Entry | None, copy: _Entry) -> bool:
    """Whether the bucket has less than the copy. After damage sequences are given out again: the later one counts."""
    return kept is None or (kept.revision < copy.revision and kept.stamp < copy.stamp)


def _is_uncopied(kept: _Entry, copy: _Entry | None) -> bool:
    return copy is None or copy.revision != kept.revision


def _name(message: Msg) -> str:
    """What follows the names of bucket or copy: the entry's key, which may have dots in it."""
    subject = (message.headers or {})["Nats-Subject"]
    return subject.split(".", 3 if subject.startswith(COPY_SUBJECT) else 2)[-1]


def _entry(message: Msg) -> _Entry:
    headers = message.headers or {}
    place = sequence_of(message)
    life = headers.get("Nats-TTL", "").removesuffix("s")
    return _Entry(
        place=place,
        # An owner chooses the headers of its entry in `bp_keys`; copies are written by the plane alone.
        revision=int(headers[_REVISION]) if headers["Nats-Subject"].startswith(COPY_SUBJECT) else place,
        stamp=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        life=float(life) if life.isdigit() else None,
        data=message.data,
    )


def _copy_subject(bucket: str, name: str) -> str:
    return f"{COPY_SUBJECT}{bucket}.{name}"


def _copy_headers(revision: int, left: float | None) -> dict[str, str]:
    return {_REVISION: str(revision)} | _life(left)


def _life(left: float | None) -> dict[str, str]:
    return {} if left is None else {"Nats-TTL": f"{max(1, ceil(left))}s"}


async def copy_entry(
    connection: Connection, bucket: str, name: str, entry: bytes, revision: int, ttl: float | None = None
) -> None:
    """Write the copy of an entry that its bucket has acknowledged. What fails here is made good by `Copies.verify`."""
    with suppress(BrokerPlaneError):
        await connection.publish(_copy_subject(bucket, name), entry, headers=_copy_headers(revision, ttl))


class Gate:
    """Open while the state buckets can be trusted. A process that serves no grants never shuts it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open = asyncio.Event()
        self._open.set()
        self._why = ""

    def shut(self, why: str = "") -> None:
        """Nobody passes from now on; `why` is what they are told."""
        self._open.clear()
        self._why = why or self._why

    def open(self) -> None:
        self._open.set()
        self._why = ""

    async def passed(self) -> None:
        """Wait for it to be open.

        Raises:
            BrokerUnavailableError: it is not for too long.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._open.wait()
        except TimeoutError as error:
            why = self._why or "try again"
            raise BrokerUnavailableError(f"The state of grants is not verified yet: {why}", retry_after=1) from error


class CopiedStates:
    """The GrantStates port over `states`: entries are copied, and looked at only while the gate is open."""

    def __init__(self, states: GrantStates, connection: Connection, gate: Gate) -> None:
        self._states = states
        self._connection = connection
        self._gate = gate

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        await self._gate.passed()
        return await self._states.load(grant_id)

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int) -> int:
        await self._gate.passed()
        saved = await self._states.save(grant_id, entry, revision, ttl_seconds)
        await copy_entry(self._connection, GRANTS, grant_id, entry, saved, ttl_seconds)
        return saved
