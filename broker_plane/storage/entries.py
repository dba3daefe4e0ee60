"""Entries of a key-value bucket, changed by compare-and-set on the subject's last sequence (ADR-8)."""

from __future__ import annotations

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import newest
from broker_plane.wire.plane_names import kv_stream, kv_subject


class NatsEntryStore:
    """The EntryStore port. A revision is the entry's stream sequence; 0 means that there is no entry."""

    def __init__(self, connection: Connection, bucket: str = "") -> None:
        """`bucket` is by default the one of grants."""
        bucket = bucket or connection.names.grants_bucket
        self._connection = connection
        self._subject = kv_subject(bucket, "")
        self._stream = kv_stream(bucket)

    async def load(self, key: str) -> tuple[bytes | None, int]:
        entry = await newest(self._connection, self._stream, self._subject + key)
        if entry is None:
            return None, 0
        # The marker of a deleted entry has no data, and its sequence is still the revision to expect.
        return entry.data or None, sequence_of(entry)

    async def save(self, key: str, entry: bytes, revision: int, ttl_seconds: int, *, passing: bool = False) -> int:
        ttl = {"Nats-TTL": f"{ttl_seconds}s"}
        return await store_after(self._connection, self._stream, self._subject + key, entry, revision, ttl)
