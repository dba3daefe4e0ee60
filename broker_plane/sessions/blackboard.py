"""The rules of the blackboard: typed notes in threads, on the same log as the artifact. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from broker_plane.errors import SessionError, TooLargeError
from broker_plane.sessions.anchors import quote_of
from broker_plane.sessions.bases import region_now
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.participants import of_one_grant
from broker_plane.sessions.policy import SessionLimits
from broker_plane.sessions.regions import check_region
from broker_plane.sessions.requests import NoteRequest


class _Share(NamedTuple):
    """One `part`-th of the limits, and whose it is."""

    part: int
    whose: str
    words: str


_OF_ALL: Final = _Share(1, "The session has", "")
_OF_ONE: Final = _Share(4, "You have", "a quarter of ")
_OF_GRANT: Final = _Share(2, "The holders of your grant have", "half of ")
"""Names cost nothing, so those who share a grant have a bound as well."""


def note(turn: Turn, request: NoteRequest) -> Decision:
    """Add a note to a thread, or begin one.

    Raises:
        SessionError: there is no such thread.
        ChangeError: the artifact has no such region.
        RevisionNotFoundError: the base of the anchor.
        TooLargeError: the session, the participant or the grant has as many notes as the policy allows.
    """
    state = turn.state
    _check_place(turn, request.text)
    if request.thread and (request.thread not in state.notes or state.notes[request.thread].thread != request.thread):
        raise SessionError(f"There is no thread {request.thread!r}; a thread has the id of its first note")
    identifier = turn.new_id()
    content: dict[str, Any] = {
        "note": identifier,
        "type": request.note_type,
        "text": request.text,
        "thread": request.thread or identifier,
    }
    if request.verdict:
        content["verdict"] = request.verdict
    if request.anchored:
        content["anchor"] = _anchor(turn, request)
    revision = turn.say("noted", content, base=request.base or state.revision)
    return turn.decision({"note": identifier, "thread": content["thread"], "revision": revision})


def _check_place(turn: Turn, text: str) -> None:
    """Raise TooLargeError unless a note with this text has a place.

    Nobody may take all places, because the verdicts of the others need some. The owner of the session may.
    """
    who, limits, tallies = turn.who, turn.policy.limits, turn.state.noted
    size = len(text.encode())
    _check_share(tallies.values(), size, limits, _OF_ALL)
    if not who.is_owner:
        _check_share([tallies.get(who.id, (0, 0))], size, limits, _OF_ONE)
        shared = [tally for key, tally in tallies.items() if of_one_grant(key, who.id)]
        _check_share(shared, size, limits, _OF_GRANT)


def _check_share(tallies: Collection[tuple[int, int]], size: int, limits: SessionLimits, share: _Share) -> None:
    """Raise TooLargeError if the notes of `tallies` and one of `size` bytes are more than a share of the limits."""
    most, most_bytes = max(1, limits.notes // share.part), limits.notes_bytes // share.part
    if (count := sum(count for count, _ in tallies)) >= most:
        raise TooLargeError(f"{share.whose} {count} notes, {share.words}the limit of the policy (limits.notes)")
    if (used := sum(used for _, used in tallies)) + size > most_bytes:
        raise TooLargeError(
            f"{share.whose} notes of {used} bytes, and this one has {size}; {share.words}the limit of the policy "
            f"(limits.notes_bytes) is {most_bytes}"
        )


def _anchor(turn: Turn, request: NoteRequest) -> dict[str, Any]:
    region, kind = request.region, turn.state.kind
    if request.base is None:
        check_region(kind, region, turn.folded.value)
    else:
        turn.check_revision(request.base, "base")
        check_region(kind, region, turn.base_value(request.base))
        region = region_now(turn, region, request.base)
    return {"region": region, "quote": quote_of(kind, region, turn.folded.value)}
