"""The stored record of a webhook endpoint: a receiver of a feed's events. Pure."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Literal

import orjson

from broker_plane.errors import WireError
from broker_plane.wire.names import encode_id
from broker_plane.wire.webhook_signing import WebhookSecret, rotated_secrets, valid_secrets

_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")

State = Literal["active", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A receiver of a feed's events. `columns` and `where` narrow the grant in its events; None: not narrowed."""

    id: str
    feed: str
    url: str
    secrets: tuple[WebhookSecret, ...]
    state: State = "active"
    reason: str = ""
    columns: tuple[str, ...] | None = None
    where: str | None = None
    created: float = 0.0
    subscription: bool = False
    """Whether an MCP client created it (SEP-3415): its events are EventOccurrences."""

    expires: float = 0.0
    """In unix seconds; 0: never."""

    @property
    def durable(self) -> str:
        """The durable that keeps its position."""
        return durable_of_hook(self.id)

    def pack(self) -> bytes:
        """Return the stored entry."""
        return orjson.dumps(asdict(self))

    def alive(self, now: float) -> bool:
        """Return whether it has not expired."""
        return not self.expires or now < self.expires

    def valid_secrets(self, now: float) -> list[str]:
        """Return the secrets that sign at `now`."""
        return valid_secrets(self.secrets, now)

    def rotated(self, text: str, until: float) -> Endpoint:
        """Return it with a new secret; the one before signs as well until `until`."""
        return replace(self, secrets=rotated_secrets(self.secrets, text, until))

    def to_wire(self) -> dict[str, Any]:
        """Return its fields without the secrets, for output."""
        fields = asdict(self)
        del fields["secrets"]
        return fields


def durable_of_hook(endpoint_id: str) -> str:
    """Return the name of the durable that keeps an endpoint's position."""
    return f"hook_{endpoint_id}"


def parse_endpoint(raw: bytes) -> Endpoint:
    """Return the endpoint in a stored entry.

    Raises:
        WireError: malformed.
    """
    try:
        fields = orjson.loads(raw)
        fields["secrets"] = tuple(WebhookSecret(**secret) for secret in fields["secrets"])
        fields["columns"] = None if fields["columns"] is None else tuple(fields["columns"])
        return Endpoint(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise WireError("Malformed webhook endpoint", reason=str(error)) from error


def parse_endpoint_id(text: str) -> str:
    """Return the id of an endpoint. Raises WireError if it is malformed."""
    if not _ID.match(text):
        raise WireError("Invalid endpoint id: expected 22 characters of base64url, as `webhooks ls` prints them")
    return text


def subscription_id(principal: str, feed: str, url: str) -> str:
    """Return the id of an MCP client's endpoint: the same for the same arguments, so that subscribing is idempotent."""
    return encode_id(sha256(b"\0".join(part.encode() for part in (principal, feed, url))).digest()[:16])
