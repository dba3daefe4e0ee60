"""What one participant knows of a session: the answer of `show`, kept up to date by the entries that follow it.

The artifact itself is not part of it; `read` asks for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.sessions.entries import Entry

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionView:
    """An artifact at one revision. `value` is a text, any JSON value, or a list of rows."""

    revision: int
    value: Any
    sha256: str
    """Of its canonical form: UTF-8 text, RFC 8785 JSON, a table's rows in order."""
    kind: str
    sync: str
    status: str
    fields: Fields
    """Everything that `show` answers (docs/sessions.md)."""


def session_view(fields: Fields) -> SessionView:
    """The view in an answer to `show`."""
    return SessionView(
        revision=int(fields.get("revision", 0)),
        value=fields.get("value"),
        sha256=str(fields.get("sha256", "")),
        kind=str(fields.get("kind", "")),
        sync=str(fields.get("sync", "")),
        status=str(fields.get("status", "")),
        fields=fields,
    )


class KnownSession:
    """Participants, notes, conflicts, proposals and leases, as of `revision`."""

    def __init__(self, fields: Fields) -> None:
        """`fields` are an answer to `show` or `join`."""
        self.session_id = ""
        self.revision = 0
        self.reset(fields)

    def reset(self, fields: Fields) -> None:
        """Start again from an answer to `show`."""
        self.session_id = str(fields.get("session", self.session_id))
        self.revision = int(fields.get("revision", 0))
        self.kind, self.sync = str(fields.get("kind", "")), str(fields.get("sync", ""))
        self.status = str(fields.get("status", "open"))
        self.you: Fields = fields.get("you") or {}
        self.result: Fields = fields.get("result") or {}
        self.expected: tuple[str, ...] = tuple(fields.get("expected") or ())
        self.confirmed: list[str] = list(fields.get("confirmed") or ())
        self.participants = _by_id(fields.get("participants"), "id")
        self.conflicts = _by_id(fields.get("conflicts"), "id")
        self.proposals = _by_id(fields.get("proposals"), "id")
        self.leases = _by_id(fields.get("leases"), "lease")
        self.notes = _by_id(fields.get("notes"), "note")
        self.notes_left_out = int(fields.get("notes_left_out") or 0)

    def add(self, entry: Entry) -> None:
        """Take in the entry after `revision`."""
        self.revision = entry.revision
        change = _CHANGES.get(entry.kind)
        if change is not None:
            change(self, entry)

    def joined(self, entry: Entry) -> None:
        content = entry.content
        self.participants[entry.participant] = {
            "id": entry.participant,
            "name": content.get("name", ""),
            "role": entry.role,
            "intent": entry.intent,
            "type": content.get("type", ""),
            "joined": entry.at,
            "present": True,
        }

    def left(self, entry: Entry) -> None:
        known = self.participants.get(entry.participant)
        if known is not None:
            self.participants[entry.participant] = {**known, "present": False}
        for lease, fields in list(self.leases.items()):
            if fields.get("participant") == entry.participant:
                del self.leases[lease]

    def operated(self, entry: Entry) -> None:
        self.proposals.pop(str(entry.content.get("proposal", "")), None)

    def proposed(self, entry: Entry) -> None:
        content = entry.content
        self.proposals[str(content.get("proposal"))] = {
            "id": content.get("proposal"),
            "participant": entry.participant,
            "title": content.get("title"),
            "revision": entry.revision,
            "revisions": content.get("revisions"),
        }

    def disagreed(self, entry: Entry) -> None:
        content = entry.content
        if content.get("status", "open") == "open":
            self.conflicts[str(content.get("conflict"))] = {
                "id": content.get("conflict"),
                "revision": entry.revision,
                **{name: content.get(name) for name in ("region", "ours", "theirs", "status")},
            }

    def decided(self, entry: Entry) -> None:
        self.conflicts.pop(str(entry.content.get("conflict")), None)

    def noted(self, entry: Entry) -> None:
        said = {"participant": entry.participant, "role": entry.role, "revision": entry.revision, "at": entry.at}
        self.notes[str(entry.content.get("note"))] = {**_public(entry), **said}

    def leased(self, entry: Entry) -> None:
        said = {"participant": entry.participant, "intent": entry.intent}
        self.leases[str(entry.content.get("lease"))] = {**_public(entry), **said}

    def released(self, entry: Entry) -> None:
        self.leases.pop(str(entry.content.get("lease")), None)

    def agreed(self, entry: Entry) -> None:
        known = self.participants.get(entry.participant, {})
        name = str(known.get("name") or entry.participant)
        if name not in self.confirmed:
            self.confirmed.append(name)

    def closed(self, entry: Entry) -> None:
        content = entry.content
        self.status, self.leases = "closed", {}
        self.result = {name: content.get(name) for name in ("body", "sha256", "media_type")}


_CHANGES = {
    "joined": KnownSession.joined,
    "left": KnownSession.left,
    "operation": KnownSession.operated,
    "proposed": KnownSession.proposed,
    "conflict": KnownSession.disagreed,
    "decided": KnownSession.decided,
    "noted": KnownSession.noted,
    "leased": KnownSession.leased,
    "released": KnownSession.released,
    "confirmed": KnownSession.agreed,
    "closed": KnownSession.closed,
}


def _by_id(listed: Any, name: str) -> dict[str, Fields]:
    """The listed objects by their member `name`."""
    return {str(each.get(name)): each for each in listed or () if isinstance(each, Mapping)}


def _public(entry: Entry) -> Fields:
    """The content without the id of its request, which is only of use to the session."""
    return {name: value for name, value in entry.content.items() if name != "request"}
