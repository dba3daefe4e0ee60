"""Notices for the tests of the rules of feeds."""

from __future__ import annotations

from typing import Any

from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import Notice
from broker_plane.wire.names import body_id

KEY = ("id",)


def stored(number: int = 0, *, size: int = 100, **fields: Any) -> BodyInfo:
    """A stored body of `size` bytes."""
    values: dict[str, Any] = {
        "id": body_id(number.to_bytes(16, "big")),
        "owner": "local",
        "kind": "rows",
        "size": size,
        "digest": "",
        "media_type": "text/plain",
        "created": 0,
        "expires": 1,
        "chunks": 0,
        "chunk_bytes": 1,
    }
    return BodyInfo(**values | fields)


def notice(version: int, *, size: int = 100, delta: int | None = 10, **fields: Any) -> Notice:
    """The notice of a version whose body and delta have these sizes; its sequence is ten times the version."""
    values: dict[str, Any] = {
        "feed": "crm.contacts",
        "version": version,
        "at": float(version),
        "body": stored(version, size=size),
        "delta": None if delta is None else stored(1000 + version, size=delta),
        "key": KEY,
        "sequence": 10 * version,
        "total": version * (size + (delta or 0)),
    }
    return Notice(**values | fields)
