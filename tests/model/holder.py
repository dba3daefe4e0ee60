"""What a holder can do with a grant by itself (docs/grants.md), written apart from the product's own code."""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from tests.model.bodies import COLUMNS, Body

_TAG_BYTES = 16
_GRANT_ID = slice(21, 37)
COLUMNS_KIND, ROWS_KIND, WHERE_KIND, EXPIRES_KIND, USES_KIND, AUDIENCE_KIND, BYTES_KIND = range(1, 8)


@dataclass(frozen=True)
class Offer:
    """The descriptor of a grant that an MCP server offered."""

    endpoint: str
    seal: str
    transfer_id: str


@dataclass(frozen=True, eq=False)
class Held:
    """A grant in the adversary's hands, and what it ought to be worth.

    `counters` are what counts its uses: the root's id, and the text of each grant that a caveat of uses made.
    `prefix` is where it stands in a URL. `whole` says that its stored bytes may leave as they are.
    """

    text: str
    body: Body
    counters: Mapping[str, int]
    columns: tuple[str, ...] = COLUMNS
    rows: range = range(0)
    whole: bool = True
    token: str = ""
    offer: Offer | None = None
    prefix: str = "/s2sp/data/"
    names: frozenset[str] = field(default_factory=frozenset)
    """The names of the bodies that it shows: a feed's has several."""

    @property
    def root(self) -> str:
        return grant_id(self.text)

    @property
    def path(self) -> str:
        return self.prefix + self.text

    @property
    def counted(self) -> bool:
        return bool(self.counters)

    @property
    def feed(self) -> bool:
        return self.prefix == "/v1/feeds/"

    def narrowed(self, kind: int, payload: Any, **changed: Any) -> Held:
        return replace(self, text=narrow(self.text, kind, payload), offer=None, **changed)

    def with_uses(self, uses: int) -> Held:
        text = narrow(self.text, USES_KIND, uses)
        return replace(self, text=text, offer=None, counters={**self.counters, text: uses})

    def with_columns(self, *names: str) -> Held:
        kept = tuple(name for name in self.columns if name in names)
        return self.narrowed(COLUMNS_KIND, ["k", *kept], columns=kept, whole=False)

    def with_where(self, start: int, stop: int) -> Held:
        rows = range(max(self.rows.start, start), max(self.rows.start, min(self.rows.stop, stop)))
        return self.narrowed(WHERE_KIND, f"k >= {start} and k < {stop}", rows=rows, whole=False)

    def with_first(self, count: int) -> Held:
        return self.narrowed(ROWS_KIND, [None, count], rows=self.rows[:count], whole=False)

    def until(self, second: int) -> Held:
        return self.narrowed(EXPIRES_KIND, second)

    def for_puller(self, name: str, token: str) -> Held:
        return self.narrowed(AUDIENCE_KIND, name, token=token)

    def of_bytes(self, most: int) -> Held:
        return self.narrowed(BYTES_KIND, most)


def held(text: str, body: Body, uses: int, **more: Any) -> Held:
    """The root grant `text` for `body`; `uses` 0 is unlimited."""
    counters = {grant_id(text): uses} if uses else {}
    return Held(text, body, counters, rows=range(body.rows), **{"names": frozenset([body.name]), **more})


def narrow(text: str, kind: int, payload: Any) -> str:
    """`text` with one more caveat under its seal."""
    raw = _decoded(text)
    packed = msgpack.packb(payload)
    caveat = struct.pack(">BH", kind, len(packed)) + packed
    tag = hmac.digest(raw[-_TAG_BYTES:], caveat, "sha256")[:_TAG_BYTES]
    return urlsafe_b64encode(raw[:-_TAG_BYTES] + caveat + tag).rstrip(b"=").decode()


def grant_id(text: str) -> str:
    return _decoded(text)[_GRANT_ID].hex()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
