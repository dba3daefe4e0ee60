"""The events of one session on their way to their reader: bounded, because a reader may be slower than the session."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from broker_plane.plane.sessions.channel import AccessEnded, EntriesAdded, EventsMissed, SessionEvent

MOST_EVENTS = 512
MOST_ENTRIES = 1_024


class EventQueue:
    """Events for one reader. If too many wait, they are replaced by EventsMissed, and the reader reads the log."""

    def __init__(self, *, most_events: int = MOST_EVENTS, most_entries: int = MOST_ENTRIES) -> None:
        self._most_events = most_events
        self._most_entries = most_entries
        self._events: deque[SessionEvent] = deque()
        self._entries = 0
        self._arrived = asyncio.Event()
        self.ended: AccessEnded | None = None
        """The last event, once it is known."""

    def put(self, event: SessionEvent) -> None:
        """Queue an event; after AccessEnded, none."""
        if self.ended is not None:
            return
        if isinstance(event, AccessEnded):
            self.ended = event
        elif isinstance(event, EventsMissed) or self._is_full(event):
            self._clear()
            event = EventsMissed()
        self._entries += _entries_of(event)
        self._events.append(event)
        self._arrived.set()

    async def read(self) -> AsyncGenerator[SessionEvent, None]:
        """Yield the events up to AccessEnded."""
        while True:
            while not self._events:
                self._arrived.clear()
                await self._arrived.wait()
            event = self._events.popleft()
            self._entries -= _entries_of(event)
            yield event
            if isinstance(event, AccessEnded):
                return

    def _is_full(self, event: SessionEvent) -> bool:
        return len(self._events) >= self._most_events or self._entries + _entries_of(event) > self._most_entries

    def _clear(self) -> None:
        self._events.clear()
        self._entries = 0


def _entries_of(event: SessionEvent) -> int:
    return len(event.entries) if isinstance(event, EntriesAdded) else 0
