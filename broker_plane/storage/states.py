"""State in a key-value bucket, changed by compare-and-set on the subject's last sequence (ADR-8)."""

from __future__ import annotations

from broker_plane.storage.connection import Connection
from broker_plane.storage.streams import GRANTS


class NatsGrantStates:
    """The GrantStates port, and the port of other entries. A revision is the entry's stream sequence; 0 is none."""

    def __init__(self, connection: Connection, bucket: str = GRANTS) -> None:
        self._connection = connection
        self._subject = f"$KV.{bucket}."
        self._direct_get = f"$JS.API.DIRECT.GET.KV_{bucket}.{self._subject}"

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        answer = await self._connection.request(self._direct_get + grant_id)
        headers = answer.headers or {}
        if headers.get("Status"):
            return None, 0
        revision = int(headers["Nats-Sequence"])
        # A marker of a deleted entry has no data; its sequence still is the one to expect.
        return answer.data or None, revision

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int) -> int:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision), "Nats-TTL": f"{ttl_seconds}s"}
        return await self._connection.store(self._subject + grant_id, entry, headers)
