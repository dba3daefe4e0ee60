"""The port of a participant's connection to one session: requests, and the events that the session sends.

A request that may change something has the member `request`: 22 random characters. The first entry that it leads to has
the same in its content. Clients repeat a request whose answer was lost, and the session answers a repeated one with the
revision of that entry (`{"revision", "repeated": true}`), without applying it again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.sessions.entries import Entry
from broker_plane.wire.presigned_errors import error_of_fields


@dataclass(frozen=True, slots=True)
class EntriesAdded:
    """Entries that were stored, in order. An event may repeat entries that an earlier one had."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """Where participants are: `{id, name, at, state, since}` each."""

    present: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """Events may be missing here, because the connection broke or this reader was too slow: read the log."""


@dataclass(frozen=True, slots=True)
class AccessEnded:
    """The last event: the grant does not open the session any more."""

    error: BrokerPlaneError


SessionEvent = EntriesAdded | PresenceChanged | EventsMissed | AccessEnded


class SessionChannel(Protocol):
    """One participant's connection to one session. It reconnects by itself."""

    shows_presence: bool
    """Whether the others see that the participant is here as long as it is connected; otherwise it has to say so."""

    greeting: Mapping[str, Any] | None
    """The answer to `join`, without the artifact, if connecting has joined the session."""

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request (docs/reference/wire-protocol.md) and return its answer.

        A request with the member `request` may be sent again if the connection breaks: the session applies it once.

        Raises:
            BrokerPlaneError: the session refused it; nothing was applied.
            BrokerUnavailableError: no answer came in time; it is unknown whether it was applied.
        """

    def events(self) -> AsyncGenerator[SessionEvent, None]:
        """Yield what the session sends, for one reader. After AccessEnded nothing follows."""


def answer_of(fields: Any) -> dict[str, Any]:
    """The members of an answer.

    Raises:
        BrokerPlaneError: the answer is an error, or no answer of a session.
    """
    if not isinstance(fields, dict):
        raise WireError("The answer does not come from a session")
    if "error" in fields:
        raise error_of_fields(fields["error"])
    found = fields.get("ok", fields)
    if not isinstance(found, dict):
        raise WireError("The answer does not come from a session")
    return found
