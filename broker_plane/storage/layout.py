"""The streams that the plane keeps: their limits, their replicas, and how the store is divided among them.

wire/plane_names.py has their names. nats-server *reserves* the `max_bytes` of a stream out of `max_file_store`, so the
shares are fixed when a stream is created: a small store gives a fraction of itself, and most is left for bodies. Bodies
get the rest of what the account may have, or no limit if the account has none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.errors import StorageError, StoreFullError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.plane_names import Names, kv_stream, kv_subject

log = redacted_logger(__name__)

_DAY = 86_400 * 10**9
"""In nanoseconds."""

_WEBHOOK_LOG_DAYS = 7
_DEAD_LETTER_DAYS = 30
_MCP_REQUEST_HOURS = 25
"""The latest deadline of a request is after 24 hours, and it is kept for 10 minutes more."""

_KEYS_ENTRY_BYTES = 4096
_STREAM_NOT_FOUND = "10059"


@dataclass(frozen=True, slots=True)
class Share:
    """A share of a store: `max_bytes`, or of a small store one `part`-th."""

    max_bytes: int
    part: int

    def of(self, limit: int) -> int:
        """The share of a store of `limit` bytes; -1 if its size is unknown."""
        return self.max_bytes if limit <= 0 else max(_MIN_BYTES, min(self.max_bytes, limit // self.part))


_MIN_BYTES = 1 << 20
_GRANTS = Share(64 << 20, 16)
_KEYS = Share(64 << 20, 64)
_NOTICES = Share(64 << 20, 16)
_FEED_STATE = Share(64 << 20, 32)
_DEAD_LETTERS = Share(32 << 20, 64)
_WEBHOOK_LOG = Share(16 << 20, 64)
_AUDIT_PART = 16
_BUCKET = Share(64 << 20, 64)
_SESSIONS = Share(256 << 20, 8)
_TASKS = Share(256 << 20, 16)
_TASK_WORK = Share(64 << 20, 32)
_MCP_REQUESTS = Share(128 << 20, 16)
_MCP_SAID = Share(128 << 20, 16)
_BODIES_MIN = Share(64 << 20, 16)
_SPARE = Share(1 << 30, 4)
"""Left for streams of later versions and of other programs in the account."""


async def ensure_state(connection: Connection) -> None:
    """Create the key-value buckets of grants and keys (ADR-8) and their copies."""
    buckets = connection.names.copied_buckets
    await asyncio.gather(
        *(_ensure(connection, kv_config(connection, bucket), _kv_share(connection.names, bucket)) for bucket in buckets)
    )
    await asyncio.gather(*(ensure_copy(connection, bucket) for bucket in buckets))


async def ensure_copy(connection: Connection, bucket: str) -> bool:
    """Create the stream with the copy of a state bucket.

    Returns False if the account has no room for it: an older version may have given all of it to bodies.
    """
    names = connection.names
    config = stream_config(connection, names.copy_stream(bucket), [names.copy_subject(bucket, ">")])
    # It accepts what the bucket accepted.
    config |= {"max_msgs_per_subject": 1, "deny_delete": True, "allow_rollup_hdrs": False, "discard": "old"}
    share = _kv_share(names, bucket)
    for smaller in (1, 8, 64):
        try:
            await _ensure(connection, config, Share(share.max_bytes // smaller, share.part * smaller))
            return True
        except StoreFullError:
            continue
    log.warning("No room for a copy of %s: enlarge the account's store, so that damage to it can be repaired", bucket)
    return False


async def ensure_audit(connection: Connection, max_bytes: int, max_age_days: int) -> None:
    """Create the stream of the audit with `max_bytes`; the oldest entries make room for new ones."""
    names = connection.names
    config = stream_config(connection, names.audit_stream, [names.audit_subject(">")])
    limits = {"max_age": max_age_days * _DAY, "discard": "old", "deny_delete": True, "deny_purge": True}
    await _ensure(connection, config | limits | {"allow_rollup_hdrs": False}, Share(max_bytes, _AUDIT_PART))


async def ensure_feeds(connection: Connection) -> None:
    """Create the streams of feeds: notices, dead letters, subscribers' state and the webhook log, out of the spare.

    Notices have no age limit: retention removes them feed by feed, each with its bodies.
    """
    names = connection.names
    notices = stream_config(connection, names.feeds_stream, names.notice_subjects)
    republish = {"src": names.feed_subject(">"), "dest": names.new_subject(">"), "headers_only": True}
    await _ensure(
        connection, notices | {"allow_rollup_hdrs": False, "deny_purge": True, "republish": republish}, _NOTICES
    )
    dead = stream_config(connection, names.dead_letter_stream, [names.dead_letter_subjects])
    await _ensure(connection, dead | {"allow_rollup_hdrs": False, "max_age": _DEAD_LETTER_DAYS * _DAY}, _DEAD_LETTERS)
    await _ensure(connection, kv_config(connection, names.feed_state_bucket), _FEED_STATE)
    hooks = stream_config(connection, names.webhook_log_stream, [names.webhook_log_subject("*")])
    aged = {"allow_rollup_hdrs": False, "discard": "old", "max_age": _WEBHOOK_LOG_DAYS * _DAY}
    await _ensure(connection, hooks | aged, _WEBHOOK_LOG)


async def ensure_sessions(connection: Connection) -> None:
    """Create the stream of sessions: their logs, snapshots and leases, out of the spare.

    nats-server announces each group of a log, with its payload, after it has stored it (republish, ADR-28). Messages
    expire with their session. A roll-up replaces the snapshot of one session, and logs are never rolled up.
    """
    names = connection.names
    republish = {"src": names.session_log_subject("*"), "dest": names.said_subject("{{wildcard(1)}}")}
    config = stream_config(connection, names.sessions_stream, [names.session_subjects])
    await _ensure_smaller(connection, config | {"republish": republish}, _SESSIONS, (1, 8, 64))


async def ensure_exchanges(connection: Connection) -> None:
    """Create the streams of MCP exchanges out of the spare: durable requests, and the messages about them.

    Clients publish requests themselves, so a header of theirs must not remove what others have stored (no roll-ups).
    """
    names = connection.names
    # A client may leave out the TTL of a request, and ask a server that never runs.
    oldest = {"max_age": _MCP_REQUEST_HOURS * _DAY // 24}
    await ensure_work(connection, names.requests_stream, [names.request_subjects("*", "*")], _MCP_REQUESTS, oldest)
    await ensure_work(connection, names.said_stream, names.said_subjects, _MCP_SAID)


async def ensure_work(
    connection: Connection, stream: str, subjects: list[str], share: Share, limits: dict[str, int] | None = None
) -> None:
    """Create a stream of messages that are written once, and expire: by their TTL, or by the `limits` of the stream."""
    config = stream_config(connection, stream, subjects) | {"allow_rollup_hdrs": False} | (limits or {})
    await _ensure_smaller(connection, config, share, (1, 8, 64))


async def ensure_tasks(connection: Connection) -> None:
    """Create the bucket of durable tasks out of the spare; nats-server announces which record was stored (ADR-28)."""
    names = connection.names
    records = kv_subject(names.tasks_bucket, "h.*.*")
    republish = {
        "src": records,
        "dest": names.task_changed_subject("{{wildcard(1)}}", "{{wildcard(2)}}"),
        "headers_only": True,
    }
    config = kv_config(connection, names.tasks_bucket) | {"republish": republish}
    await _ensure_smaller(connection, config, _TASKS, (1, 8, 64))


async def has_tasks(connection: Connection) -> bool:
    """Whether there were tasks at any time."""
    return await _config_of(connection, kv_stream(connection.names.tasks_bucket)) is not None


async def ensure_task_work(connection: Connection) -> None:
    """Create the stream of the work of tasks out of the spare."""
    names = connection.names
    await ensure_work(connection, names.task_work_stream, [names.task_work_subject("*", "*", "*")], _TASK_WORK)


async def ensure_bucket(connection: Connection, bucket: str) -> None:
    """Create a key-value bucket (ADR-8) that has no copy: code, descriptions of protocols, announcements."""
    await _ensure_smaller(connection, kv_config(connection, bucket), _BUCKET, (1, 8))


async def has_feeds(connection: Connection) -> bool:
    """Whether the streams of feeds exist."""
    return await _config_of(connection, connection.names.feeds_stream) is not None


async def ensure_bodies(connection: Connection, owner: str, max_bytes: int = 0) -> None:
    """Create the bucket of `owner` (ADR-20) with `max_bytes`; 0 is all that the account's store leaves room for."""
    stream = connection.names.object_stream(owner)
    if await _config_of(connection, stream) is None:
        config = stream_config(connection, stream, connection.names.object_subjects(owner))
        await _ensure(connection, config | {"max_bytes": max_bytes or await _room(connection)})


async def purge(connection: Connection, owner: str, subject: str) -> None:
    """Remove everything on `subject` in the owner's bucket."""
    await connection.retrying_api(f"STREAM.PURGE.{connection.names.object_stream(owner)}", {"filter": subject})


def kv_config(connection: Connection, bucket: str) -> dict[str, Any]:
    """A bucket whose entries are replaced and expire, and are never deleted."""
    config = stream_config(connection, kv_stream(bucket), [kv_subject(bucket, ">")])
    # Resource servers write to the keys' bucket: a roll-up of all subjects would remove the others' keys, and a large
    # entry would use their room. ADR-8 has roll-ups for purging a key, which nobody does here.
    largest = _KEYS_ENTRY_BYTES if bucket == connection.names.keys_bucket else -1
    return config | {
        "max_msgs_per_subject": 1,
        "deny_delete": True,
        "allow_rollup_hdrs": False,
        "max_msg_size": largest,
    }


def stream_config(connection: Connection, name: str, subjects: list[str], max_bytes: int = -1) -> dict[str, Any]:
    """A stream that keeps what it acknowledged, and refuses what exceeds its limits."""
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
        "num_replicas": connection.replicas,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
    }


def _kv_share(names: Names, bucket: str) -> Share:
    return _KEYS if bucket == names.keys_bucket else _GRANTS


async def _ensure(connection: Connection, config: dict[str, Any], share: Share | None = None) -> None:
    """Create a stream of this configuration, with its `share` of the store, unless it exists."""
    await connection.retry(partial(_ensure_once, connection, config, share))


async def _ensure_smaller(connection: Connection, config: dict[str, Any], share: Share, parts: tuple[int, ...]) -> None:
    """As `_ensure`, with a fraction of the share if an older version gave all the room to bodies."""
    for smaller in parts:
        try:
            await _ensure(connection, config, Share(share.max_bytes // smaller, share.part * smaller))
            return
        except StoreFullError:
            if smaller == parts[-1]:
                raise


async def _ensure_once(connection: Connection, config: dict[str, Any], share: Share | None) -> None:
    existing = await _config_of(connection, config["name"])
    if existing is None:
        if share is not None:
            config = config | {"max_bytes": share.of(_limit(connection, await connection.retrying_api("INFO")))}
        try:
            await connection.api(f"STREAM.CREATE.{config['name']}", config)
        except StorageError:
            # Another process may have created it in between, with other limits.
            if await _config_of(connection, config["name"]) is None:
                raise
    elif changed := _changed(existing, config):
        await connection.api(f"STREAM.UPDATE.{config['name']}", existing | changed)


def _changed(existing: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version did not set on a stream that exists."""
    changed: dict[str, Any] = {}
    if existing["allow_rollup_hdrs"] and not config["allow_rollup_hdrs"]:  # before accounts
        changed |= {"allow_rollup_hdrs": False, "max_msg_size": config.get("max_msg_size", -1)}
    if not existing["max_age"] and existing["discard"] == config["discard"] == "new":
        changed |= {"max_age": config["max_age"]} if config["max_age"] else {}
    return changed


async def _config_of(connection: Connection, stream: str) -> dict[str, Any] | None:
    try:
        info = await connection.retrying_api(f"STREAM.INFO.{stream}")
    except StorageError as error:
        if _STREAM_NOT_FOUND in error.reason:
            return None
        raise
    config: dict[str, Any] = info["config"]
    return config


async def _room(connection: Connection) -> int:
    """Bytes that bodies may use, or -1 without a limit."""
    account = await connection.retrying_api("INFO")
    # In a private store, the bodies of several owners share what is left.
    limit = _account_limit(account)
    if limit <= 0:
        return -1
    reserved: int = account.get("reserved_storage", 0)
    return max(_BODIES_MIN.of(limit), limit - reserved - _SPARE.of(limit))


def _limit(connection: Connection, account: dict[str, Any]) -> int:
    """Size of the store in bytes; -1 if unknown."""
    return _account_limit(account) if _account_limit(account) > 0 else connection.store_bytes


def _account_limit(account: dict[str, Any]) -> int:
    limit: int = account.get("limits", {}).get("max_storage", -1)
    return limit
