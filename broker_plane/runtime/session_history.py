"""The entries of a session as one participant hears them: in order, each once, and without gaps.

The channel may lose or repeat entries when its connection breaks. Missing entries are read from the session's log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import anyio

from broker_plane.errors import BrokerPlaneError, TooLargeError
from broker_plane.plane.sessions.channel import (
    AccessEnded,
    EntriesAdded,
    EventsMissed,
    PresenceChanged,
    SessionChannel,
)
from broker_plane.runtime.session_view import Fields, KnownSession
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.entry_json import entry_of

MOST_KEPT = 256
"""Entries in memory, for readers that follow closely; others read the log."""

_PAGE = 500
_REACH_SECONDS = 0.5
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 2.0

Ask = Callable[..., Awaitable[dict[str, Any]]]
"""`await ask("log", after=…)`, as `ParticipantRequests.ask`."""


class SessionHistory:
    """Follows one session, and keeps `known` up to date."""

    def __init__(self, channel: SessionChannel, ask: Ask, known: KnownSession) -> None:
        self.known = known
        self.present: dict[str, Fields] = {}
        """Where participants are, by id, as they last said."""
        self.ended: BrokerPlaneError | None = None
        """Why nothing more comes, once the access has ended."""
        self._channel = channel
        self._ask = ask
        self._kept: deque[Entry] = deque(maxlen=MOST_KEPT)
        self._catching_up = asyncio.Lock()
        self._changed = asyncio.Event()
        self._left = False
        self._page = _PAGE

    async def listen(self) -> None:
        """Take in what the session sends, until the access ends."""
        async with aclosing(self._channel.events()) as events:
            async for event in events:
                match event:
                    case EntriesAdded(entries):
                        await self._take(entries)
                    case EventsMissed():
                        await self._catch_up_at_last()
                    case PresenceChanged(present):
                        self._note_presence(present)
                    case AccessEnded(error):
                        self.end(error)

    def end(self, error: BrokerPlaneError | None = None) -> None:
        """No entry follows: the participant leaves, or `error` ended its access."""
        self._left, self.ended = True, self.ended or error
        self._notify()

    async def reach(self, revision: int) -> None:
        """Wait until `known` has `revision`, which the session has stored."""
        with anyio.move_on_after(_REACH_SECONDS):
            while self.known.revision < revision and not self._left:
                await self._wait()
        if self.known.revision < revision and not self._left:
            await self._catch_up()

    async def entries(self, after: int) -> AsyncGenerator[Entry, None]:
        """Yield every entry after the revision `after`, then each new one, up to the session's end.

        Raises:
            BrokerPlaneError: the access has ended, or the log cannot be read.
        """
        while True:
            found = self._kept_after(after)
            if found is None:
                found = await self.read(after)
            for entry in found:
                after = entry.revision
                yield entry
                if entry.kind == "closed":
                    return
            if found:
                continue
            if self._left:
                if self.ended is not None:
                    raise self.ended
                return
            await self._wait()

    async def read(self, after: int) -> list[Entry]:
        """Return entries after a revision, out of the log: fewer if they would be too large for one answer."""
        while True:
            try:
                answer = await self._ask("log", after=after, limit=self._page)
                return [entry_of(each) for each in answer.get("entries") or ()]
            except TooLargeError:
                if self._page == 1:
                    raise
                self._page //= 2

    async def _take(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.revision > self.known.revision + 1:
                await self._catch_up_at_last()
            self._add(entry)
        self._notify()

    async def _catch_up_at_last(self) -> None:
        """Catch up, however long the session cannot be read."""
        wait = _FIRST_WAIT_SECONDS
        while not self._left:
            try:
                await self._catch_up()
                return
            except BrokerPlaneError as error:
                if not error.retryable:
                    self.end(error)
                    return
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    async def _catch_up(self) -> None:
        async with self._catching_up:
            while found := await self.read(self.known.revision):
                for entry in found:
                    self._add(entry)
                self._notify()

    def _add(self, entry: Entry) -> None:
        if entry.revision == self.known.revision + 1:
            self.known.add(entry)
            self._kept.append(entry)

    def _kept_after(self, after: int) -> list[Entry] | None:
        """The entries in memory after a revision; None if they may not be all."""
        if after >= self.known.revision:
            return []
        if not self._kept or self._kept[0].revision > after + 1:
            return None
        return [entry for entry in self._kept if entry.revision > after]

    def _note_presence(self, present: Sequence[Fields]) -> None:
        for each in present:
            who = str(each.get("id", ""))
            if each.get("gone"):
                self.present.pop(who, None)
            else:
                self.present[who] = each

    async def _wait(self) -> None:
        await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
