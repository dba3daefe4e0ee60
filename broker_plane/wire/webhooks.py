"""Webhooks on the wire: the signatures of Standard Webhooks (standardwebhooks.com), and the endpoint's record.

webhook-id: evt_…                     the same for every try of one event, so that its receiver drops repeats
webhook-timestamp: 1700000000         of this try
webhook-signature: v1,<base64> …      HMAC-SHA256 of `id.timestamp.body`, one for each secret that is valid
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Literal

import orjson

from broker_plane.errors import WireError
from broker_plane.wire.names import encode_id

PREFIX = "whsec_"
SECRET_BYTES = 32
_LEAST, _MOST = 24, 64
_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")

State = Literal["active", "disabled"]


@dataclass(frozen=True, slots=True)
class Secret:
    """`text` is `whsec_` and base64; `until` is when it ends, in unix seconds, 0 where it does not."""

    text: str
    until: float = 0.0

    def __repr__(self) -> str:
        return "Secret(…)"


def durable_of_hook(endpoint_id: str) -> str:
    """The name of the durable that keeps an endpoint's place."""
    return f"hook_{endpoint_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A receiver of a feed's events. `columns` and `where` narrow what its events lead to; None is no limit."""

    id: str
    feed: str
    url: str
    secrets: tuple[Secret, ...]
    state: State = "active"
    reason: str = ""
    columns: tuple[str, ...] | None = None
    where: str | None = None
    created: float = 0.0
    subscription: bool = False
    """It is an MCP client's (SEP-3415): its events are EventOccurrences."""
    expires: float = 0.0
    """In unix seconds; 0 is never."""

    @property
    def durable(self) -> str:
        return durable_of_hook(self.id)

    def pack(self) -> bytes:
        return orjson.dumps(asdict(self))

    def alive(self, now: float) -> bool:
        return not self.expires or now < self.expires

    def valid_secrets(self, now: float) -> list[str]:
        return [secret.text for secret in self.secrets if not secret.until or now < secret.until]

    def rotated(self, text: str, until: float) -> Endpoint:
        """With a new secret; the one before it signs as well until `until`, and older ones no more."""
        return replace(self, secrets=(Secret(text), Secret(self.secrets[0].text, until)))

    def to_wire(self) -> dict[str, Any]:
        """For people and programs, without secrets."""
        fields = asdict(self)
        del fields["secrets"]
        return fields


def parse_endpoint(raw: bytes) -> Endpoint:
    """The endpoint of an entry.

    Raises:
        WireError: it is none.
    """
    try:
        fields = orjson.loads(raw)
        fields["secrets"] = tuple(Secret(**secret) for secret in fields["secrets"])
        fields["columns"] = None if fields["columns"] is None else tuple(fields["columns"])
        return Endpoint(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise WireError("This is no webhook endpoint", reason=str(error)) from error


def parse_endpoint_id(text: str) -> str:
    if not _ID.match(text):
        raise WireError("This is no endpoint's id: 22 characters of base64url, as `webhooks ls` prints them")
    return text


def subscription_id(principal: str, feed: str, url: str) -> str:
    """The id of an MCP client's endpoint: the same for the same three, so that to subscribe twice is to refresh."""
    return encode_id(sha256(b"\0".join(part.encode() for part in (principal, feed, url))).digest()[:16])


def secret_of(raw: bytes) -> str:
    """The text of a secret of 24 to 64 random bytes.

    Raises:
        WireError: it has fewer, or more.
    """
    if not _LEAST <= len(raw) <= _MOST:
        raise WireError(f"A webhook's secret has {_LEAST} to {_MOST} bytes; this has {len(raw)}")
    return PREFIX + b64encode(raw).decode()


def key_of_secret(text: str) -> bytes:
    """The bytes of a secret's text.

    Raises:
        WireError: it is none.
    """
    try:
        raw = b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise WireError("A webhook's secret is whsec_ and base64") from error
    secret_of(raw)
    return raw


def signed_headers(number: str, timestamp: int, body: bytes, secrets: list[str]) -> dict[str, str]:
    """The three headers; with several secrets, as while they are rotated, as many signatures."""
    content = f"{number}.{timestamp}.".encode() + body
    signatures = [b64encode(hmac.digest(key_of_secret(text), content, "sha256")).decode() for text in secrets]
    return {
        "webhook-id": number,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
