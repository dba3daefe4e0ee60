"""State in a key-value bucket, changed by compare-and-set on the subject's last sequence (ADR-8)."""

from __future__ import annotations

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import newest


class NatsGrantStates:
    """The GrantStates port, and the port of other entries. A revision is the entry's stream sequence; 0 is none."""

    def __init__(self, connection: Connection, bucket: str = names.grants_bucket) -> None:
        self._connection = connection
        self._subject = f"$KV.{bucket}."
        self._stream = f"KV_{bucket}"

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        entry = await newest(self._connection, self._stream, self._subject + grant_id)
        if entry is None:
            return None, 0
        # A marker of a deleted entry has no data; its sequence still is the one to expect.
        return entry.data or None, sequence_of(entry)

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int) -> int:
        ttl = {"Nats-TTL": f"{ttl_seconds}s"}
        return await store_after(self._connection, self._stream, self._subject + grant_id, entry, revision, ttl)
