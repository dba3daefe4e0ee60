"""The messages of a session's WebSocket, as errors and events."""

from __future__ import annotations

from typing import Any

from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.plane.sessions.channel import EntriesAdded, EventsMissed, PresenceChanged, SessionEvent
from broker_plane.sessions.entry_json import entry_of
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.presigned_errors import error_of_fields


def message_of(raw: str | bytes) -> dict[str, Any]:
    try:
        fields = loads(raw)
    except MALFORMED as error:
        raise WireError("The server at this address is not a bridge with sessions") from error
    if not isinstance(fields, dict):
        raise WireError("The server at this address is not a bridge with sessions")
    return fields


def end_of(fields: dict[str, Any]) -> BrokerPlaneError | None:
    """The error of an `end` event, or of an error that answers no request."""
    if "end" in fields:
        return error_of_fields(fields["end"])
    return error_of_fields(fields["error"]) if "error" in fields and fields.get("id") is None else None


def event_of(fields: dict[str, Any]) -> SessionEvent | None:
    """The event of a message; None if this version does not know it."""
    if isinstance(fields.get("entries"), list):
        return EntriesAdded(tuple(map(entry_of, fields["entries"])))
    if isinstance(fields.get("presence"), list):
        return PresenceChanged(tuple(each for each in fields["presence"] if isinstance(each, dict)))
    return EventsMissed() if "resync" in fields else None
