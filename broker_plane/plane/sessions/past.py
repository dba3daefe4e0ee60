"""The past of a session for its rules: the newest entries are in memory, older ones are read from the log.

The rules are synchronous. If they need something that is not in memory, `PastNeeded` is raised. The caller then loads
it, and the rules start again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import islice
from time import monotonic
from typing import Final

from broker_plane.errors import TooLargeError
from broker_plane.plane.sessions.pages import LogPages
from broker_plane.plane.sessions.ports import Group, SessionLog
from broker_plane.plane.sessions.replaying import Replayer
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.replicas.port import Value

KEPT_ENTRIES: Final = 4_096
_KEPT_BYTES: Final = 4 << 20
_MOST_BYTES: Final = 128 << 20
_EXTENDED_SECONDS: Final = 5.0
_VALUES: Final = 8


class PastNeeded(Exception):  # not an error: it asks for something
    """The rules need the entries after `after`, or the artifact at `revision`, which are not in memory."""

    def __init__(self, *, after: int | None = None, revision: int | None = None) -> None:
        super().__init__()
        self.after = after
        self.revision = revision


class LogPage:
    """A past that has one page of the log only."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def entries(self, after: int) -> Sequence[Entry]:
        """The page, whose first entry follows `after`."""
        return self._entries

    def value_at(self, revision: int) -> Value:
        """Raises PastNeeded: a page has no artifacts."""
        raise PastNeeded(revision=revision)


class RecentPast:
    """The past of one session; the port `Past` of its rules."""

    def __init__(self, log: SessionLog, session: str, revision: int, *, kept: int = KEPT_ENTRIES) -> None:
        """Entries after `revision` will be added; `kept` is how many stay in memory."""
        self.drafts: list[Entry] = []
        """Entries that are about to be stored, after all others."""
        self._kept = kept
        self._entries: deque[tuple[Entry, int]] = deque()
        self._before = revision
        """The revision before the first entry in memory."""
        self._bytes = 0
        self._extended_until = 0.0
        """Until then (monotonic), older entries that were loaded stay: a request is about to need them."""
        self._values: OrderedDict[int, Value] = OrderedDict()
        self._pages = LogPages(log, session)
        self._replayer = Replayer(self._stored)
        self._loading = asyncio.Lock()

    def add(self, group: Group) -> None:
        """Remember a group that was stored; the oldest ones make room."""
        size = max(1, group.size // len(group.entries))
        self._entries.extend((entry, size) for entry in group.entries)
        self._bytes += size * len(group.entries)
        if monotonic() < self._extended_until:
            return
        while len(self._entries) > self._kept or self._bytes > _KEPT_BYTES:
            entry, size = self._entries.popleft()
            self._bytes -= size
            self._before = entry.revision

    def entries(self, after: int) -> Sequence[Entry]:
        """All entries after a revision, with the drafts. Raises PastNeeded."""
        if after < self._before:
            raise PastNeeded(after=max(0, after))
        kept = list(self._entries)  # at once: this may be a thread, while the event loop loads older entries
        first = kept[0][0].revision if kept else 0
        return [
            *(entry for entry, _ in kept[max(0, after + 1 - first) :]),
            *(entry for entry in self.drafts if entry.revision > after),
        ]

    def value_at(self, revision: int) -> Value:
        """The artifact at a revision. Raises PastNeeded."""
        if revision not in self._values:
            raise PastNeeded(revision=revision)
        self._values.move_to_end(revision)
        return self._values[revision]

    async def load(self, need: PastNeeded) -> None:
        """Load what the rules asked for.

        Raises:
            TooLargeError: it is more than a process keeps in memory.
            RevisionNotFoundError: the session has no such revision.
        """
        async with self._loading:
            if need.after is not None and need.after < self._before:
                await self._load_entries(need.after)
            if need.revision is not None and need.revision not in self._values:
                self._values[need.revision] = await self._replayer.value_at(need.revision)
                if len(self._values) > _VALUES:
                    self._values.popitem(last=False)

    async def page(self, after: int, limit: int) -> Sequence[Entry]:
        """Up to `limit` stored entries after a revision, from memory or from the log. Raises as `SessionLog.read`."""
        if after >= self._before:
            return [entry for entry, _ in islice(self._entries, after - self._before, after - self._before + limit)]
        return await self._pages.page(after, limit)

    async def _load_entries(self, after: int) -> None:
        self._extended_until = monotonic() + _EXTENDED_SECONDS
        found: list[tuple[Entry, int]] = []
        before, size = self._before, 0
        async with aclosing(self._pages.groups(after)) as groups:
            async for group in groups:
                each = max(1, group.size // len(group.entries))
                wanted = [(entry, each) for entry in group.entries if after < entry.revision <= before]
                found += wanted
                size += each * len(wanted)
                if size > _MOST_BYTES:
                    raise TooLargeError("This reads too much of the session's past; name a later revision")
                if group.entries[-1].revision >= before:
                    break
        if self._before != before:  # entries were added meanwhile, and the oldest ones made room
            return
        self._extended_until = monotonic() + _EXTENDED_SECONDS
        self._entries.extendleft(reversed(found))
        self._bytes += size
        self._before = after

    async def _stored(self, after: int) -> AsyncGenerator[Entry, None]:
        """The stored entries after a revision, from memory if they are there."""
        if after >= self._before:
            for entry in await self.page(after, len(self._entries)):
                yield entry
            return
        async with aclosing(self._pages.groups(after)) as groups:
            async for group in groups:
                for entry in group.entries:
                    if entry.revision > after:
                        yield entry
