"""Grant state in the key-value bucket `bp_grants`, by compare-and-set on the subject's last sequence (ADR-8)."""

from __future__ import annotations

from broker_plane.storage.connection import Connection
from broker_plane.storage.streams import GRANTS

_SUBJECT = f"$KV.{GRANTS}."
_DIRECT_GET = f"$JS.API.DIRECT.GET.KV_{GRANTS}.{_SUBJECT}"


class NatsGrantStates:
    """The GrantStates port. A revision is the entry's stream sequence; 0 is none."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        answer = await self._connection.request(_DIRECT_GET + grant_id)
        headers = answer.headers or {}
        if headers.get("Status"):
            return None, 0
        revision = int(headers["Nats-Sequence"])
        # A marker of a deleted entry has no data; its sequence still is the one to expect.
        return answer.data or None, revision

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int) -> int:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision), "Nats-TTL": f"{ttl_seconds}s"}
        return await self._connection.store(_SUBJECT + grant_id, entry, headers)
