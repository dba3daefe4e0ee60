"""Pages: the requests and responses of a delivery part by part, for clients with no other way to a body. Pure.

    request = {"cursor": "", "limit": bytes of one page, "most": bytes of the body}      all optional
    cursor  = <number> . <lease> . <done> . <frame> . <row>

A cursor continues at any bridge. It is not sealed, so nothing in it is trusted: if the plane did not give the lease to
this number for this very grant, the delivery is claimed anew or refused.
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
    """The position of a delivery by pages. `number` names the delivery; `lease` is empty if uses are not counted.

    `done` is the number of rows or bytes before it; the next row is at position `row` of the shown rows of frame
    `frame`.
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
    """One page. Rows are a JSON array, opaque bodies are raw bytes; `next` is empty after the last page.

    `first` is the number of rows or bytes before it, `count` of those in it, `total` of all that the grant shows.
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
        """As in a Content-Range (RFC 9110, section 14.4): `rows 0-99/1000`, and `rows */1000` if it is empty."""
        among = f"{self.first}-{self.first + self.count - 1}" if self.count else "*"
        return f"{self.unit} {among}/{self.total}"


def parse_page_request(fields: Any) -> PageRequest:
    """The request of a JSON object.

    Raises:
        WireError: a member is not valid.
    """
    cursor = fields.get("cursor") or ""
    limit, most = fields.get("limit", _LIMIT), fields.get("most", 0)
    if type(limit) is not int or not _LEAST <= limit <= MOST_PAGE_BYTES:
        raise WireError(f"limit is in bytes, from {_LEAST} to {MOST_PAGE_BYTES}")
    if type(most) is not int or most < 0:
        raise WireError("most is a number of bytes; 0 is unlimited")
    return PageRequest(parse_cursor(cursor) if cursor else None, limit, most)


def parse_cursor(text: Any) -> Cursor:
    """Raises WireError: the text is not a cursor."""
    found = _CURSOR.match(text) if isinstance(text, str) else None
    if found is None:
        raise WireError("This is not a cursor; send the nextCursor of the page before, unchanged")
    return Cursor(found[1], found[2], int(found[3]), int(found[4]), int(found[5]))


def page_of(content: bytes, media_type: str, part: str, cursor: str) -> Page:
    """The page in a response's content and headers.

    Raises:
        WireError: they are not a page.
    """
    found = _PART.match(part)
    if found is None:
        raise WireError("The bridge did not answer with a page; it may be of an older version")
    unit: Unit = "rows" if found[1] == "rows" else "bytes"
    first, count = (int(found[2]), int(found[3]) - int(found[2]) + 1) if found[2] else (int(found[4]), 0)
    return Page(
        content=content, media_type=media_type, unit=unit, first=first, count=count, total=int(found[4]), next=cursor
    )
