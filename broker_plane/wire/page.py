"""Pages: how a body goes part by part, for who has no other way to it. What is asked for, and what an answer says.

    request = {"cursor": "", "limit": bytes of one page, "most": bytes of the body}      all optional
    cursor  = <number> . <lease> . <done> . <frame> . <row>

A cursor continues at any bridge. It has no seal, so nothing in it is believed: a lease that the plane did not give to
this number for this very grant is no lease, and the delivery is claimed anew or refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from broker_plane.errors import WireError

MOST_PAGE_BYTES = 8 << 20
_LIMIT = 512 * 1024
_LEAST = 512
_CURSOR = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9a-f]{0,64})\.([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})\Z")
_PART = re.compile(r"(rows|bytes) (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18})\Z")

Unit = Literal["rows", "bytes"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a delivery by pages goes on. `number` is the delivery's, and `lease` empty where nothing is counted.

    `done` counts the rows or bytes before it; the next row is the one at `row` among those shown of the frame `frame`.
    """

    number: str
    lease: str = ""
    done: int = 0
    frame: int = 0
    row: int = 0

    def __str__(self) -> str:
        return f"{self.number}.{self.lease}.{self.done}.{self.frame}.{self.row}"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The page at `cursor` (None: the first), of at most `limit` bytes, if the body has at most `most` (0: any)."""

    cursor: Cursor | None = None
    limit: int = _LIMIT
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page. Rows are a JSON array, an opaque body is as it is; `next` is empty after the last page.

    `first` counts the rows or bytes before it, `count` those in it, `total` all that the grant shows.
    """

    content: bytes
    media_type: str
    unit: Unit
    first: int
    count: int
    total: int
    next: str = ""

    @property
    def part(self) -> str:
        """As in a Content-Range (RFC 9110, section 14.4): `rows 0-99/1000`, and `rows */1000` of nothing."""
        among = f"{self.first}-{self.first + self.count - 1}" if self.count else "*"
        return f"{self.unit} {among}/{self.total}"


def parse_page_request(fields: Any) -> PageRequest:
    """The request of a JSON object.

    Raises:
        WireError: a member is none.
    """
    cursor = fields.get("cursor") or ""
    limit, most = fields.get("limit", _LIMIT), fields.get("most", 0)
    if type(limit) is not int or not _LEAST <= limit <= MOST_PAGE_BYTES:
        raise WireError(f"limit is in bytes, from {_LEAST} to {MOST_PAGE_BYTES}")
    if type(most) is not int or most < 0:
        raise WireError("most is a number of bytes; 0 is any")
    return PageRequest(parse_cursor(cursor) if cursor else None, limit, most)


def parse_cursor(text: Any) -> Cursor:
    """Raises WireError: it is no cursor."""
    found = _CURSOR.match(text) if isinstance(text, str) else None
    if found is None:
        raise WireError("This is no cursor; give back the nextCursor of the part before, as it was")
    return Cursor(found[1], found[2], int(found[3]), int(found[4]), int(found[5]))


def page_of(content: bytes, media_type: str, part: str, cursor: str) -> Page:
    """The page of an answer's bytes and headers.

    Raises:
        WireError: they are none.
    """
    found = _PART.match(part)
    if found is None:
        raise WireError("The bridge gave no page; it may be of an older version")
    unit: Unit = "rows" if found[1] == "rows" else "bytes"
    first, count = (int(found[2]), int(found[3]) - int(found[2]) + 1) if found[2] else (int(found[4]), 0)
    return Page(
        content=content, media_type=media_type, unit=unit, first=first, count=count, total=int(found[4]), next=cursor
    )
