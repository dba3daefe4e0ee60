"""What a request asks to see of a body: which media type, coding and part, and what it is recognised by. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

from broker_plane.bridge.accept import choose_coding, choose_type
from broker_plane.bridge.conditions import Validators, honours_range
from broker_plane.bridge.dates import format_date
from broker_plane.bridge.ranges import Part, parse_range
from broker_plane.tabular.views import VIEWS
from broker_plane.wire.body import BYTES_TYPE, ROWS_TYPE, BodyInfo
from broker_plane.wire.selector import Selector

CODINGS = ("zstd", "gzip")
S2SP = "s2sp"
"""The view of a POST without a preference, in the place of plain JSON."""

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Representation:
    """One way to show a body: `stored` bytes as they are, or a view that is made of its rows."""

    body: BodyInfo
    selector: Selector
    view: str
    media_type: str
    coding: str
    stored: bool

    @property
    def etag(self) -> str:
        """Strong: the same bytes have it, and other bytes have another (RFC 9110, section 8.8.3)."""
        told = repr((self.body.digest, self.view, self.selector.to_wire(), self.coding))
        return f'"{sha256(told.encode()).hexdigest()[:32]}"'

    @property
    def validators(self) -> Validators:
        return Validators(self.etag, int(self.body.created))

    def part(self, headers: Mapping[str, str]) -> Part | None:
        """The part that a GET asks for; None is the whole. Raises RangeError (416)."""
        if not self.stored or not honours_range(headers.get("if-range"), self.validators):
            return None
        return parse_range(headers.get("range"), self.body.size)

    def headers(self) -> Headers:
        """Headers that a 200, 206, 304 and a HEAD share."""
        return [
            ("etag", self.etag),
            ("last-modified", format_date(self.body.created)),
            ("cache-control", "private, immutable"),
            ("vary", "Accept, Accept-Encoding"),
        ]

    def content_headers(self) -> Headers:
        """Headers of the representation itself."""
        found = [
            ("content-type", self.media_type),
            ("x-content-type-options", "nosniff"),
            ("accept-ranges", "bytes" if self.stored else "none"),
        ]
        if self.stored:
            digest = b64encode(bytes.fromhex(self.body.digest)).decode()
            found.append(("repr-digest", f"sha-256=:{digest}:"))
        if self.coding != "identity":
            found.append(("content-encoding", self.coding))
        if self.body.rows is not None:
            found.append(("bp-rows", str(self.body.rows)))
        if self.body.kind == "bytes":
            found.append(("content-disposition", _disposition(self.body.name)))
        return found


def represent(body: BodyInfo, selector: Selector, headers: Mapping[str, str], *, posted: bool) -> Representation:
    """The representation that the headers ask for.

    Raises:
        NotAcceptableError: none of ours will do.
    """
    offered = _offered(body)
    media_type = choose_type(headers.get("accept"), offered)
    view = S2SP if posted and media_type == offered[0] and body.kind == "rows" else media_type
    stored = body.kind == "bytes" or (media_type == ROWS_TYPE and selector.whole)
    coding = choose_coding(headers.get("accept-encoding"), () if stored else CODINGS)
    return Representation(body, selector, view, _typed(media_type), coding, stored)


def _offered(body: BodyInfo) -> Sequence[str]:
    if body.kind == "rows":
        return tuple(VIEWS)
    return (body.media_type,) if body.media_type == BYTES_TYPE else (body.media_type, BYTES_TYPE)


def _typed(media_type: str) -> str:
    return f"{media_type}; charset=utf-8; header=present" if media_type == "text/csv" else media_type


def _disposition(name: str) -> str:
    """RFC 6266: a name that is no plain ASCII goes into filename*; a body never opens inside a page."""
    if not name:
        return "attachment"
    plain = "".join(c if 32 <= ord(c) < 127 and c not in '"\\/' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
