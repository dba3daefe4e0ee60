"""What the rules are given and what they return: one request being decided, and the entries that it leads to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from broker_plane.errors import RevisionNotFoundError, TooLargeError
from broker_plane.sessions import text_ops
from broker_plane.sessions.entries import Entry, EntryKind
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.policy import Policy
from broker_plane.sessions.replicas.port import Value
from broker_plane.sessions.state import SessionState

_ALWAYS: Final = frozenset({"left", "released", "confirmed"})
"""Entries that are not refused when the session has as many as its policy allows. Those who are present bound them."""


def is_invertible(state: SessionState) -> bool:
    """Whether the changes of a session say what they removed, so that they can be undone without the past."""
    return state.kind == "text" and state.sync != "crdt"


def no_claim(client: int) -> str:
    """The claims on Yjs client ids where nothing is known of awareness."""
    return ""


MOST_JOINS: Final = 200
"""How often one participant is recorded as joining a session."""


class Past(Protocol):
    """The log of a session up to its newest revision, as far as the rules read it (`rules.needs` says how far)."""

    def entries(self, after: int) -> Sequence[Entry]:
        """The entries after a revision: all, or up to the last one that `rules.needs` names."""

    def value_at(self, revision: int) -> Value:
        """The artifact at a revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a request leads to: entries to store, together, right after the revision that it was decided on.

    Their revisions are those that they get then. If another entry was stored meanwhile, the request has to be decided
    again. The answer holds as soon as they are stored.
    """

    drafts: tuple[Entry, ...] = ()
    answer: Mapping[str, Any] = field(default_factory=dict)
    presence: Mapping[str, Any] | None = None
    """What to tell on the subject of presence, without storing it: `{id, name, at, state}`."""
    closing: str | None = None
    """Why the session has to be closed now; the caller publishes the artifact and stores what `closing.closed` drafts.
    Then `{"revision", "sha256", "resource_url"}` belong to the answer."""


class Turn:
    """One request of one participant, being decided. `say` collects the entries that it leads to."""

    def __init__(
        self,
        folded: Folded,
        who: Participant,
        intent: str,
        *,
        now: float,
        past: Past,
        new_id: Callable[[], str],
        request: str = "",
        claimed: Callable[[int], str] = no_claim,
    ) -> None:
        """`request` is the client's id of the request, which its entries keep.

        `claimed` says which participant has shown a Yjs client id as its own before using it; empty for none.
        """
        self.folded = folded
        self.who = who
        self.intent = intent
        self.now = now
        self.past = past
        self.new_id = new_id
        self.claimed = claimed
        self._request = request
        self._drafts: list[Entry] = []
        self._bases: dict[int, Value] = {}

    @property
    def state(self) -> SessionState:
        return self.folded.state

    @property
    def policy(self) -> Policy:
        return self.folded.state.policy

    @property
    def revision(self) -> int:
        """The newest revision, counting the entries of this turn."""
        return self.state.revision + len(self._drafts)

    def say(self, kind: EntryKind, content: Mapping[str, Any], *, base: int = 0) -> int:
        """Draft an entry of this participant, who joins if it has not; return its revision.

        Raises:
            TooLargeError: the session has as many entries or participants as its policy allows.
        """
        if kind not in ("joined", "left") and not self._drafts and self.has_to_join():
            self.join()
        limit = self.policy.limits.entries
        if kind not in _ALWAYS and self.revision >= limit:
            raise TooLargeError(f"The session has {limit} entries, the limit of its policy (limits.entries); close it")
        self._drafts.append(
            Entry(
                revision=self.revision + 1,
                at=self.now,
                participant=self.who.id,
                role=self.who.role,
                intent=self.intent,
                base=base,
                kind=kind,
                content={**content, "request": self._request} if self._request and kind != "joined" else content,
            )
        )
        return self.revision

    def has_to_join(self, *, with_intent: bool = False) -> bool:
        """Whether the participant is to be recorded as present, or, if asked for, with another intent than before.

        One that comes and goes all the time is not recorded any more, so that it cannot fill the log.
        """
        found = self.state.participants.get(self.who.id)
        if found is None:
            return not self.state.is_present(self.who.id)
        is_other = not found.present or (with_intent and found.intent != self.intent)
        return is_other and found.joins < MOST_JOINS

    def join(self) -> None:
        """Draft that the participant joined."""
        state, who = self.state, self.who
        most = self.policy.limits.participants
        places = most // 2 if who.role == "observer" else most  # names cost nothing, and editors need a place
        if who.id not in state.participants and len(state.participants) >= max(1, places):
            raise TooLargeError(f"The session has {most} participants, the limit of its policy (limits.participants)")
        verified = {} if self.policy.anonymous else {"verified": who.verified}
        self.say("joined", {"name": who.name, "type": who.type, **verified})

    def decision(self, answer: Mapping[str, Any], **more: Any) -> Decision:
        """The decision with the entries that were drafted."""
        return Decision(drafts=tuple(self._drafts), answer=answer, **more)

    def check_revision(self, revision: int, member: str) -> None:
        """Raise RevisionNotFoundError unless the session has this revision."""
        if not 1 <= revision <= self.state.revision:
            raise RevisionNotFoundError(
                f"`{member}`: the session has the revisions 1 to {self.state.revision}, and not {revision}"
            )

    def value_at(self, revision: int) -> Value:
        """The artifact at a revision that exists."""
        return self.folded.value if revision >= self.state.changed else self.past.value_at(revision)

    def base_value(self, revision: int) -> Value:
        """The artifact at the base of an edit. Of a text it is computed back from the newest one, without a replay."""
        if not is_invertible(self.state):
            return self.value_at(revision)
        if revision not in self._bases:
            value = self.folded.value
            for entry in reversed(self.since(revision)):
                value = text_ops.apply(text_ops.invert(entry.change), value)
            self._bases[revision] = value
        return self._bases[revision]

    def since(self, revision: int) -> list[Entry]:
        """The entries after a revision that changed the artifact."""
        if revision >= self.state.changed:
            return []
        return [entry for entry in self.past.entries(revision) if entry.change is not None]
