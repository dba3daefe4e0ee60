"""Feeds on the wire: their names, and notices, each of which announces a version. Pure.

A notice is JSON on `bp.feed.<name>` (docs/reference/wire-protocol.md#feeds). Its cursor is its sequence in the
JetStream stream, which has gaps; its version counts up by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta

from broker_plane.errors import WireError
from broker_plane.wire.body import BodyInfo, Count, Second, check_stored
from broker_plane.wire.bounds import MAX_COLUMNS, MAX_SAFE_INT
from broker_plane.wire.names import BodyId, body_id
from broker_plane.wire.urls import quoted

VERSION_HEADER = "Bp-Version"
CHANGE = "_change"
"""Column of a delta: `added`, `changed` or `removed`."""

GONE = "_gone"
"""Column of a delta: the columns that a changed row has lost."""

_FEED = re.compile(r"[a-z0-9_-]{1,64}(\.[a-z0-9_-]{1,64}){0,3}\Z")


def parse_feed(text: str) -> str:
    """Return the name of a feed: one to four words of a-z, 0-9, _ and -, separated by dots.

    Raises:
        WireError: invalid name.
    """
    if not _FEED.match(text):
        raise WireError(f"Invalid feed name {quoted(text)}: one to four words of a-z, 0-9, _ and -, as in crm.contacts")
    return text


def key_names(key: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the key columns in the argument `key`."""
    if key is None:
        return ()
    return (key,) if isinstance(key, str) else tuple(key)


def column_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns in the argument `columns`.

    Raises:
        WireError: not a list of strings, or a duplicate.
    """
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise WireError('columns must be a list of names: columns=["id", "mail"]')
    if twice := [name for place, name in enumerate(columns) if name in columns[:place]]:
        raise WireError(f"columns names {twice[0]!r} twice")
    return tuple(columns)


def feed_id(feed: str) -> BodyId:
    """Return the id that a grant for a feed has in place of a body's: 16 bytes of the SHA-256 of the name."""
    return body_id(sha256(b"broker-plane feed " + feed.encode()).digest()[:16])


Schema = Mapping[str, tuple[str, ...]]
"""For each column the sorted names of its values' types; `absent` is among them if rows lack the column."""

_Kinds = Annotated[tuple[str, ...], Meta(max_length=64)]
"""Names of types, of which there are about fifteen."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The announcement that version `version` of `feed` exists. `at` is in unix seconds.

    `body` is the complete version; `delta`, if any, has the changes since version `version - 1`, by `key`.
    """

    feed: str
    version: Annotated[int, Meta(ge=1, le=MAX_SAFE_INT)]
    at: Second
    body: BodyInfo
    delta: BodyInfo | None = None
    key: Annotated[tuple[str, ...], Meta(max_length=MAX_COLUMNS)] = ()
    columns: Annotated[dict[str, _Kinds], Meta(max_length=MAX_COLUMNS)] = {}  # msgspec copies it
    """The schema, recorded with each version: all columns that the feed ever had, in their order."""

    total: Count = 0
    """Stored bytes of all versions up to this one, including deleted ones."""

    sequence: int = 0
    """The sequence in the JetStream stream: the cursor. Not part of the message."""

    def pack(self) -> bytes:
        """Return the message."""
        fields = msgspec.to_builtins(self)
        del fields["sequence"]
        return orjson.dumps(fields)

    @property
    def size(self) -> int:
        """Stored bytes of the version's bodies."""
        return self.body.size + (self.delta.size if self.delta else 0)

    def bodies(self) -> list[BodyInfo]:
        """Return the body and, if there is one, the delta."""
        return [self.body, *([self.delta] if self.delta else [])]

    def to_wire(self) -> dict[str, Any]:
        """Return the fields for output: command line, HTTP, webhooks and MCP."""
        delta = None if self.delta is None else {"rows": self.delta.rows, "size": self.delta.size}
        return {
            "feed": self.feed,
            "version": self.version,
            "sequence": self.sequence,
            "at": self.at,
            "key": list(self.key),
            "columns": list(self.body.columns or self.columns),
            "rows": self.body.rows,
            "size": self.body.size,
            "digest": f"sha256:{self.body.digest}",
            "body_id": self.body.id,
            "delta": delta,
        }


def parse_notice(raw: bytes, sequence: int) -> Notice:
    """Return the notice in a message.

    Raises:
        WireError: malformed.
    """
    try:
        notice = msgspec.structs.replace(_NOTICE.decode(raw), sequence=sequence)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("A message on a feed's subject is not a notice", reason=str(error)[:300]) from error
    for body in notice.bodies():
        check_stored(body)
    return notice


_NOTICE = msgspec.json.Decoder(Notice)

Since = int | float | Literal["first", "last", "new"]
"""Where a new durable begins: a version (int), a time in unix seconds (float), or one of three words."""
