"""Followers of a session in this process. Each has a bounded queue; one that falls behind has to resync."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from broker_plane.errors import BrokerPlaneError
from broker_plane.sessions.entries import Entry

MOST_EVENTS = 1_024
"""Groups and presences that wait for one follower."""

MOST_BYTES = 4 << 20
"""Estimated size of the changes that wait for one follower."""


@dataclass(frozen=True, slots=True)
class Told:
    """Entries that were stored, in order: one group, or several."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Here:
    """Participants whose presence has changed: `{id, name, at, state, since}` each, or `{id, name, gone: true}`."""

    participants: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Aware:
    """An awareness update of y-protocols, as `LiveSession.relay` was given it on some bridge."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Resync:
    """Events were dropped, because this follower was too slow. `log` and `show` have everything up to `revision`."""

    revision: int


Event = Told | Here | Aware | Resync


class Follower:
    """An async iterator over the events of one session from the moment when it was opened.

    It ends when the session ends in this process, with the error of that if there is one.
    """

    def __init__(self, *, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._arrived = asyncio.Event()
        self._ended = False
        self._error: BrokerPlaneError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        event, size = self._events.popleft()
        self._bytes -= size
        return event

    def tell(self, event: Event, size: int, revision: int) -> None:
        """Queue an event. If too much waits already, all of it is replaced by `Resync(revision)`."""
        if self._ended:
            return
        if len(self._events) >= self._most_events or (self._events and self._bytes + size > self._most_bytes):
            self._events.clear()
            self._bytes = 0
            event, size = Resync(revision), 0
        if isinstance(event, Told) and self._events and isinstance(self._events[-1][0], Resync):
            # The log, which this follower is going to read, has these entries as well.
            self._events[-1] = (Resync(revision), 0)
        else:
            self._events.append((event, size))
            self._bytes += size
        self._arrived.set()

    def end(self, error: BrokerPlaneError | None = None) -> None:
        """No event follows those that wait."""
        self._ended = True
        self._error = error
        self._arrived.set()
