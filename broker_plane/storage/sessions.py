"""The SessionLog port: one subject for each session in the JetStream stream BP_SESSIONS.

A group is stored on condition of the subject's last sequence, so of two bridges that decide at the same time one has to
decide again. nats-server then announces it on `bp.said.<id>` with its payload (republish, ADR-28). An announcement may
be lost: each names the group before it, and a group that is missing is read from the stream.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from math import ceil

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.errors import NO_ANSWER
from broker_plane.broker.leader import every, newest
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import BrokerUnavailableError, SessionNotFoundError
from broker_plane.plane.ports import BodyStore
from broker_plane.plane.sessions.ports import Group, SessionInfo, Snapshot
from broker_plane.sessions.entries import Entry, pack_entries, unpack_entries
from broker_plane.storage.layout import ensure_sessions
from broker_plane.storage.session_payloads import IN_MESSAGE_BYTES, SessionPayloads, info_of
from broker_plane.storage.session_snapshots import SessionSnapshots

_RECONNECT_SECONDS = 0.1
_POLL_SECONDS = 10.0
"""An announcement may be lost without a break, and no other one may follow it; so the stream is read this often."""

_REMEMBERED = 4096


class NatsSessionLog:
    """The SessionLog port. It needs the rights of the user `plane`; the stream is created at the first use."""

    def __init__(
        self,
        connection: Connection,
        bodies: BodyStore,
        *,
        in_message_bytes: int = IN_MESSAGE_BYTES,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """Payloads above `in_message_bytes` are stored in `bodies`."""
        self._connection = connection
        self._names = connection.names
        self._payloads = SessionPayloads(connection, bodies, in_message_bytes)
        self._snapshots = SessionSnapshots(connection, self._payloads)
        self._poll_seconds = poll_seconds
        self._known: OrderedDict[str, SessionInfo] = OrderedDict()
        self._ensured = False

    async def create(self, session: str, owner: str, entries: Sequence[Entry], seconds: int) -> Group:
        """As `SessionLog.create`."""
        await self._ensure()
        info = SessionInfo(owner, ceil(self._connection.clock.now()) + seconds)
        group = await self._store(session, info, entries, 0)
        self._remember(session, info)
        return group

    async def find(self, session: str) -> SessionInfo:
        """As `SessionLog.find`."""
        info = self._known.get(session)
        if info is None:
            await self._ensure()
            found = await newest(
                self._connection, self._names.sessions_stream, self._names.session_log_subject(session)
            )
            if found is None:
                raise _not_found()
            info = info_of(found)
            self._remember(session, info)
        if not self._connection.clock.now() < info.expires:
            raise _not_found()
        return info

    async def append(self, session: str, entries: Sequence[Entry], after: int) -> Group:
        """As `SessionLog.append`."""
        return await self._store(session, await self.find(session), entries, after)

    async def read(self, session: str, after: int = 0) -> AsyncGenerator[Group, None]:
        """As `SessionLog.read`."""
        await self._ensure()
        count = 0
        stream, subject = self._names.sessions_stream, self._names.session_log_subject(session)
        async with aclosing(every(self._connection, stream, subject, after + 1)) as messages:
            async for message in messages:
                count += 1
                yield await self._group(message)
        if not count and (not after or await newest(self._connection, stream, subject) is None):
            raise _not_found()

    async def follow(self, session: str, after: int) -> AsyncGenerator[Group, None]:
        """As `SessionLog.follow`."""
        await self._ensure()
        while True:
            try:
                await self._connection.wait_connected()
                async with self._connection.subscribe(self._names.said_subject(session)) as announced:
                    await self._connection.api("INFO")  # answered once the subscription is established
                    async with aclosing(self._following(session, after, announced)) as groups:
                        async for group in groups:
                            after = group.sequence
                            yield group
            except BrokerUnavailableError:
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def load_snapshot(self, session: str) -> Snapshot | None:
        """As `SessionLog.load_snapshot`."""
        await self._ensure()
        return await self._snapshots.load(session)

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        """As `SessionLog.save_snapshot`."""
        await self._snapshots.save(session, await self.find(session), snapshot)

    async def take_lease(self, session: str, holder: str, seconds: int) -> bool:
        """As `SessionLog.take_lease`."""
        await self._ensure()
        return await self._snapshots.take_lease(session, holder, seconds)

    async def present(self, session: str, raw: bytes) -> None:
        """As `SessionLog.present`."""
        await self._connection.publish(self._names.here_subject(session), raw)

    async def hear_presence(self, session: str) -> AsyncGenerator[bytes, None]:
        """As `SessionLog.hear_presence`."""
        while True:
            try:
                await self._connection.wait_connected()
                async with self._connection.subscribe(self._names.here_subject(session)) as heard:
                    while True:
                        yield (await heard.next(None)).data
            except BrokerUnavailableError:
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _following(self, session: str, after: int, announced: Subscription) -> AsyncGenerator[Group, None]:
        """The groups after `after`: read from the stream first, and after each announcement that leaves a gap."""
        while True:
            async with aclosing(self.read(session, after)) as groups:
                async for group in groups:
                    after = group.sequence
                    yield group
            while (message := await self._announcement(announced)) is not None:
                if sequence_of(message) <= after:
                    continue
                if _sequence_before(message) != after:
                    break
                after = sequence_of(message)
                yield await self._group(message)

    async def _announcement(self, announced: Subscription) -> Message | None:
        """The next announcement; None if there was none for a while. Raises if the connection breaks."""
        try:
            return await announced.next(self._poll_seconds)
        except BrokerUnavailableError as error:
            if error.reason != NO_ANSWER:
                raise
            return None

    async def _store(self, session: str, info: SessionInfo, entries: Sequence[Entry], after: int) -> Group:
        stream, subject = self._names.sessions_stream, self._names.session_log_subject(session)

        async def send(payload: bytes, headers: Mapping[str, str]) -> int:
            return await store_after(self._connection, stream, subject, payload, after, headers)

        packed = pack_entries(entries)
        return Group(await self._payloads.store(info, packed, send), tuple(entries), len(packed))

    async def _group(self, message: Message) -> Group:
        packed = await self._payloads.load(message)
        return Group(sequence_of(message), unpack_entries(packed), len(packed))

    async def _ensure(self) -> None:
        if not self._ensured:
            await ensure_sessions(self._connection)
            self._ensured = True

    def _remember(self, session: str, info: SessionInfo) -> None:
        self._known[session] = info
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _sequence_before(message: Message) -> int:
    """The sequence of the group before an announced one (ADR-28)."""
    return int((message.headers or {}).get("Nats-Last-Sequence", "0"))


def _not_found() -> SessionNotFoundError:
    return SessionNotFoundError("There is no such session any more: it has expired, or it never existed")
