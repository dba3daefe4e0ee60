"""The ids of messages to callbacks: `session:exchange:number`, the same for every attempt. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

from broker_plane.errors import WireError

OWN_MESSAGES = "server"
"""Names the messages of a session that belong to no request, such as `notifications/tools/list_changed`."""

_NEW = re.compile(r"x[0-9a-f]{32,64}\Z", re.ASCII)
_ID = re.compile(r"([A-Za-z0-9_-]{1,64}):([A-Za-z0-9_-]{1,64}):([1-9][0-9]{0,14})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class MessageId:
    """Names one message. `number` counts the messages of an exchange, from 1."""

    session: str
    exchange: str
    number: int

    def __str__(self) -> str:
        return f"{self.session}:{self.exchange}:{self.number}"


def exchange_of(key: str) -> str:
    """The exchange of a request with this idempotency key, within its session: client and front know it alike."""
    return f"k{sha256(key.encode()).hexdigest()[:39]}"


def new_exchange(entropy: bytes) -> str:
    """An exchange without a key. `entropy` are at least 16 random bytes."""
    return f"x{entropy.hex()}"


def parse_new_exchange(text: str) -> str:
    """An exchange that a client has named itself, so that it can repeat a POST whose answer it did not get.

    Raises:
        WireError: malformed.
    """
    if not _NEW.match(text):
        raise WireError("An exchange id is x and 32 to 64 hexadecimal digits")
    return text


def is_kept(exchange: str) -> bool:
    """Whether an exchange is kept after its answer was accepted: somebody may repeat its key."""
    return not exchange.startswith("x")


def parse_message_id(text: str) -> MessageId:
    """The id in a webhook-id header.

    Raises:
        WireError: malformed.
    """
    found = _ID.match(text)
    if found is None:
        raise WireError("webhook-id is session:exchange:number")
    return MessageId(found[1], found[2], int(found[3]))
