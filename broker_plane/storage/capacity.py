"""What keeps the store from taking new data: limits that are reached, and streams whose disk refused a write.

Nothing is written to find out. A stream that could not write refuses to purge as well, until nats-server is restarted;
so it is asked to purge a subject on which there never is anything.
"""

from __future__ import annotations

from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import storage_error
from broker_plane.plane.ports import Trouble
from broker_plane.storage.layout import GRANTS
from broker_plane.storage.putting import ONE_MESSAGE_BYTES
from broker_plane.wire.names import BodyId, chunk_subject, object_stream

_NOBODY = BodyId("-")
_MOST_ASKED = 32
"""Streams, by one look; a disk is the same for all of them."""

_FULL = "The store is full: delete bodies, wait for some to expire, or enlarge it (BROKER_PLANE_MAX_STORE_BYTES)"

Streams = list[dict[str, Any]]


async def why_full(connection: Connection, account: dict[str, Any], streams: Streams) -> list[Trouble]:
    """What is full, of the account and of its `streams` with bodies."""
    return [*await _refusing(connection, streams), *_reached(account, streams, connection.store_bytes)]


async def _refusing(connection: Connection, streams: Streams) -> list[Trouble]:
    owners = [stream["config"]["name"].removeprefix(object_stream("")) for stream in streams[:_MOST_ASKED]]
    nothing = {f"KV_{GRANTS}": f"$KV.{GRANTS}.-"} | {
        object_stream(owner): chunk_subject(owner, _NOBODY) for owner in owners
    }
    asked = [
        await connection.send(f"{connection.js_api}.STREAM.PURGE.{stream}", orjson.dumps({"filter": subject}))
        for stream, subject in nothing.items()
    ]
    for each in asked:
        error = orjson.loads((await connection.answer(each)).data).get("error")
        if error is not None:
            refusal = storage_error(error)
            if refusal.code in ("disk_full", "store_full"):
                return [Trouble("disk_full", f"{refusal} ({refusal.reason})", stops=True)]
    return []


def _reached(account: dict[str, Any], streams: Streams, store_bytes: int) -> list[Trouble]:
    full = [stream["config"]["name"] for stream in streams if _is_full(stream)]
    if streams and (len(full) == len(streams) or _no_room(account, streams, store_bytes)):
        return [Trouble("store_full", _FULL, stops=True)]
    # One owner that filled its bucket is no reason to take the bridge away from all others.
    owners = ", ".join(name.removeprefix(object_stream("")) for name in full[:5])
    return [Trouble("bucket_full", f"{len(full)} buckets have no room left: {owners}", stops=False)] if full else []


def _is_full(stream: dict[str, Any]) -> bool:
    most: int = stream["config"]["max_bytes"]
    return most > 0 and stream["state"]["bytes"] > most - _room_wanted(most)


def _no_room(account: dict[str, Any], streams: Streams, store_bytes: int) -> bool:
    """Whether the store as a whole is full. What streams reserve is taken, whether they use it or not."""
    limit: int = (account.get("limits") or {}).get("max_storage", -1)
    most = limit if limit > 0 else store_bytes
    free = sum(stream["state"]["bytes"] for stream in streams if stream["config"]["max_bytes"] <= 0)
    return most > 0 and free + account.get("reserved_storage", 0) > most - _room_wanted(most)


def _room_wanted(most: int) -> int:
    """That of one message; less of a small store."""
    return min(ONE_MESSAGE_BYTES, most // 16)
