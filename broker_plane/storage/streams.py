"""The streams that the plane keeps, and how the store is shared out among them.

`max_bytes` of a stream is *reserved* out of `max_file_store` (rulings.md 1), so the shares are fixed: the state
buckets get a little, bodies get what is left of what the account may have, or no limit where the account has none.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from broker_plane.errors import StorageError
from broker_plane.storage.connection import Connection
from broker_plane.wire.durables import FEEDS
from broker_plane.wire.feeds import AGAIN_SUBJECT, FEED_SUBJECT, NEW_SUBJECT
from broker_plane.wire.names import bucket_of, object_stream

GRANTS = "bp_grants"
KEYS = "bp_keys"
AUDIT = "BP_AUDIT"
AUDIT_SUBJECT = "bp.audit."
FEED_STATE = "bp_feeds"
"""Key-value bucket: what `notice.once` wrote, and where durables are."""

DEAD = "BP_DEAD"
DEAD_SUBJECT = "bp.dead."
_STATE_BYTES = 64 << 20
_KEYS_ENTRY_BYTES = 4096
HOOKS = "BP_HOOKS"
HOOK_SUBJECT = "bp.hook."
"""The delivery log of webhooks, by endpoint."""

_HOOKS_BYTES = 16 << 20
_HOOKS_DAYS = 7
_DEAD_BYTES = 32 << 20
_DEAD_DAYS = 30
_SPARE_BYTES = 256 << 20
"""Left for streams of later versions and of other programs in the account."""


async def ensure_state(connection: Connection, replicas: int) -> None:
    """The key-value buckets exist (ADR-8)."""
    for bucket in (GRANTS, KEYS):
        await _ensure(connection, _kv(bucket, replicas))


async def ensure_audit(connection: Connection, replicas: int, max_bytes: int, max_age_days: int) -> None:
    """The stream of the audit exists, made for `max_bytes`; the oldest entries make room for new ones."""
    config = stream_config(AUDIT, [f"{AUDIT_SUBJECT}>"], replicas, max_bytes)
    ages = {"max_age": max_age_days * 86_400 * 10**9, "discard": "old", "deny_delete": True, "deny_purge": True}
    await _ensure(connection, config | ages | {"allow_rollup_hdrs": False})


async def ensure_feeds(connection: Connection, replicas: int) -> None:
    """The streams of feeds exist: notices, dead letters, and the bucket of subscribers' state. They lie in the spare.

    Notices have no age: which of them go is decided feed by feed, and each takes its bodies with it.
    """
    feeds = stream_config(FEEDS, [f"{FEED_SUBJECT}>", f"{AGAIN_SUBJECT}>"], replicas, _STATE_BYTES)
    said = {"src": f"{FEED_SUBJECT}>", "dest": f"{NEW_SUBJECT}>", "headers_only": True}
    await _ensure(connection, feeds | {"allow_rollup_hdrs": False, "deny_purge": True, "republish": said})
    dead = stream_config(DEAD, [f"{DEAD_SUBJECT}>"], replicas, _DEAD_BYTES)
    await _ensure(connection, dead | {"allow_rollup_hdrs": False, "max_age": _DEAD_DAYS * 86_400 * 10**9})
    await _ensure(connection, _kv(FEED_STATE, replicas))
    hooks = stream_config(HOOKS, [f"{HOOK_SUBJECT}*"], replicas, _HOOKS_BYTES)
    aged = {"allow_rollup_hdrs": False, "discard": "old", "max_age": _HOOKS_DAYS * 86_400 * 10**9}
    await _ensure(connection, hooks | aged)


async def has_feeds(connection: Connection) -> bool:
    """Whether somebody had a feed already."""
    return await _config_of(connection, FEEDS) is not None


async def ensure_bodies(connection: Connection, owner: str, replicas: int, max_bytes: int = 0) -> None:
    """The bucket of `owner` exists (ADR-20), made for `max_bytes`, or all that the account's store leaves room for."""
    if await _config_of(connection, object_stream(owner)) is None:
        await _ensure(connection, _objects(owner, replicas, max_bytes or await _room(connection)))


def _objects(owner: str, replicas: int, max_bytes: int) -> dict[str, Any]:
    bucket = bucket_of(owner)
    return stream_config(object_stream(owner), [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"], replicas, max_bytes)


def _kv(bucket: str, replicas: int) -> dict[str, Any]:
    config = stream_config(f"KV_{bucket}", [f"$KV.{bucket}.>"], replicas, _STATE_BYTES)
    # Resource servers write into `bp_keys`: a roll-up of all subjects would take the others' keys away, and a large
    # entry their room. ADR-8 has roll-ups for purging a key, which nobody here does.
    most = _KEYS_ENTRY_BYTES if bucket == KEYS else -1
    return config | {
        "max_msgs_per_subject": 1,
        "deny_delete": True,
        "allow_rollup_hdrs": False,
        "max_msg_size": most,
    }


def stream_config(name: str, subjects: list[str], replicas: int, max_bytes: int) -> dict[str, Any]:
    """A stream that keeps what it acknowledged, and refuses what is beyond its limits."""
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
    await connection.repeat(partial(_ensure_once, connection, config))


async def _ensure_once(connection: Connection, config: dict[str, Any]) -> None:
    made = await _config_of(connection, config["name"])
    if made is None:
        try:
            await connection.api(f"STREAM.CREATE.{config['name']}", config)
        except StorageError:
            # Another process may have made it in between, with other limits.
            if await _config_of(connection, config["name"]) is None:
                raise
    elif made["allow_rollup_hdrs"] and not config["allow_rollup_hdrs"]:  # made by a version before accounts
        now = {"allow_rollup_hdrs": False, "max_msg_size": config.get("max_msg_size", -1)}
        await connection.api(f"STREAM.UPDATE.{config['name']}", made | now)


async def _config_of(connection: Connection, stream: str) -> dict[str, Any] | None:
    try:
        info = await connection.asked(f"STREAM.INFO.{stream}")
    except StorageError as error:
        if "10059" in error.reason:
            return None
        raise
    config: dict[str, Any] = info["config"]
    return config


async def _room(connection: Connection) -> int:
    """Bytes that bodies may take, or -1 without a limit."""
    account = await connection.asked("INFO")
    limit: int = account.get("limits", {}).get("max_storage", -1)
    if limit <= 0:
        return -1
    reserved: int = account.get("reserved_storage", 0)
    return max(_STATE_BYTES, limit - reserved - _SPARE_BYTES)


async def purge(connection: Connection, owner: str, subject: str) -> None:
    """Nothing is left on `subject` in the owner's bucket."""
    await connection.asked(f"STREAM.PURGE.{object_stream(owner)}", {"filter": subject})
