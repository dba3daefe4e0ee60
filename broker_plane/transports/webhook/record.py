"""The stored record of a webhook session: all that a session costs while it waits. Pure."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from broker_plane.errors import WireError
from broker_plane.wire.names import encode_id
from broker_plane.wire.webhook_signing import WebhookSecret, rotated_secrets, valid_secrets

SESSION_BYTES = 24
"""Random bytes of a session id."""

_ID = re.compile(r"w[A-Za-z0-9_-]{32}\Z")
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A proven callback. Messages go to `address`, where the name of the URL led when it was proven."""

    url: str
    address: str
    secrets: tuple[WebhookSecret, ...]

    def valid_secrets(self, now: float) -> list[str]:
        """The secrets that sign at `now`."""
        return valid_secrets(self.secrets, now)

    def rotated(self, text: str, until: float) -> Callback:
        """It with a new secret; the one before signs as well until `until`."""
        return replace(self, secrets=rotated_secrets(self.secrets, text, until))

    def __repr__(self) -> str:
        return "Callback(…)"  # its URL may be secret


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSession:
    """A session of MCP over webhooks. Times are in unix seconds."""

    id: str
    server: str
    callback: Callback
    created: float
    used: float
    """The last time that the client showed itself, to within a part of the session's lifetime."""
    caller: str = ""
    """The name of the bearer token that opened it; empty if the front requires none."""
    handshake: tuple[str, ...] = ()
    """The lines `initialize` and `notifications/initialized`; empty in a session of self-contained requests."""
    instance: str = ""
    """The process that has the upstream of the handshake; empty if none has it."""
    asyncmcp: bool = False
    """Whether the client is asyncmcp, which checks no signatures."""

    def pack(self) -> bytes:
        """The stored entry."""
        return orjson.dumps({"format": _FORMAT, **asdict(self)})


def session_id(raw: bytes) -> str:
    """The id of a session: `w`, the carrier's letter, and SESSION_BYTES random bytes."""
    return f"w{encode_id(raw)}"


def is_session_id(text: str) -> bool:
    """Whether a text has the form of a session id."""
    return _ID.match(text) is not None


def parse_session(raw: bytes) -> WebhookSession:
    """The session in a stored entry.

    Raises:
        WireError: malformed, or written by a later version.
    """
    try:
        fields = orjson.loads(raw)
        if fields.pop("format") != _FORMAT:
            raise WireError("This webhook session was stored by another version of broker_plane; upgrade this process")
        fields["callback"] = parse_callback(fields["callback"])
        fields["handshake"] = tuple(fields["handshake"])
        return WebhookSession(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WireError("Malformed webhook session", reason=str(error)) from error


def parse_callback(fields: dict[str, Any]) -> Callback:
    """The callback in the members of a stored entry. Raises KeyError, TypeError: malformed."""
    secrets = tuple(WebhookSecret(**secret) for secret in fields["secrets"])
    return Callback(url=fields["url"], address=fields["address"], secrets=secrets)
