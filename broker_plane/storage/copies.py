"""Copies of the state buckets, kept by nats-server itself, from which damaged ones are restored (docs/decisions/0012).

nats-server cuts a damaged block file off at the damage. Later entries vanish, and of what they had replaced the older
version is back: used grants would open again, and revoked ones. So each bucket has a copy, a stream with files of its
own that sources it. Nobody writes to a copy and nothing waits for it. Whoever serves grants compares the two before it
trusts the bucket: at its start, and after each break of the connection.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from math import ceil

import orjson
from nats.aio.msg import Msg

from broker_plane.errors import BrokerAwayError, ConflictError, StorageError
from broker_plane.plane.ports import GrantStates
from broker_plane.storage.connection import Connection
from broker_plane.storage.direct import batch, sequence_of, status
from broker_plane.storage.streams import COPIES, KEYS, ensure_copy, ensure_state

log = logging.getLogger(__name__)
_AT_ONCE = 1024
_WRITES = 256
_TRIES = 20
_MOST_UNEVEN = 2
_PAUSE_SECONDS = 0.05
_SOURCE = "Nats-Stream-Source"
"""Header of a copied message: the stream that it comes from, and its sequence there."""

_ENDING_SECONDS = 2
"""Of an entry's life, in which one of the two may have ended it already."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message of a bucket or its copy: its `place` there, and its `sequence` in the bucket."""

    place: int
    sequence: int
    stamp: datetime


class Copies:
    """Compares the state buckets with their copies, and restores what a bucket has lost."""

    def __init__(self, connection: Connection, replicas: int) -> None:
        self.restored = 0
        """Entries that this process wrote again: an alert."""
        self._connection = connection
        self._replicas = replicas

    async def verify(self) -> bool:
        """Every entry that a bucket or its copy has is in both; returns whether anything had to be done for that.

        Raises:
            StorageError: whether it is so is not known.
        """
        await ensure_state(self._connection, self._replicas)
        return any([await self.verify_bucket(stream) for stream in COPIES])

    async def verify_keys(self) -> bool:
        """As `verify`, for the keys alone."""
        return await self.verify_bucket(f"KV_{KEYS}")

    async def verify_bucket(self, stream: str) -> bool:
        """As `verify`, for one bucket."""
        if not await ensure_copy(self._connection, stream, self._replicas) or await self._same(stream):
            return False
        lost = await self._lost(stream)
        for start in range(0, len(lost), _WRITES):
            await asyncio.gather(*(self._restore(stream, *each) for each in lost[start : start + _WRITES]))
        if lost:
            log.error("%s was damaged: %d entries were restored from its copy", stream, len(lost))
        elif await self._same(stream):
            return False
        # After damage sequences are given out again, and the copy would wait for those that it has.
        with suppress(StorageError):  # another bridge was faster
            await self._connection.api(f"STREAM.DELETE.{COPIES[stream]}")
        await ensure_copy(self._connection, stream, self._replicas)
        return True

    async def _same(self, stream: str) -> bool:
        """Whether the copy is what the bucket is, or becomes so in a moment."""
        uneven = 0
        for _ in range(_TRIES):
            bucket = (await self._connection.api(f"STREAM.INFO.{stream}"))["state"]
            info = await self._connection.api(f"STREAM.INFO.{COPIES[stream]}")
            copied = (info.get("sources") or [{}])[0].get("seq", 0)
            if bucket["messages"] == info["state"]["messages"] and bucket["last_seq"] == copied:
                return not copied or await self._same_end(stream, copied, info["state"]["last_seq"])
            if bucket["last_seq"] < copied:
                return False
            if bucket["last_seq"] == copied:
                uneven += 1
                if uneven > _MOST_UNEVEN:
                    return False
            # The copy is behind, or an entry has ended in one of them a moment before it does in the other.
            await asyncio.sleep(_PAUSE_SECONDS)
        return False

    async def _same_end(self, stream: str, last: int, place: int) -> bool:
        """Whether the last messages are one: after damage another one may have got the number of one that was lost."""
        kept = await self._at(stream, last)
        copied = await self._at(COPIES[stream], place)
        if kept is None or copied is None:
            return False
        return kept.data == copied.data and (_subject(kept), last) == (_subject(copied), _entry(copied).sequence)

    async def _at(self, stream: str, place: int) -> Msg | None:
        found = await self._connection.request(f"$JS.API.DIRECT.GET.{stream}", orjson.dumps({"seq": place}))
        return None if status(found) else found

    async def _lost(self, stream: str) -> list[tuple[str, int, int]]:
        """What the copy has newer than the bucket: subject, place in the copy, and the bucket's sequence for it."""
        copied = await self._entries(COPIES[stream])
        kept = await self._entries(stream)
        found = []
        for subject, entry in copied.items():
            there = kept.get(subject)
            # The copy of a message has a later stamp than itself.
            if there is None or (there.sequence != entry.sequence and there.stamp < entry.stamp):
                found.append((subject, entry.place, there.sequence if there else 0))
        return found

    async def _entries(self, stream: str) -> dict[str, _Entry]:
        found: dict[str, _Entry] = {}
        sequence = 1
        while True:
            last = 0
            request = {"batch": _AT_ONCE, "seq": sequence, "next_by_subj": ">"}
            async for message in batch(self._connection, stream, request):
                last = sequence_of(message)
                found[_subject(message)] = _entry(message)
            if not last:
                return found
            sequence = last + 1

    async def _restore(self, stream: str, subject: str, place: int, revision: int) -> None:
        asked = {"batch": 1, "seq": place, "next_by_subj": subject}
        async for message in batch(self._connection, COPIES[stream], asked):
            left = self._seconds_left(message)
            if left is not None and left <= _ENDING_SECONDS:
                return
            headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
            if left is not None:
                headers["Nats-TTL"] = f"{ceil(left)}s"
            with suppress(ConflictError):  # another bridge was faster
                await self._connection.store(subject, message.data, headers)
                self.restored += 1

    def _seconds_left(self, message: Msg) -> float | None:
        life = (message.headers or {}).get("Nats-TTL", "").removesuffix("s")
        if not life.isdigit():
            return None
        return _entry(message).stamp.timestamp() + int(life) - self._connection.clock.now()


def _subject(message: Msg) -> str:
    return (message.headers or {})["Nats-Subject"]


def _entry(message: Msg) -> _Entry:
    headers = message.headers or {}
    place = sequence_of(message)
    source = headers.get(_SOURCE, "").split()
    sequence = int(source[1]) if source else place
    return _Entry(place, sequence, datetime.fromisoformat(headers["Nats-Time-Stamp"]))


class Gate:
    """Open while the state buckets can be trusted. A process that serves no grants never shuts it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open = asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        """Wait for it to be open.

        Raises:
            BrokerAwayError: it is not for too long.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._open.wait()
        except TimeoutError as error:
            raise BrokerAwayError("The state of grants is not verified yet; try again", retry_after=1) from error


class Verified:
    """The GrantStates port over another one, asked only while the gate is open."""

    def __init__(self, states: GrantStates, gate: Gate) -> None:
        self._states = states
        self._gate = gate

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        await self._gate.passed()
        return await self._states.load(grant_id)

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int) -> int:
        await self._gate.passed()
        return await self._states.save(grant_id, entry, revision, ttl_seconds)
