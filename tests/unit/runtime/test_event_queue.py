"""Events on their way to a reader: in order, bounded, and with an end."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from broker_plane.errors import GrantRevokedError
from broker_plane.plane.sessions.channel import AccessEnded, EntriesAdded, EventsMissed, PresenceChanged, SessionEvent
from broker_plane.plane.sessions.event_queue import EventQueue
from tests.unit.runtime.channels import entry

pytestmark = pytest.mark.anyio
END = AccessEnded(GrantRevokedError())


async def read(queue: EventQueue) -> list[SessionEvent]:
    queue.put(END)
    async with aclosing(queue.read()) as events:
        return [event async for event in events]


async def test_events_keep_their_order_and_nothing_follows_the_end() -> None:
    queue = EventQueue()
    added, present = EntriesAdded((entry(2),)), PresenceChanged(({"id": "b"},))
    for event in (added, present, END, added):
        queue.put(event)
    assert await read(queue) == [added, present, END]


async def test_a_reader_that_is_too_slow_is_sent_to_the_log() -> None:
    queue = EventQueue(most_events=3)
    for revision in range(2, 8):
        queue.put(EntriesAdded((entry(revision),)))
    found = await read(queue)
    assert found[0] == EventsMissed() and len(found) <= 5, "it reads the log, and goes on from there"


async def test_many_entries_in_few_events_are_bounded_as_well() -> None:
    queue = EventQueue(most_entries=10)
    for _ in range(4):
        queue.put(EntriesAdded(tuple(entry(revision) for revision in range(2, 8))))
    assert isinstance((await read(queue))[0], EventsMissed)


async def test_what_was_missed_replaces_what_waits() -> None:
    queue = EventQueue()
    queue.put(EntriesAdded((entry(2),)))
    queue.put(EventsMissed())
    assert await read(queue) == [EventsMissed(), END]
