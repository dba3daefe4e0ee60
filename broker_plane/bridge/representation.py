"""The representation of a body that a request asks for: media type, coding, part and validators. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import PurePath

from broker_plane.errors import NotAcceptableError
from broker_plane.formats.kinds import ARROW_FORMATS, MEDIA_TYPES, Format, is_written, missing, writer_version
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.tabular.views import VIEWS, shown_rows
from broker_plane.web.accept import choose_coding, choose_type, takes_identity
from broker_plane.web.coding import CODINGS
from broker_plane.web.conditions import Validators, honours_range
from broker_plane.web.dates import format_date
from broker_plane.web.ranges import Part, parse_range
from broker_plane.web.sending import Headers
from broker_plane.wire.body import BYTES_TYPE, ROWS_TYPE, BodyInfo
from broker_plane.wire.disposition import disposition_of
from broker_plane.wire.selector import Selector

_SMALL_BYTES = 1024
"""Stored bodies below this size are not compressed: it would cost more than it saves."""

_MEDIA_TYPE = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+(?:; ?[\x20-\x7e]+)?", re.ASCII)
S2SP = "s2sp"
"""The view that a POST without a preference gets instead of plain JSON."""

SAFE_CSV, SAFE_TSV = "csv=safe", "tsv=safe"
"""The views that `csv=safe` selects instead of exact CSV and TSV."""

_SAFE_VIEWS = {"text/csv": SAFE_CSV, "text/tab-separated-values": SAFE_TSV}
_FORMS = {MEDIA_TYPES[form]: form for form in (*sorted(ARROW_FORMATS), Format.xlsx)}
"""The file formats that a package writes, by media type; they are offered where it is installed."""

_PACKED = frozenset({Format.parquet, Format.xlsx})
"""Formats that are compressed already."""

_PARAMETERS = {
    "text/csv": "; charset=utf-8; header=present",
    "text/tab-separated-values": "; charset=utf-8",
}


@dataclass(frozen=True)
class Representation:
    """One representation of a body: its `stored` bytes, or a view generated from its rows."""

    body: ScopedBody
    selector: Selector
    view: str
    media_type: str
    coding: str
    stored: bool
    posted: bool
    modified: int
    """In Unix seconds; never later than the answer (RFC 9110, section 8.8.2.1), whatever the publisher's clock was."""

    @property
    def info(self) -> BodyInfo:
        return self.body.info

    @property
    def form(self) -> Format | None:
        """The file format that a package generates; None for stored bytes and our own views."""
        return _FORMS.get(self.view) if self.info.kind == "rows" else None

    @cached_property
    def etag(self) -> str:
        """A strong entity tag: it changes whenever the bytes do (RFC 9110, section 8.8.3)."""
        # Another version of the package may write other bytes.
        view = self.view if self.form is None else (self.view, writer_version(self.form))
        identity = repr((self.body.tag, view, self.selector.to_wire(), self.coding))
        return f'"{sha256(identity.encode()).hexdigest()[:32]}"'

    @property
    def validators(self) -> Validators:
        return Validators(self.etag, self.modified)

    def part(self, headers: Mapping[str, str]) -> Part | None:
        """The part that a GET requests; None is the whole. Raises RangeError (416)."""
        asked = headers.get("range")
        if asked is None or not self.stored or not honours_range(headers.get("if-range"), self.validators):
            return None
        return parse_range(asked, self.info.size)

    def headers(self) -> Headers:
        """Headers of a 200, 206, 304 and a HEAD."""
        if self.posted:
            return [("cache-control", "no-store")]
        return [
            ("etag", self.etag),
            ("last-modified", format_date(self.modified)),
            ("expires", format_date(self.info.expires)),
            ("cache-control", "private, immutable, no-transform"),
            ("vary", "Accept, Accept-Encoding"),
        ]

    def all_headers(self) -> Headers:
        """Headers of a 200, a 206 and a HEAD."""
        return [*self.headers(), *self._content_headers()]

    def _content_headers(self) -> Headers:
        found = [
            ("content-type", self.media_type),
            ("x-content-type-options", "nosniff"),
            # A body that is opened in a browser must not run scripts as this host.
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("accept-ranges", "bytes" if self.stored else "none"),
        ]
        if self.stored:
            digest = b64encode(bytes.fromhex(self.info.digest)).decode()
            found.append(("repr-digest", f"sha-256=:{digest}:"))
        if self.coding != "identity":
            found.append(("content-encoding", self.coding))
        if self.info.rows is not None:
            found.append(("bp-rows", str(shown_rows(self.info, self.selector))))
        if self.info.kind == "bytes":  # an attachment: a body never opens inside a page
            found.append(("content-disposition", disposition_of(self.info.name)))
        elif self.form is not None:
            found.append(
                ("content-disposition", disposition_of(f"{PurePath(self.info.name).stem or 'body'}.{self.form}"))
            )
        return found


def represent(
    body: ScopedBody,
    selector: Selector,
    headers: Mapping[str, str],
    *,
    posted: bool,
    safe_csv: bool = False,
    now: float,
) -> Representation:
    """The representation that the headers select.

    Raises:
        NotAcceptableError: none of the available ones is acceptable, or the grant permits none of those.
    """
    ours = _offered(body.info)
    offered = _within(ours, body.scope.formats)
    media_type = _chosen(headers.get("accept"), offered, body)
    rows = body.info.kind == "rows"
    view = S2SP if posted and media_type == ours[0] and rows else media_type
    view = _SAFE_VIEWS.get(media_type, view) if safe_csv and rows else view
    stored = not rows or (media_type == ROWS_TYPE and selector.whole and body.whole)
    coding = choose_coding(headers.get("accept-encoding"), () if stored or _FORMS.get(view) in _PACKED else CODINGS)
    if body.stored.size < _SMALL_BYTES and takes_identity(headers.get("accept-encoding")):
        coding = "identity"
    modified = int(min(body.info.created, now))
    return Representation(body, selector, view, _typed(media_type), coding, stored, posted, modified)


def _chosen(accept: str | None, offered: Sequence[str], body: ScopedBody) -> str:
    try:
        return choose_type(accept, offered)
    except NotAcceptableError as error:
        lacking = [form for media_type, form in _FORMS.items() if media_type in (accept or "").lower()]
        lacking = [form for form in lacking if body.info.kind == "rows" and not is_written(form)]
        if not lacking:
            raise
        raise NotAcceptableError(
            f"{error}. This bridge lacks a package: {missing(lacking[0], writing=True)}"
        ) from error


def _within(offered: Sequence[str], formats: Sequence[str] | None) -> Sequence[str]:
    if formats is None:
        return offered
    kept = [media_type for media_type in offered if media_type.partition(";")[0].strip().lower() in formats]
    if not kept:
        raise NotAcceptableError(f"This grant permits only {', '.join(formats) or 'no format'}")
    return kept


def _offered(info: BodyInfo) -> Sequence[str]:
    if info.kind == "rows":
        return (*VIEWS, *(media_type for media_type, form in _FORMS.items() if is_written(form)))
    # The publisher's media type becomes a header; one that is not valid there is replaced by plain bytes.
    if info.media_type == BYTES_TYPE or not _MEDIA_TYPE.fullmatch(info.media_type):
        return (BYTES_TYPE,)
    return (info.media_type, BYTES_TYPE)


def _typed(media_type: str) -> str:
    return media_type + _PARAMETERS.get(media_type, "")
