"""The streams that the plane keeps, and how the store is shared out among them.

`max_bytes` of a stream is *reserved* out of `max_file_store` (rulings.md 1), so the shares are fixed: the state
buckets get a little, bodies get what is left of what the account may have, or no limit where the account has none.
"""

from __future__ import annotations

from typing import Any

from broker_plane.errors import StorageError
from broker_plane.storage.connection import Connection
from broker_plane.wire.names import bucket_of, object_stream

GRANTS = "bp_grants"
KEYS = "bp_keys"
_STATE_BYTES = 64 << 20
_SPARE_BYTES = 256 << 20
"""Left for streams of later versions and of other programs in the account."""


async def ensure_state(connection: Connection, replicas: int) -> None:
    """The key-value buckets exist (ADR-8)."""
    for bucket in (GRANTS, KEYS):
        await _ensure(connection, _kv(bucket, replicas))


async def ensure_bodies(connection: Connection, owner: str, replicas: int) -> None:
    """The bucket of `owner` exists (ADR-20), as large as the account's store leaves room for."""
    if await _exists(connection, object_stream(owner)):
        return
    config = _objects(owner, replicas, await _room(connection))
    await _ensure(connection, config)


def _objects(owner: str, replicas: int, max_bytes: int) -> dict[str, Any]:
    bucket = bucket_of(owner)
    return _stream(object_stream(owner), [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"], replicas, max_bytes)


def _kv(bucket: str, replicas: int) -> dict[str, Any]:
    config = _stream(f"KV_{bucket}", [f"$KV.{bucket}.>"], replicas, _STATE_BYTES)
    return config | {"max_msgs_per_subject": 1, "deny_delete": True}


def _stream(name: str, subjects: list[str], replicas: int, max_bytes: int) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_bytes": max_bytes,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_age": 0,
        "num_replicas": replicas,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
    }


async def _ensure(connection: Connection, config: dict[str, Any]) -> None:
    if await _exists(connection, config["name"]):
        return
    try:
        await connection.api(f"STREAM.CREATE.{config['name']}", config)
    except StorageError:
        # Another process may have made it in between, with other limits.
        if not await _exists(connection, config["name"]):
            raise


async def _exists(connection: Connection, stream: str) -> bool:
    try:
        await connection.api(f"STREAM.INFO.{stream}")
    except StorageError as error:
        if "10059" in error.reason:
            return False
        raise
    return True


async def _room(connection: Connection) -> int:
    """Bytes that bodies may take, or -1 without a limit."""
    account = await connection.api("INFO")
    limit: int = account.get("limits", {}).get("max_storage", -1)
    if limit <= 0:
        return -1
    reserved: int = account.get("reserved_storage", 0)
    return max(_STATE_BYTES, limit - reserved - _SPARE_BYTES)
