"""A session in memory: requests are decided, and the entries that they lead to are folded at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from broker_plane.sessions.decisions import Decision
from broker_plane.sessions.entries import Entry, pack_entries, unpack_entries
from broker_plane.sessions.folded import Folded, created
from broker_plane.sessions.participants import OWNER, Participant
from broker_plane.sessions.policy import Policy, parse_policy
from broker_plane.sessions.replicas.port import ArtifactKind, Sync, Value
from broker_plane.sessions.request_parser import parse_request
from broker_plane.sessions.roles import Role
from broker_plane.sessions.rules import Needs, decide, needs

SESSION = "AAAAAAAAAAAAAAAAAAAAAA"
SECRET = "BBBBBBBBBBBBBBBBBBBBBB"
NOW = 1_700_000_000.0


def participant(name: str, role: Role = "editor", intent: str = "", *, verified: bool = False) -> Participant:
    return Participant(f"{name}-abcdef", name, role, intent, verified=verified)


ANNA, BOB, EVA = participant("anna"), participant("bob"), participant("eva")
REVIEWER, OBSERVER = participant("rita", "reviewer"), participant("otto", "observer")


class KnownPast:
    """The past of a log in memory. It refuses what `needs` did not ask for, as a process would not have it."""

    def __init__(self, log: Sequence[Entry], changed: int, wanted: Needs) -> None:
        self._log = log
        self._changed = changed
        self._wanted = wanted

    def entries(self, after: int) -> Sequence[Entry]:
        assert self._wanted.entries_after is not None and self._wanted.entries_after <= after
        last = self._wanted.entries_to or len(self._log)
        return [entry for entry in self._log if after < entry.revision <= last]

    def value_at(self, revision: int) -> Value:
        assert revision in self._wanted.values
        return Folded.of(self._log[:revision]).value


class Room:
    """One session with its log; time goes on by a second with each request."""

    def __init__(
        self,
        value: Value = "",
        kind: ArtifactKind = "text",
        sync: Sync = "patch",
        policy: Policy | Mapping[str, Any] | None = None,
    ) -> None:
        known = policy if isinstance(policy, Policy) else parse_policy(policy or {})
        self.log = [created(SESSION, kind, sync, value, known, now=NOW, secret=SECRET)]
        self.folded = Folded.of(self.log)
        self.now = NOW
        self._ids = count(1)

    @property
    def value(self) -> Value:
        return self.folded.value

    @property
    def revision(self) -> int:
        return self.folded.state.revision

    def decide(self, who: Participant, do: str, **members: Any) -> Decision:
        """What a request leads to; nothing is stored."""
        request = parse_request({"do": do, **members})
        past = KnownPast(self.log, self.folded.state.changed, needs(self.folded.state, request))
        return decide(self.folded, request, who, now=self.now, past=past, new_id=lambda: f"id{next(self._ids)}")

    def ask(self, who: Participant, do: str, **members: Any) -> dict[str, Any]:
        """Do it, and return the answer."""
        self.now += 1
        decision = self.decide(who, do, **members)
        self.store(*decision.drafts)
        return dict(decision.answer)

    def store(self, *entries: Entry) -> None:
        for entry in unpack_entries(pack_entries(entries)):
            self.folded.fold(entry)
            self.log.append(entry)

    def edit(self, who: Participant, text: Any, start: int | None = None, end: int | None = None, **more: Any) -> Any:
        """Propose a text for a span, or for the whole, on the newest revision unless `base` is given."""
        region = {} if start is None else {"region": {"start": start, "end": end}}
        return self.ask(who, "propose", **{"base": self.revision, "edit": text, **region, **more})

    def show(self, who: Participant = OWNER, **members: Any) -> dict[str, Any]:
        return dict(self.decide(who, "show", **members).answer)
