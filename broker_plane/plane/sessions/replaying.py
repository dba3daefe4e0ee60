"""Artifacts of earlier revisions: the log is folded again, from the nearest revision that was kept."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from broker_plane.errors import RevisionNotFoundError
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.replicas.port import Value

_AT_ONCE: Final = 32
"""Entries that are folded between two turns of the event loop."""

_KEPT_EVERY: Final = 256
_KEPT_BYTES: Final = 8 << 20

LARGE_BYTES: Final = 64 << 10
"""What is larger is folded in a thread, so that the event loop goes on."""

EntriesAfter = Callable[[int], AsyncGenerator[Entry, None]]


class Replayer:
    """Computes the artifact of one session at earlier revisions. One call at a time."""

    def __init__(self, entries: EntriesAfter) -> None:
        """`entries` yields the stored entries after a revision."""
        self._entries = entries
        self._revisions: list[int] = []
        self._kept: dict[int, Folded] = {}
        self._bytes = 0

    async def value_at(self, revision: int) -> Value:
        """The artifact at a revision.

        Raises:
            RevisionNotFoundError: there is no such stored revision. And as `SessionLog.read`.
        """
        folded = self._start(revision)
        count = 0
        async with aclosing(self._entries(0 if folded is None else folded.state.revision)) as entries:
            while folded is None or folded.state.revision < revision:
                entry = await anext(entries, None)
                if entry is None:
                    raise RevisionNotFoundError(f"The session has no revision {revision}")
                if folded is None:
                    folded = await first_folded([entry])
                else:
                    folded.fold(entry)
                count += 1
                if not count % _AT_ONCE:
                    await asyncio.sleep(0)
                if not folded.state.revision % _KEPT_EVERY:
                    self._keep(folded)
        return folded.value

    def _start(self, revision: int) -> Folded | None:
        """A copy of the nearest one that was kept."""
        place = bisect_right(self._revisions, revision)
        return self._kept[self._revisions[place - 1]].copy() if place else None

    def _keep(self, folded: Folded) -> None:
        revision, size = folded.state.revision, folded.replica.size
        if revision in self._kept or self._bytes + size > _KEPT_BYTES:
            return
        self._bytes += size
        self._kept[revision] = folded.copy()
        self._revisions = sorted(self._kept)


async def first_folded(entries: Sequence[Entry]) -> Folded:
    """The session after the first entries of its log, whose artifact may be large. Raises as `Folded.of`."""
    value = entries[0].content.get("value") if entries else ""
    if isinstance(value, str) and len(value) <= LARGE_BYTES:
        return Folded.of(entries)
    folded = await asyncio.to_thread(Folded.of, entries[:1])
    for entry in entries[1:]:
        folded.fold(entry)
    return folded
