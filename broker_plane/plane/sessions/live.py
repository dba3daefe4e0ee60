"""A session that runs in this process: it decides requests, stores them as groups, and notifies its followers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, suppress
from time import monotonic
from typing import Any, Final

from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    IntentError,
    SessionClosedError,
    WireError,
)
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.sessions.closing import Closing
from broker_plane.plane.sessions.deciding import Decider
from broker_plane.plane.sessions.followers import Follower
from broker_plane.plane.sessions.granted import SessionGrant
from broker_plane.plane.sessions.hearers import Hearers
from broker_plane.plane.sessions.minding import Minder
from broker_plane.plane.sessions.ports import Group
from broker_plane.plane.sessions.presence import Presence, awareness_message
from broker_plane.plane.sessions.rates import RequestRates
from broker_plane.plane.sessions.snapshots import Snapshots
from broker_plane.plane.sessions.tip import Tip
from broker_plane.plane.sessions.tools import SessionTools
from broker_plane.plane.sessions.writing import GroupWriter
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.sessions.decisions import Decision
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant, ParticipantType, parse_name, participant_id
from broker_plane.sessions.request_parser import parse_request
from broker_plane.sessions.requests import LogRequest, Request
from broker_plane.sessions.state import SessionState

log = redacted_logger(__name__)

READING: Final = frozenset({"show", "log", "diff"})
"""Operations that store nothing."""

_ENDED: Final = "This process does not serve the session any more; try again"


class LiveSession:
    """One session in one process; get it from `SessionHost.open`."""

    def __init__(self, session: str, owner: str, tip: Tip, tools: SessionTools) -> None:
        self.session = session
        self.owner = owner
        self._tip = tip
        self._tools = tools
        policy = tip.state.policy
        self._decider = Decider(tip, owner=owner, now=tools.now, work=tools.work, validators=tools.validators)
        self._closing = Closing(session, tip, tools.log, tools.results, owner)
        self._writer = GroupWriter(session, tip, tools.log, self._decider, self._closing)
        self._snapshots = Snapshots(session, tip, tools.log, self._writer, tools.holder, tools.snapshot_entries)
        self._rates = RequestRates(policy.limits.operations_per_second, monotonic)
        self._hearers = Hearers(session, tools.log, Presence(tools.now), lambda: tip.state.revision)
        self._minder = Minder(tip, tools, self._writer, self._closing, self._snapshots, self._hearers)
        self._tasks: set[asyncio.Task[None]] = set()
        tip.on_stored = self._stored

    def start(self) -> None:
        """Begin to follow the log and to write."""
        for run in (self._writer.run, self._hear, self._hearers.hear, self._minder.run):
            self._spawn(run())

    @property
    def has_ended(self) -> bool:
        """Whether this process serves the session no more; it can be opened again."""
        return self._writer.has_ended

    @property
    def state(self) -> SessionState:
        """The state after the newest stored entry that this process has read."""
        return self._tip.state

    @property
    def revision(self) -> int:
        """The revision of `state`."""
        return self._tip.state.revision

    def settled(self) -> AbstractAsyncContextManager[Folded]:
        """State and replica at a moment when everything in them is stored. No write begins before the block ends.

        Read them briefly and change nothing. A follower that is opened in the block gets exactly the later entries.
        """
        return self._writer.settled()

    def admit(
        self, granted: SessionGrant, *, name: str = "", type: ParticipantType = "agent", intent: str = ""
    ) -> Participant:
        """The participant that a holder of `granted` is: its verified name, else the one that it gives itself.

        Raises:
            WireError: name or type are malformed.
            IntentError: the grant is for another intent, or the policy does not allow it to this role.
        """
        if type not in ("agent", "human"):
            raise WireError("`type` of a participant must be agent or human")
        if granted.intent and intent not in ("", granted.intent):
            raise IntentError(f"The grant is for the intent {granted.intent}, not for {intent[:40]!r}")
        if wanted := granted.intent or intent:
            self.state.policy.intent_of(granted.role, wanted)
        called = granted.participant or parse_name(name)
        return Participant(
            id=participant_id(called, granted.text),
            name=called,
            role=granted.role,
            intent=wanted,
            type=type,
            verified=bool(granted.participant),
            grant=granted.opened.grant.id,
        )

    def shown(self, who: Participant) -> Participant:
        """The participant as others see it: in an anonymous session under a pseudonym."""
        return self.state.shown(who)

    def ask_claims(self, claimed: Callable[[int], str]) -> None:
        """From now on, ask `claimed` which participant has shown a Yjs client id as its own; empty for none."""
        self._decider.claimed = claimed

    async def ask(self, fields: object, who: Participant | SessionGrant) -> dict[str, Any]:
        """Parse a request and submit it; it says who the holder of a grant is. Raises WireError, and as `submit`."""
        request = parse_request(fields)
        if isinstance(who, SessionGrant):
            who = self.admit(who, name=request.name, type=request.type)
        return await self.submit(request, who)

    async def submit(self, request: Request, who: Participant) -> dict[str, Any]:
        """Carry out any request, `show`, `log` and `diff` as well. The answer comes once the entries are stored.

        Raises:
            SessionError, ForbiddenError, WireError, TooLargeError: it was refused; nothing was stored.
            NotValidError: a validator refused the artifact, so the change was reverted; both are stored.
            RateLimitedError: too many requests of this participant or of its grant, or too many that wait.
            BrokerUnavailableError: the outcome is unknown.
        """
        self.count(who)
        if not who.is_owner and request.do not in READING:
            self._check_time()
        await self._decider.prepare(request)
        if isinstance(request, LogRequest):
            decision = await self._decider.decide(request, who)
        elif request.do in READING:
            async with self.settled():
                decision = await self._decider.decide(request, who)
        else:
            decision = await self._writer.submit(request, who)
        return await self._answer(request, decision)

    def count(self, who: Participant) -> None:
        """Count one request of a participant. Raises RateLimitedError."""
        if not who.is_owner:
            self._rates.take(who.id, who.grant)

    def follow(self, who: Participant | None = None) -> AbstractContextManager[Follower]:
        """The events from now on. While `who` follows, its presence is broadcast. A while after its last follower has
        ended, it leaves the session, which releases its leases.
        """
        shown = None if who is None else self.shown(who)

        def changed(key: str) -> None:
            self._spawn(self._hearers.say_connection(key))
            if who is not None and key not in self._hearers.connected:
                self._spawn(self._minder.vanished(who, key))

        return self._hearers.following(shown, changed)

    async def relay(self, awareness: bytes) -> None:
        """Tell an awareness update of y-protocols to everybody who follows, on any bridge; nothing is stored."""
        with suppress(BrokerPlaneError):
            await self._tools.log.present(self.session, awareness_message(awareness))

    async def close(self) -> None:
        """Serve it no more in this process. The session itself goes on."""
        self._end(BrokerUnavailableError(_ENDED, retry_after=1))
        for task in list(self._tasks):
            await cancel_and_forget(task)

    async def _answer(self, request: Request, decision: Decision) -> dict[str, Any]:
        answer = dict(decision.answer)
        if decision.presence is not None:
            await self._hearers.say_present(dict(decision.presence))
        if request.do in ("show", "join"):
            answer["participants"] = [self._with_presence(each) for each in answer["participants"]]
            if "result" in answer:
                with suppress(BrokerPlaneError):  # its keys or its body may be lost
                    answer["result"] = {**answer["result"], "resource_url": await self._closing.result_url()}
        return answer

    def _with_presence(self, each: Mapping[str, Any]) -> dict[str, Any]:
        told = self._hearers.presence.state_of(each["id"])
        more = {} if told is None else {"at": told["at"], "state": told["state"]}
        return {**each, "here": told is not None, **more}

    def _check_time(self) -> None:
        if not self._tools.now() < self.state.created + self.state.policy.seconds:
            raise SessionClosedError(
                "The time of this session is over (seconds of its policy); only its owner closes it"
            )

    def _stored(self, group: Group) -> None:
        self._snapshots.count(group)
        self._hearers.tell_group(group)

    async def _hear(self) -> None:
        """Fold what other processes store."""
        async with aclosing(self._tools.log.follow(self.session, self._tip.sequence)) as groups:
            async for group in groups:
                async with self._writer.turn:
                    self._tip.take(group)

    def _spawn(self, running: Coroutine[Any, Any, None]) -> None:
        """Run a task for as long as this process serves the session; if it fails, the session ends here."""
        task = asyncio.create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None or self.has_ended:
            return
        log.warning("A session ended in this process: %r", error)
        known = error if isinstance(error, BrokerPlaneError) else BrokerUnavailableError(_ENDED, reason=repr(error))
        self._end(known)
        for other in self._tasks:
            other.cancel()

    def _end(self, error: BrokerPlaneError) -> None:
        self._writer.end(error)
        self._hearers.end(error)
