"""Snapshots of sessions, and the lease of the bridge that writes them: one message each, replaced by a roll-up."""

from __future__ import annotations

from collections.abc import Mapping

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import newest
from broker_plane.broker.messages import Message
from broker_plane.errors import BodyLostError, BodyNotFoundError, ConflictError, WireError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.sessions.ports import SessionInfo, Snapshot
from broker_plane.storage.session_payloads import SessionPayloads, body_of, info_of

log = redacted_logger(__name__)

_REPLACES = {"Nats-Rollup": "sub"}
_REVISION = "Bp-Revision"
_SEQUENCE = "Bp-Sequence"
_DIGITS = 18


class SessionSnapshots:
    """Snapshots and leases in the stream of sessions."""

    def __init__(self, connection: Connection, payloads: SessionPayloads) -> None:
        self._connection = connection
        self._names = connection.names
        self._payloads = payloads

    async def load(self, session: str) -> Snapshot | None:
        """As `SessionLog.load_snapshot`."""
        found = await self._newest(self._names.session_snapshot_subject(session))
        if found is None:
            return None
        try:
            info_of(found)
            raw = await self._payloads.load(found)
            return Snapshot(_number(found, _REVISION), _number(found, _SEQUENCE), raw)
        except (BodyNotFoundError, BodyLostError, WireError) as error:
            log.warning("A snapshot of a session is damaged (%s); its log is read from the start", error.brief)
            return None

    async def save(self, session: str, info: SessionInfo, snapshot: Snapshot) -> None:
        """As `SessionLog.save_snapshot`; the body of the earlier snapshot is deleted."""
        subject = self._names.session_snapshot_subject(session)
        before = await self._newest(subject)
        if before is not None and _number(before, _REVISION) >= snapshot.revision:
            return
        after = sequence_of(before) if before is not None else 0
        own = _REPLACES | {_REVISION: str(snapshot.revision), _SEQUENCE: str(snapshot.sequence)}

        async def send(payload: bytes, headers: Mapping[str, str]) -> int:
            return await self._store(subject, payload, after, {**headers, **own})

        try:
            await self._payloads.store(info, snapshot.raw, send)
        except ConflictError:  # another bridge has stored one meanwhile
            return
        if before is not None and (body := body_of(before)) is not None:
            await self._payloads.drop(info, body)

    async def take_lease(self, session: str, holder: str, seconds: int) -> bool:
        """As `SessionLog.take_lease`."""
        subject = self._names.session_lease_subject(session)
        before = await self._newest(subject)
        if before is not None and before.data != holder.encode():
            return False
        after = sequence_of(before) if before is not None else 0
        try:
            await self._store(subject, holder.encode(), after, _REPLACES | {"Nats-TTL": f"{seconds}s"})
        except ConflictError:
            return False
        return True

    async def _newest(self, subject: str) -> Message | None:
        return await newest(self._connection, self._names.sessions_stream, subject)

    async def _store(self, subject: str, payload: bytes, after: int, headers: Mapping[str, str]) -> int:
        return await store_after(self._connection, self._names.sessions_stream, subject, payload, after, headers)


def _number(message: Message, header: str) -> int:
    text = (message.headers or {}).get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) < _DIGITS):
        raise WireError("A snapshot of this session was not written by broker-plane")
    return int(text)
