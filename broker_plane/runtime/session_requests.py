"""What a participant asks of a session, one method an operation (docs/sessions.md), over any channel."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from broker_plane.runtime.session_view import Fields, SessionView, session_view
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.entry_json import entry_of
from broker_plane.sessions.roles import OPERATIONS, Access
from broker_plane.wire.names import encode_id

Region = Mapping[str, Any] | None
"""`{"start", "end"}` in code points of the base revision, `{"path"}` as a JSON Pointer, or None for the whole."""
Choice = Literal["ours", "theirs"] | Mapping[str, Any]
"""A side of a conflict, or `{"edit": …}`."""

_IDEMPOTENT = frozenset({"present"})
"""Operations of which a repeated one changes nothing; so do those that only read."""


class RequestSender(Protocol):
    """Sends a request and returns its answer, as `SessionChannel.request`."""

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """What a participant says of itself. The grant may fix its name and intent."""

    name: str = ""
    type: Literal["agent", "human"] = "agent"
    intent: str = ""


@dataclass(frozen=True, slots=True)
class Proposed:
    """An edit that was applied, or that became a conflict."""

    revision: int
    merged: bool
    """Whether it was merged with edits that its base did not have."""
    stale: bool
    """Whether the artifact had changed since the base; `diff` says how."""
    diff: str
    conflict: Fields | None
    """`{id, status, winner}` if it overlaps another edit."""


@dataclass(frozen=True, slots=True)
class SessionLease:
    """A region that a participant edits, until `until` (unix seconds)."""

    id: str
    until: float


class ParticipantRequests:
    """The requests of one participant.

    Every method raises SessionError, ForbiddenError or WireError if the session refuses the request: nothing was
    applied. BrokerUnavailableError says that the outcome is unknown.
    """

    def __init__(self, channel: RequestSender, who: SessionIdentity) -> None:
        self._channel = channel
        self.who = who

    async def ask(self, do: str, given: Fields | None = None, /, **members: Any) -> dict[str, Any]:
        """Send a request with the members `given`, and those of `members` that are not None; return its answer."""
        fields = {"do": do, **(given or {}), **{name: value for name, value in members.items() if value is not None}}
        if self.who.name:
            fields["name"] = self.who.name
        if do != "note":  # its type is that of the note
            fields["type"] = self.who.type
        if self.who.intent and do != "undo":  # its intent is the one to undo
            fields.setdefault("intent", self.who.intent)
        if OPERATIONS[do] is not Access.READ and do not in _IDEMPOTENT:
            fields["request"] = encode_id(secrets.token_bytes(16))
        return await self._channel.request(fields)

    async def read(self, revision: int | None = None) -> SessionView:
        """Return the artifact at a revision, by default the newest."""
        return session_view(await self.ask("show", revision=revision))

    async def log(self, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` (at most 500) entries after a revision."""
        answer = await self.ask("log", after=after, limit=limit)
        return [entry_of(each) for each in answer.get("entries") or ()]

    async def diff(self, start: int, end: int | None = None) -> str:
        """Return what changed from one revision to another, as a unified diff."""
        return str((await self.ask("diff", **{"from": start, "to": end})).get("diff", ""))

    async def propose(
        self,
        base: int | SessionView,
        intent: str = "",
        region: Region = None,
        edit: Any = None,
        *,
        message: str = "",
        stale: Literal["report", "merge"] | None = None,
    ) -> Proposed:
        """Edit a region of the artifact as it was at `base`: a revision, or what `read` returned.

        `edit` is a text or a value that replaces the region, None to delete it, or an object: `{"text"}`, `{"value"}`,
        `{"ops"}`, `{"patch"}` (RFC 6902) or `{"diff"}`. With `stale="report"` an edit on an old base is refused with
        the diff since; with "merge" it is merged. The default is "merge" for the sync `patch`, else "report".

        Raises:
            StaleBaseError: read its `diff`, and propose again on its `revision`.
            RegionLeasedError: another participant edits the region.
        """
        seen = base.revision if isinstance(base, SessionView) else base
        members = {"intent": intent or None, "message": message or None, "stale": stale, "region": region}
        answer = await self.ask("propose", {"base": seen, "edit": edit}, **members)
        if answer.get("repeated"):  # the first answer was lost, and with it what was merged
            diff = await self.diff(seen, max(seen, int(answer["revision"]) - 1))
            answer |= {"diff": diff, "stale": bool(diff), "merged": bool(diff) and "conflict" not in answer}
        return Proposed(
            revision=int(answer.get("revision", 0)),
            merged=bool(answer.get("merged")),
            stale=bool(answer.get("stale")),
            diff=str(answer.get("diff") or ""),
            conflict=answer.get("conflict"),
        )

    async def note(
        self,
        type: str,
        text: str,
        *,
        region: Region = None,
        thread: str = "",
        verdict: str = "",
        base: int | None = None,
    ) -> str:
        """Write a constraint, decision, question, answer, reference, verdict or comment; return the note's id.

        `region` anchors it to a part of the artifact as it was at `base` (by default, as it is). `thread` is the id of
        the note that it answers. A verdict has `verdict`: "approve" or "request_changes".
        """
        anchor = {} if region is None else {"anchor": {"region": region}, "base": base}
        answer = await self.ask("note", type=type, text=text, thread=thread or None, verdict=verdict or None, **anchor)
        return str(answer.get("note", ""))

    async def decide(self, conflict: str | Fields, choice: Choice, base: int | SessionView | None = None) -> int:
        """Decide a conflict: "ours" (what the artifact had), "theirs" (the later edit) or `{"edit": …}`.

        `conflict` is its id, or an object that has it. `base` is the newest revision that you have read, or what `read`
        returned; without it you have read no further than the conflict. Returns the revision.

        Raises:
            StaleBaseError: the region has changed since. Read its `diff`, and decide again with its `revision` as base.
        """
        seen = base.revision if isinstance(base, SessionView) else base
        answer = await self.ask("decide", conflict=conflict_id(conflict), choice=choice, base=seen)
        return int(answer.get("revision", 0))

    async def confirm(self) -> tuple[list[str], list[str]]:
        """Confirm that this participant is done. Returns the names that have confirmed, and those still missing.

        The session closes when none is missing.
        """
        answer = await self.ask("confirm")
        if answer.get("repeated"):
            shown = (await self.read()).fields
            confirmed = list(shown.get("confirmed") or ())
            return confirmed, [name for name in shown.get("expected") or () if name not in confirmed]
        return list(answer.get("confirmed") or ()), list(answer.get("missing") or ())

    async def lease(self, region: Region = None, seconds: int = 30) -> SessionLease:
        """Announce that this participant edits a region, for up to 300 seconds."""
        answer = await self.ask("lease", region=region, seconds=seconds)
        return SessionLease(str(answer.get("lease", "")), float(answer.get("until", 0)))

    async def release(self, lease: str | SessionLease) -> None:
        """Give up a lease."""
        await self.ask("release", lease=lease.id if isinstance(lease, SessionLease) else lease)

    async def present(self, at: Fields | None = None, state: Fields | None = None) -> None:
        """Tell the others where this participant is. It is not stored, and renews the leases that it holds."""
        await self.ask("present", at=at, state=state)

    async def rollback(self, revision: int) -> int:
        """Set the artifact back to a revision, as a new one, whose number is returned."""
        return int((await self.ask("rollback", to=revision)).get("revision", 0))

    async def undo(self, *, participant: str = "", intent: str = "", since: int = 0) -> Fields:
        """Propose to undo the revisions of one participant, or of one intent, after `since`.

        Returns `{proposal, diff, revisions}`; `accept` applies it. Raises ChangeError if there is nothing to undo.
        """
        return await self.ask("undo", participant=participant or None, intent=intent or None, since=since or None)

    async def accept(self, proposal: str | Fields) -> int:
        """Apply a proposal, and return the revision. Raises StaleBaseError if it does not fit any more."""
        found = proposal if isinstance(proposal, str) else str(proposal.get("proposal") or proposal.get("id") or "")
        return int((await self.ask("accept", proposal=found)).get("revision", 0))


def conflict_id(conflict: str | Fields) -> str:
    """The id of a conflict: of an entry, of `show`, or of the answer to `propose`."""
    if isinstance(conflict, str):
        return conflict
    return str(conflict.get("conflict") or conflict.get("id") or "")
