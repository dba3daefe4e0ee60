"""A follower gets events in order, and one that falls behind is sent to the log."""

from __future__ import annotations

import anyio
import pytest

from broker_plane.errors import SessionNotFoundError
from broker_plane.plane.sessions.followers import Event, Follower, Here, Resync, Told
from broker_plane.sessions.entries import Entry

pytestmark = pytest.mark.anyio


def told(*revisions: int) -> Told:
    return Told(tuple(Entry(revision=each, at=0.0, participant="a", role="editor", kind="noted") for each in revisions))


async def events_of(follower: Follower, count: int) -> list[Event]:
    with anyio.fail_after(10):
        return [await anext(follower) for _ in range(count)]


async def test_events_arrive_in_order() -> None:
    follower = Follower()
    events: list[Event] = [told(1), Here(()), told(2, 3)]
    for event in events:
        follower.tell(event, 1, 3)
    assert await events_of(follower, 3) == events


@pytest.mark.parametrize("limits", [{"most_events": 3}, {"most_bytes": 30}])
async def test_what_waits_is_bounded_and_replaced_by_a_resync(limits: dict[str, int]) -> None:
    follower = Follower(**limits)
    for revision in range(1, 100):
        follower.tell(told(revision), 10, revision)
    assert await events_of(follower, 1) == [Resync(99)]
    follower.tell(told(100), 10, 100)
    assert await events_of(follower, 1) == [told(100)]


async def test_one_event_may_be_larger_than_the_bound() -> None:
    follower = Follower(most_bytes=10)
    follower.tell(told(1), 1_000, 1)
    assert await events_of(follower, 1) == [told(1)]


async def test_a_follower_ends_after_what_waits() -> None:
    follower = Follower()
    follower.tell(told(1), 1, 1)
    follower.end()
    follower.tell(told(2), 1, 2)
    assert [event async for event in follower] == [told(1)]


async def test_the_error_of_a_session_is_the_follower_s() -> None:
    follower = Follower()
    follower.end(SessionNotFoundError("gone"))
    with pytest.raises(SessionNotFoundError):
        await anext(follower)
