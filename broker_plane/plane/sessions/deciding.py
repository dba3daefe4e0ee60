"""Decides requests on the newest revision of a session: prepares what the rules read, and runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from secrets import token_bytes
from typing import Final, cast

from broker_plane.errors import NotValidError, RevisionNotFoundError, TooLargeError
from broker_plane.plane.fairness.shares import Payer
from broker_plane.plane.fairness.work import SMALL, Work
from broker_plane.plane.sessions.past import LogPage, PastNeeded
from broker_plane.plane.sessions.tip import Tip
from broker_plane.plane.sessions.validation import SessionValidators, first_refusal
from broker_plane.sessions.closing import reverted
from broker_plane.sessions.decisions import Decision, Past, no_claim
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.requests import LogRequest, Request, UpdateRequest
from broker_plane.sessions.rules import decide, needs
from broker_plane.wire.names import argument_id

_VALUE_BYTES: Final = 16
"""Bytes of an artifact that count as one value in `Work`."""

_ENTRY_COST: Final = 4_096
"""What applying one entry of the log again counts as: about half a millisecond."""

_OPERATION_COST: Final = 512
"""What bringing an operation over one later one counts as, in a session of `ot`."""

_COMPUTING: Final = frozenset({"propose", "rollback", "undo", "accept", "decide", "confirm", "show", "join", "diff"})
"""Operations that read or compare whole artifacts."""

_MOST_LOADS: Final = 64


class Decider:
    """Runs the rules for one session. `now` is in unix seconds."""

    def __init__(
        self, tip: Tip, *, owner: str, now: Callable[[], float], work: Work, validators: SessionValidators
    ) -> None:
        self._tip = tip
        self._owner = owner
        self._now = now
        self._work = work
        self._validators = validators
        self.claimed: Callable[[int], str] = no_claim
        """Which participant has shown a Yjs client id as its own, by its awareness; empty for none."""

    async def prepare(self, request: Request) -> None:
        """Load what the rules will read of the past, so that deciding need not wait for it."""
        need = needs(self._tip.state, request)
        past = self._tip.past
        with suppress(RevisionNotFoundError, TooLargeError):  # deciding says so again
            if need.entries_after is not None and not isinstance(request, LogRequest):
                await past.load(PastNeeded(after=need.entries_after))
            for revision in need.values:
                await past.load(PastNeeded(revision=revision))

    async def decide(self, request: Request, who: Participant) -> Decision:
        """What a request leads to. Raises as `rules.decide`, and BrokerUnavailableError."""
        tip = self._tip
        folded, past = tip.folded, cast("Past", tip.past)
        if isinstance(request, LogRequest):  # it reads stored entries only, so that it need not wait for a write
            past = LogPage(await tip.past.page(request.after, request.limit))
            folded = Folded(tip.state, folded.replica)
        run = partial(decide, folded, request, who, now=self._now(), past=past, new_id=_new_id, claimed=self.claimed)
        for _ in range(_MOST_LOADS):
            try:
                return await self._do(self._cost(request), who, run)
            except PastNeeded as need:
                await tip.past.load(need)
        raise TooLargeError("This reads too much of the session's past; name later revisions")

    async def _do(self, cost: int, who: Participant, run: Callable[[], Decision]) -> Decision:
        """Run the rules; if they are cancelled, not before a thread that works on the session has ended."""
        work = self._work.of(Payer(self._owner, who.id)).do(cost, run)
        if cost <= SMALL:
            return await work
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody else asks for it
            raise

    async def draft(self, decision: Decision) -> NotValidError | None:
        """Fold the drafts of a decision, and those that take them back if a validator refuses the artifact.

        An operation and its revert are stored together, so nobody ever sees the first one alone.
        """
        tip = self._tip
        if not (self.validates and any(entry.change is not None for entry in decision.drafts)):
            tip.draft(decision.drafts)
            return None
        before = tip.folded.value if tip.state.sync == "crdt" else tip.folded.copy().value
        for entry in decision.drafts:
            tip.draft([entry])
            if entry.change is not None and (refused := await self._refused(before)) is not None:
                return refused
        return None

    def _cost(self, request: Request) -> int:
        """What deciding a request costs, in values of `Work`. A thread that works on the session has it to itself:
        whoever decides anything but a request to log holds the turn of the writer.
        """
        state = self._tip.state
        match request:
            case LogRequest(limit=limit):
                return limit
            case UpdateRequest(change=bytes(change)):
                return len(change)
            case UpdateRequest(base=int(base)):
                return max(0, state.revision - base) * _OPERATION_COST
        if request.do not in _COMPUTING:
            return 0
        after = needs(state, request).entries_after
        replayed = 0 if after is None else state.revision - after
        return self._tip.folded.replica.size // _VALUE_BYTES + replayed * _ENTRY_COST

    @property
    def validates(self) -> bool:
        """Whether the policy has validators, so that operations are decided one by one."""
        return bool(self._tip.state.policy.validators)

    async def _refused(self, before: object) -> NotValidError | None:
        state = self._tip.folded.state
        refusal = await first_refusal(self._validators, state.policy, state.kind, self._tip.folded.value)
        if refusal is None:
            return None
        revert: Entry = reverted(self._tip.folded, before, refusal.validator, refusal.reason, now=self._now())
        self._tip.draft([revert])
        error = NotValidError(
            f"The validator {refusal.validator} refused the change, so it was reverted: {refusal.reason}"
        )
        error.revision = revert.revision
        return error


def _new_id() -> str:
    return argument_id(token_bytes(9))
