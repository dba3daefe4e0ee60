"""A SessionChannel in memory: a log to which a test appends, and events that a test may lose or repeat."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.sessions.channel import AccessEnded, EntriesAdded, SessionEvent
from broker_plane.plane.sessions.event_queue import EventQueue
from broker_plane.sessions.entries import Entry, EntryKind


class MemoryChannel:
    """The log begins with the creation of a text."""

    shows_presence = True
    greeting: Mapping[str, Any] | None = None

    def __init__(self, sync: str = "patch") -> None:
        self.log = [entry(1, "created", value="")]
        self.requests: list[Mapping[str, Any]] = []
        self.sync = sync
        self.role = "editor"
        self._queue = EventQueue()

    def say(self, kind: EntryKind = "operation", *, heard: bool = True, **content: Any) -> Entry:
        """Append an entry; with `heard`, the reader gets it as an event."""
        added = entry(len(self.log) + 1, kind, **content)
        self.log.append(added)
        if heard:
            self._queue.put(EntriesAdded((added,)))
        return added

    def put(self, event: SessionEvent) -> None:
        self._queue.put(event)

    def end(self, error: BrokerPlaneError) -> None:
        self._queue.put(AccessEnded(error))

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        self.requests.append(fields)
        match fields["do"]:
            case "log":
                found = [each for each in self.log if each.revision > fields["after"]][: fields.get("limit", 100)]
                return {"entries": [each.to_json() for each in found], "revision": len(self.log)}
            case "join":
                you = {"id": "anna-1", "name": "anna", "role": self.role}
                return {"session": "s", "revision": len(self.log), "kind": "text", "sync": self.sync, "you": you}
            case "lease":
                return {"lease": "l1", "until": 1.0, "revision": self.say("leased", lease="l1", heard=False).revision}
            case "update" | "propose":
                return {"revision": self.say(heard=False, **fields).revision}
        return {}

    def events(self) -> AsyncGenerator[SessionEvent, None]:
        return self._queue.read()

    def asked(self, do: str) -> list[Mapping[str, Any]]:
        return [fields for fields in self.requests if fields["do"] == do]


def entry(revision: int, kind: EntryKind = "operation", participant: str = "bert-2", **content: Any) -> Entry:
    return Entry(
        revision=revision, at=float(revision), participant=participant, role="editor", kind=kind, content=content
    )
