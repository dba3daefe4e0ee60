"""The garbage collector's view of the owners' buckets: chunks without a meta."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, newest
from broker_plane.errors import ConflictError, WireError
from broker_plane.storage.meta import chunked_of
from broker_plane.wire.names import BodyId, parse_body_id

_BARRED = "24h"
"""For chunks without a time to live, which other programs may write."""


class NatsOrphans:
    """The Swept port."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = connection.names

    async def owners(self) -> list[str]:
        found: list[str] = []
        while True:
            page = await self._connection.api("STREAM.NAMES", {"subject": "$O.>", "offset": len(found)})
            names: list[str] = page.get("streams") or []
            found += names
            if not names or len(found) >= page["total"]:
                return [owner for name in found if (owner := self._names.owner_of(name)) is not None]

    async def chunked(self, owner: str) -> set[BodyId]:
        prefix = self._names.chunk_subjects(owner).removesuffix(">")
        found: set[BodyId] = set()
        offset = 0
        while True:
            asked = {"subjects_filter": f"{prefix}>", "offset": offset}
            info: dict[str, Any] = await self._connection.api(f"STREAM.INFO.{self._names.object_stream(owner)}", asked)
            subjects = info["state"].get("subjects") or {}
            found |= {body_id for name in subjects if (body_id := _body(name.removeprefix(prefix)))}
            offset += len(subjects)
            if not subjects or offset >= info.get("total", 0):
                return found

    async def committed(self, owner: str) -> set[BodyId]:
        # By the contents of the meta, not its subject: other programs' objects have other names than their chunks.
        found: set[BodyId] = set()
        async for message in every(
            self._connection,
            self._names.object_stream(owner),
            self._names.meta_subjects(owner),
        ):
            if body_id := chunked_of(message.data):
                found.add(body_id)
        return found

    async def now(self, owner: str) -> float:
        # The stream's leader, which stamps chunks, also answers this.
        info = await self._connection.retrying_api(f"STREAM.INFO.{self._names.object_stream(owner)}")
        return datetime.fromisoformat(info["ts"]).timestamp()

    async def newest(self, owner: str, body_id: BodyId) -> tuple[float, int] | None:
        answer = await newest(
            self._connection,
            self._names.object_stream(owner),
            self._names.chunk_subject(owner, body_id),
        )
        if answer is None:
            return None
        came = (answer.headers or {})["Nats-Time-Stamp"]
        return datetime.fromisoformat(came).timestamp(), sequence_of(answer)

    async def bar(self, owner: str, body_id: BodyId) -> bool:
        stream, subject = (
            self._names.object_stream(owner),
            self._names.meta_subject(owner, body_id),
        )
        try:
            await store_after(self._connection, stream, subject, b"", 0, {"Nats-TTL": await self._life(owner, body_id)})
        except ConflictError:
            there = await newest(self._connection, stream, subject)
            return there is None or not there.data  # an earlier sweep has barred it
        return True

    async def _life(self, owner: str, body_id: BodyId) -> str:
        """The time to live of its newest chunk: its writer gives up before that."""
        chunk = await newest(
            self._connection,
            self._names.object_stream(owner),
            self._names.chunk_subject(owner, body_id),
        )
        return (chunk.headers if chunk and chunk.headers else {}).get("Nats-TTL", _BARRED)

    async def free(self, owner: str, body_id: BodyId, up_to: int) -> None:
        filtered = {"filter": self._names.chunk_subject(owner, body_id), "seq": up_to + 1}
        await self._connection.api(f"STREAM.PURGE.{self._names.object_stream(owner)}", filtered)


def _body(token: str) -> BodyId | None:
    """The body's id; None for an object that another program has put into the bucket under a name of its own."""
    try:
        return parse_body_id(token)
    except WireError:
        return None
