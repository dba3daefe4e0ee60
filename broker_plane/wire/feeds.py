"""Feeds on the wire: their names, and the notice, which says that a version exists (rulings.md 16). Pure.

A notice is JSON on `bp.feed.<name>`. Its cursor is the stream's sequence, which has gaps; its version counts by one.
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
"""Column of a delta: the columns that a changed row has no longer."""

_FEED = re.compile(r"[a-z0-9_-]{1,64}(\.[a-z0-9_-]{1,64}){0,3}\Z")


def parse_feed(text: str) -> str:
    """The feed's name: one to four tokens of a-z, 0-9, _ and -, with dots between them.

    Raises:
        WireError: it is none.
    """
    if not _FEED.match(text):
        raise WireError(f"{quoted(text)} is no feed: one to four words of a-z, 0-9, _ and -, as in crm.contacts")
    return text


def key_names(key: str | Sequence[str] | None) -> tuple[str, ...]:
    """The key columns that were asked for."""
    if key is None:
        return ()
    return (key,) if isinstance(key, str) else tuple(key)


def column_names(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that were declared.

    Raises:
        WireError: they are no list of texts, or one stands twice.
    """
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise WireError('columns is a list of names: columns=["id", "mail"]')
    if twice := [name for place, name in enumerate(columns) if name in columns[:place]]:
        raise WireError(f"columns names {twice[0]!r} twice")
    return tuple(columns)


def feed_id(feed: str) -> BodyId:
    """What stands in the body's place of a grant for a feed: 16 bytes of its name's SHA-256."""
    return body_id(sha256(b"broker-plane feed " + feed.encode()).digest()[:16])


Schema = Mapping[str, tuple[str, ...]]
"""By column, the names of its values' types in order; `absent` is among them where rows lack the column."""


_Kinds = Annotated[tuple[str, ...], Meta(max_length=64)]
"""Names of types: there are about fifteen."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Version `version` of `feed` exists. `at` is in unix seconds.

    `body` is the whole of it; `delta`, where there is one, is what changed since version `version - 1`, by `key`.
    `content` is the SHA-256 of the body's stored bytes: the same content is one version.
    """

    feed: str
    version: Annotated[int, Meta(ge=1, le=MAX_SAFE_INT)]
    at: Second
    body: BodyInfo
    delta: BodyInfo | None = None
    key: Annotated[tuple[str, ...], Meta(max_length=MAX_COLUMNS)] = ()
    columns: Annotated[dict[str, _Kinds], Meta(max_length=MAX_COLUMNS)] = {}  # msgspec copies it
    """The schema, which is recorded with each version: every column that the feed ever had, in their order."""
    total: Count = 0
    """Stored bytes of all versions up to this one, those that retention took included."""
    sequence: int = 0
    """Where it stands in the stream: the cursor. Not part of the message."""

    def pack(self) -> bytes:
        fields = msgspec.to_builtins(self)
        del fields["sequence"]
        return orjson.dumps(fields)

    @property
    def size(self) -> int:
        """Stored bytes of what the version holds."""
        return self.body.size + (self.delta.size if self.delta else 0)

    def bodies(self) -> list[BodyInfo]:
        return [self.body, *([self.delta] if self.delta else [])]

    def to_wire(self) -> dict[str, Any]:
        """For people and programs that do not read the stream."""
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
    """The notice of a message.

    Raises:
        WireError: it is none.
    """
    try:
        notice = msgspec.structs.replace(_NOTICE.decode(raw), sequence=sequence)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("There is a message on a feed's subject that is no notice", reason=str(error)[:300]) from error
    for body in notice.bodies():
        check_stored(body)
    return notice


_NOTICE = msgspec.json.Decoder(Notice)

Since = int | float | Literal["first", "last", "new"]
"""Where a new durable begins: a version (whole number), a time in unix seconds (float), or one of three words."""
