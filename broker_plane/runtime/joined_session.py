"""A session that this process takes part in: `plane.sessions.join` gives it for a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import anyio

from broker_plane.errors import BrokerPlaneError, SessionError, WireError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.sessions.channel import SessionChannel
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.session_history import SessionHistory
from broker_plane.runtime.session_requests import ParticipantRequests, Region, SessionIdentity, SessionLease
from broker_plane.runtime.session_view import Fields, KnownSession
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.roles import may

if TYPE_CHECKING:
    from broker_plane.runtime.session_document import SessionDocument
    from broker_plane.sessions.replicas.port import ArtifactKind

log = redacted_logger(__name__)

_LEAVE_SECONDS = 3.0
_PRESENT_SECONDS = 10.0
"""A participant of whom nothing is heard for 30 seconds counts as gone."""

_RENEWALS = 3
"""A lease is renewed this often within its time."""


class JoinedSession(ParticipantRequests):
    """Takes part in a session; the properties are live.

    A request that returns a revision returns after `conflicts`, `notes` and the others have it.
    """

    def __init__(self, channel: SessionChannel, who: SessionIdentity) -> None:
        super().__init__(channel, who)
        self._live = channel
        self._known = KnownSession({})
        self._history = SessionHistory(channel, super().ask, self._known)
        self._joined = 0
        self._held: dict[str, int] = {}
        self._place: Fields = {}
        self._was_present = False
        self._leases_changed = asyncio.Event()
        self._document: SessionDocument | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    @property
    def session_id(self) -> str:
        return self._known.session_id

    @property
    def you(self) -> Fields:
        """This participant: `{id, name, role, intent}`."""
        return self._known.you

    @property
    def kind(self) -> str:
        """text, json or table."""
        return self._known.kind

    @property
    def sync(self) -> str:
        """crdt, patch or ot."""
        return self._known.sync

    @property
    def revision(self) -> int:
        """The newest revision that this process has heard of."""
        return self._known.revision

    @property
    def status(self) -> str:
        """open or closed."""
        return self._known.status

    @property
    def participants(self) -> list[Fields]:
        """Everybody who has joined: `{id, name, role, intent, type, joined, present}`."""
        return list(self._known.participants.values())

    @property
    def presence(self) -> list[Fields]:
        """Where participants are, as they last said: `{id, name, at, state, since}`."""
        return list(self._history.present.values())

    @property
    def conflicts(self) -> list[Fields]:
        """The open conflicts, oldest first."""
        return list(self._known.conflicts.values())

    @property
    def proposals(self) -> list[Fields]:
        """The proposals that nobody has accepted."""
        return list(self._known.proposals.values())

    @property
    def notes(self) -> list[Fields]:
        """The notes of the blackboard, oldest first. An anchor is where it was written; `read` has where it is now.

        Of those before this participant joined, those that fit into one answer; `notes_left_out` counts the others.
        """
        return list(self._known.notes.values())

    @property
    def notes_left_out(self) -> int:
        """How many notes are not in `notes`; each of them is an entry `noted` of `entries(after=0)`."""
        return self._known.notes_left_out

    @property
    def leases(self) -> list[Fields]:
        """The regions that participants edit."""
        return list(self._known.leases.values())

    @property
    def confirmed(self) -> list[str]:
        """The names of those who have confirmed."""
        return list(self._known.confirmed)

    def entries(self, after: int | None = None) -> AsyncGenerator[Entry, None]:
        """Yield every entry after a revision, in order and each once, then each new one, up to the session's end.

        The default is the revision at which this participant joined. Connections may break in between.
        """
        return self._history.entries(self._joined if after is None else after)

    def document(self) -> SessionDocument:
        """Return a live pycrdt document of the session, which is the same at each call; only for the sync `crdt`.

        It fills while this task waits: `await document.synchronized()` waits until it is complete. Local changes of an
        editor are sent. After a refused change, the next call makes a new document.

        Raises:
            WireError: the session has another sync protocol, or this is called outside of its event loop.
        """
        if self._loop is not _running_loop():
            raise WireError("A live document belongs to an event loop: use it with asyncio, or use read and propose")
        if self.sync != "crdt":
            raise WireError(f"This session synchronizes by {self.sync}; only crdt has a document. Use read and propose")
        if self._document is None or self._document.error is not None:
            from broker_plane.runtime.session_document import SessionDocument  # pycrdt takes a moment to load

            document = self._document = SessionDocument(
                cast("ArtifactKind", self.kind), self._update if self._may("update") else None
            )
            self._run(self._feed_document(document))
            self._run(document.send_changes())
        return self._document

    async def ask(self, do: str, given: Fields | None = None, /, **members: Any) -> dict[str, Any]:
        answer = await super().ask(do, given, **members)
        revision = answer.get("revision")
        if type(revision) is int and do not in ("show", "log", "diff"):
            await self._history.reach(revision)
        return answer

    async def lease(self, region: Region = None, seconds: int = 30) -> SessionLease:
        """Announce that this participant edits a region. It is renewed until it is released or the block ends."""
        made = await super().lease(region, seconds)
        self._held[made.id] = seconds
        self._leases_changed.set()
        return made

    async def release(self, lease: str | SessionLease) -> None:
        self._held.pop(lease.id if isinstance(lease, SessionLease) else lease, None)
        await super().release(lease)

    async def present(self, at: Fields | None = None, state: Fields | None = None) -> None:
        """Tell the others where this participant is, now and until the next call."""
        self._place = {"at": at, "state": state}
        await super().present(at, state)

    async def join(self) -> None:
        """Join, and follow the session from now on."""
        answer = self._live.greeting or await super().ask("join", value=False)
        self._known.reset(answer)
        self._joined = self._known.revision
        self._run(self._history.listen())
        if self._may("present"):
            self._run(self._stay_present())

    async def leave(self) -> None:
        """End what runs, and release what this participant holds; a session that does not answer releases it later."""
        self._history.end()
        with anyio.move_on_after(_LEAVE_SECONDS, shield=True), suppress(BrokerPlaneError):
            if self._history.ended is None:
                await super().ask("leave")
        for task in self._tasks:
            await cancel_and_forget(task)

    def _may(self, operation: str) -> bool:
        role = self.you.get("role")
        return role in ("editor", "reviewer", "observer", "owner") and may(role, operation)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._done)
        self._tasks.append(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        """Raise to readers what ended a task that runs for the whole time; they would wait forever."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        log.warning("Following a session failed: %r", error)
        if not isinstance(error, BrokerPlaneError):
            error = SessionError("This session cannot be followed; see the log", reason=repr(error))
        self._history.end(error)

    async def _stay_present(self) -> None:
        """Say again and again that this participant is here: otherwise it counts as gone, and its leases expire."""
        while True:
            self._leases_changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._present_seconds()):
                    await self._leases_changed.wait()
                    continue
            with suppress(BrokerPlaneError):  # the next turn tries again
                await super().ask("present", **self._place)
            self._was_present = True

    def _present_seconds(self) -> float | None:
        """The time until the next word; None if the connection says everything."""
        if self._held:
            return min(_PRESENT_SECONDS, *(each / _RENEWALS for each in self._held.values()))
        if self._live.shows_presence:
            return None
        return _PRESENT_SECONDS if self._was_present else 0

    async def _update(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self.ask("update", **fields)

    async def _feed_document(self, document: SessionDocument) -> None:
        """Replay the log into the document, and follow it. Yjs needs all of its changes, not only the last value."""
        target = self.revision
        try:
            async with aclosing(self._history.entries(0)) as entries:
                async for entry in entries:
                    await document.take(entry)
                    if entry.revision >= target:
                        document.loaded()
        except BrokerPlaneError as error:
            document.fail(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


@asynccontextmanager
async def joined(channel: SessionChannel, who: SessionIdentity) -> AsyncIterator[JoinedSession]:
    """Take part in the session behind `channel`, for the block."""
    session = JoinedSession(channel, who)
    try:
        await session.join()
        yield session
    finally:
        await session.leave()
