"""Pages of a long log: a few entries, read from near where they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from broker_plane.plane.sessions.ports import Group, SessionLog
from broker_plane.sessions.entries import Entry

_INDEX_EVERY: Final = 256


MOST_PAGE: Final = 4 << 20
"""Bytes of stored groups, from which on a page takes no further one: 500 changes can have 128 MiB."""


class LogPages:
    """Reads one log from any revision on. It remembers where some of the revisions that it has read are."""

    def __init__(self, log: SessionLog, session: str) -> None:
        self._log = log
        self._session = session
        self._revisions: list[int] = [0]
        self._sequences: list[int] = [0]
        """Of the groups that end with these revisions."""

    async def page(self, after: int, limit: int) -> list[Entry]:
        """Up to `limit` entries after a revision, fewer if they are large. Raises as `SessionLog.read`."""
        found: list[Entry] = []
        size = 0
        async with aclosing(self.groups(after)) as groups:
            async for group in groups:
                found += [entry for entry in group.entries if entry.revision > after]
                size += group.size
                if len(found) >= limit or size >= MOST_PAGE:
                    break
        return found[:limit]

    async def groups(self, after: int) -> AsyncGenerator[Group, None]:
        """The groups that have entries after a revision. Raises as `SessionLog.read`."""
        start = self._sequences[bisect_right(self._revisions, after) - 1]
        async with aclosing(self._log.read(self._session, start)) as groups:
            async for group in groups:
                revision = group.entries[-1].revision
                self._remember(revision, group.sequence)
                if revision > after:
                    yield group

    def _remember(self, revision: int, sequence: int) -> None:
        if revision >= self._revisions[-1] + _INDEX_EVERY:
            self._revisions.append(revision)
            self._sequences.append(sequence)
