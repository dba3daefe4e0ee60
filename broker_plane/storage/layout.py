"""The streams that the plane keeps, and how the store is shared out among them.

`max_bytes` of a stream is *reserved* out of `max_file_store` (rulings.md 1), so the shares are fixed when a stream is
made: on a small store a fraction of it, so that most is left for bodies. These get what is left of what the account may
have, or no limit where the account has none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.errors import StorageError, StoreFullError
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.wire.durables import FEEDS
from broker_plane.wire.feeds import AGAIN_SUBJECT, FEED_SUBJECT, NEW_SUBJECT
from broker_plane.wire.names import bucket_of, object_stream

log = quiet_logger(__name__)
GRANTS = "bp_grants"
KEYS = "bp_keys"
AUDIT = "BP_AUDIT"
AUDIT_SUBJECT = "bp.audit."
FEED_STATE = "bp_feeds"
"""Key-value bucket: what `notice.once` wrote, and where durables are."""

DEAD = "BP_DEAD"
DEAD_SUBJECT = "bp.dead."
_KEYS_ENTRY_BYTES = 4096
HOOKS = "BP_HOOKS"
HOOK_SUBJECT = "bp.hook."
"""The delivery log of webhooks, by endpoint."""

_HOOKS_DAYS = 7
_DEAD_DAYS = 30
COPIES = {GRANTS: "BP_GRANTS_COPY", KEYS: "BP_KEYS_COPY"}
"""The buckets that must not forget, and the stream with the copy of each (storage/copies.py)."""

COPY_SUBJECT = "bp.copy."


@dataclass(frozen=True, slots=True)
class Share:
    """Of a store: `most` bytes, and of a small one the given part."""

    most: int
    part: int

    def of(self, limit: int) -> int:
        """In a store of `limit` bytes; -1 is a store without a known one."""
        return self.most if limit <= 0 else max(_LEAST_BYTES, min(self.most, limit // self.part))


_LEAST_BYTES = 1 << 20
_STATE = Share(64 << 20, 16)
_RINGS = Share(64 << 20, 64)
_AUDIT_PART = 16
_FEED_STATE = Share(64 << 20, 32)
_HOOKS = Share(16 << 20, 64)
_DEAD = Share(32 << 20, 64)
_SPARE = Share(256 << 20, 8)
"""Left for streams of later versions and of other programs in the account."""


async def ensure_state(connection: Connection, replicas: int) -> None:
    """The key-value buckets (ADR-8) and their copies exist."""
    await asyncio.gather(*(_ensure(connection, kv_config(bucket, replicas), _kv_share(bucket)) for bucket in COPIES))
    await asyncio.gather(*(ensure_copy(connection, bucket, replicas) for bucket in COPIES))


async def ensure_copy(connection: Connection, bucket: str, replicas: int) -> bool:
    """The stream with the copy of a state bucket exists.

    False where the account has no room for it: an older version may have given all of it to bodies.
    """
    config = stream_config(COPIES[bucket], [f"{COPY_SUBJECT}{bucket}.>"], replicas)
    # It takes what the bucket took.
    config |= {"max_msgs_per_subject": 1, "deny_delete": True, "allow_rollup_hdrs": False, "discard": "old"}
    share = _kv_share(bucket)
    for smaller in (1, 8, 64):
        try:
            await _ensure(connection, config, Share(share.most // smaller, share.part * smaller))
            return True
        except StoreFullError:
            continue
    log.warning("no room for a copy of %s: enlarge the account's store, and damage to it can be mended", bucket)
    return False


def _kv_share(bucket: str) -> Share:
    return {KEYS: _RINGS, FEED_STATE: _FEED_STATE}.get(bucket, _STATE)


async def ensure_audit(connection: Connection, replicas: int, max_bytes: int, max_age_days: int) -> None:
    """The stream of the audit exists, made for `max_bytes`; the oldest entries make room for new ones."""
    config = stream_config(AUDIT, [f"{AUDIT_SUBJECT}>"], replicas)
    ages = {"max_age": max_age_days * 86_400 * 10**9, "discard": "old", "deny_delete": True, "deny_purge": True}
    await _ensure(connection, config | ages | {"allow_rollup_hdrs": False}, Share(max_bytes, _AUDIT_PART))


async def ensure_feeds(connection: Connection, replicas: int) -> None:
    """The streams of feeds exist: notices, dead letters, and the bucket of subscribers' state. They lie in the spare.

    Notices have no age: which of them go is decided feed by feed, and each takes its bodies with it.
    """
    feeds = stream_config(FEEDS, [f"{FEED_SUBJECT}>", f"{AGAIN_SUBJECT}>"], replicas)
    said = {"src": f"{FEED_SUBJECT}>", "dest": f"{NEW_SUBJECT}>", "headers_only": True}
    await _ensure(connection, feeds | {"allow_rollup_hdrs": False, "deny_purge": True, "republish": said}, _STATE)
    dead = stream_config(DEAD, [f"{DEAD_SUBJECT}>"], replicas)
    await _ensure(connection, dead | {"allow_rollup_hdrs": False, "max_age": _DEAD_DAYS * 86_400 * 10**9}, _DEAD)
    await _ensure(connection, kv_config(FEED_STATE, replicas), _FEED_STATE)
    hooks = stream_config(HOOKS, [f"{HOOK_SUBJECT}*"], replicas)
    aged = {"allow_rollup_hdrs": False, "discard": "old", "max_age": _HOOKS_DAYS * 86_400 * 10**9}
    await _ensure(connection, hooks | aged, _HOOKS)


async def has_feeds(connection: Connection) -> bool:
    """Whether somebody had a feed already."""
    return await _config_of(connection, FEEDS) is not None


async def ensure_bodies(connection: Connection, owner: str, replicas: int, max_bytes: int = 0) -> None:
    """The bucket of `owner` exists (ADR-20), made for `max_bytes`, or all that the account's store leaves room for."""
    if await _config_of(connection, object_stream(owner)) is None:
        await _ensure(connection, _objects(owner, replicas) | {"max_bytes": max_bytes or await _room(connection)})


def _objects(owner: str, replicas: int) -> dict[str, Any]:
    bucket = bucket_of(owner)
    return stream_config(object_stream(owner), [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"], replicas)


def kv_config(bucket: str, replicas: int) -> dict[str, Any]:
    """A bucket whose entries are replaced and end, and are never deleted."""
    config = stream_config(f"KV_{bucket}", [f"$KV.{bucket}.>"], replicas)
    # Resource servers write into `bp_keys`: a roll-up of all subjects would take the others' keys away, and a large
    # entry their room. ADR-8 has roll-ups for purging a key, which nobody here does.
    most = _KEYS_ENTRY_BYTES if bucket == KEYS else -1
    return config | {
        "max_msgs_per_subject": 1,
        "deny_delete": True,
        "allow_rollup_hdrs": False,
        "max_msg_size": most,
    }


def stream_config(name: str, subjects: list[str], replicas: int, max_bytes: int = -1) -> dict[str, Any]:
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


async def _ensure(connection: Connection, config: dict[str, Any], share: Share | None = None) -> None:
    """A stream of this configuration exists. Where it is made, it is for its `share` of the store."""
    await connection.repeat(partial(_ensure_once, connection, config, share))


async def _ensure_once(connection: Connection, config: dict[str, Any], share: Share | None) -> None:
    made = await _config_of(connection, config["name"])
    if made is None:
        if share is not None:
            config = config | {"max_bytes": share.of(_limit(connection, await connection.asked("INFO")))}
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
    # In a store that is ours alone bodies of several owners share what is left.
    limit = _account_limit(account)
    if limit <= 0:
        return -1
    reserved: int = account.get("reserved_storage", 0)
    return max(_STATE.of(limit), limit - reserved - _SPARE.of(limit))


def _limit(connection: Connection, account: dict[str, Any]) -> int:
    """Bytes of the store, as far as they are known."""
    return _account_limit(account) if _account_limit(account) > 0 else connection.store_bytes


def _account_limit(account: dict[str, Any]) -> int:
    limit: int = account.get("limits", {}).get("max_storage", -1)
    return limit


async def purge(connection: Connection, owner: str, subject: str) -> None:
    """Nothing is left on `subject` in the owner's bucket."""
    await connection.asked(f"STREAM.PURGE.{object_stream(owner)}", {"filter": subject})
