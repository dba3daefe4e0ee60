"""Finds out why the store accepts no new data: limits that are reached, and streams whose disk refused a write.

Nothing is written to find out. A stream that failed to write also refuses to purge until nats-server is restarted; so
each is asked to purge a subject that never has messages.
"""

from __future__ import annotations

from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import storage_error
from broker_plane.plane.ports import Trouble
from broker_plane.storage.putting import ONE_MESSAGE_BYTES
from broker_plane.wire.names import BodyId
from broker_plane.wire.plane_names import Names, kv_stream, kv_subject

_NO_BODY = BodyId("-")
_MAX_PROBED = 32
"""Streams that are probed at once; the disk is the same for all of them."""

_FULL = "The store is full: delete bodies, wait for some to expire, or enlarge it (BROKER_PLANE_MAX_STORE_BYTES)"

Streams = list[dict[str, Any]]


async def why_full(connection: Connection, account: dict[str, Any], streams: Streams) -> list[Trouble]:
    """What is full: the account, its `streams` with bodies, or the disk."""
    reached = _reached(connection.names, account, streams, connection.store_bytes)
    return [*await _refusing(connection, streams), *reached]


async def _refusing(connection: Connection, streams: Streams) -> list[Trouble]:
    names = connection.names
    probes = {kv_stream(names.grants_bucket): kv_subject(names.grants_bucket, "-")}
    for stream in streams[:_MAX_PROBED]:
        owner = names.owner_of(stream["config"]["name"])
        if owner is not None:
            probes[names.object_stream(owner)] = names.chunk_subject(owner, _NO_BODY)
    answers = [
        await connection.send(f"{connection.js_api}.STREAM.PURGE.{stream}", orjson.dumps({"filter": subject}))
        for stream, subject in probes.items()
    ]
    for answer in answers:
        error = orjson.loads((await connection.answer(answer)).data).get("error")
        if error is not None:
            refusal = storage_error(error)
            if refusal.code in ("disk_full", "store_full"):
                return [Trouble("disk_full", f"{refusal} ({refusal.reason})", stops=True)]
    return []


def _reached(names: Names, account: dict[str, Any], streams: Streams, store_bytes: int) -> list[Trouble]:
    full = [stream["config"]["name"] for stream in streams if _is_full(stream)]
    if streams and (len(full) == len(streams) or _has_no_room(account, streams, store_bytes)):
        return [Trouble("store_full", _FULL, stops=True)]
    # One owner that has filled its bucket must not make the bridge unavailable for all others.
    owners = ", ".join(names.owner_of(name) or name for name in full[:5])
    return [Trouble("bucket_full", f"{len(full)} buckets have no room left: {owners}", stops=False)] if full else []


def _is_full(stream: dict[str, Any]) -> bool:
    limit: int = stream["config"]["max_bytes"]
    return limit > 0 and stream["state"]["bytes"] > limit - _min_room(limit)


def _has_no_room(account: dict[str, Any], streams: Streams, store_bytes: int) -> bool:
    """Whether the store as a whole is full. Reserved space counts, whether it is used or not."""
    limit: int = (account.get("limits") or {}).get("max_storage", -1)
    size = limit if limit > 0 else store_bytes
    unreserved = sum(stream["state"]["bytes"] for stream in streams if stream["config"]["max_bytes"] <= 0)
    return size > 0 and unreserved + account.get("reserved_storage", 0) > size - _min_room(size)


def _min_room(limit: int) -> int:
    """Room that must be left: for one message, or less in a small store."""
    return min(ONE_MESSAGE_BYTES, limit // 16)
