"""The server's clock as a process hears it: whatever its own does, and however late an answer comes."""

from __future__ import annotations

from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from broker_plane.broker.clock import ServerClock


class World:
    """A server's time, a wall clock that is off, and a clock that counts."""

    def __init__(self, skew: float) -> None:
        self.time = 1_800_000_000.0
        self.skew = skew
        self.clock = ServerClock(wall=lambda: self.time + self.skew, elapsed=lambda: self.time - 1_799_999_000.0)

    def ask(self, there: float, back: float) -> None:
        started = self.clock.started()
        self.time += there
        said = datetime.fromtimestamp(self.time, UTC).isoformat()
        self.time += back
        self.clock.heard(said, started)


SKEWS = st.floats(-1e8, 1e8)
DELAYS = st.floats(0, 30)


@given(SKEWS, st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=8))
def test_the_time_is_right_to_within_the_fastest_answer(skew: float, delays: list[tuple[float, float]]) -> None:
    world = World(skew)
    for there, back in delays:
        world.ask(there, back)
    fastest = min(there + back for there, back in delays)
    assert abs(world.clock.now() - world.time) <= fastest + 1e-3
    assert abs(world.clock.skew - skew) <= fastest + 1e-3


@given(SKEWS, SKEWS)
def test_a_step_of_the_wall_clock_changes_nothing_but_the_skew(before: float, after: float) -> None:
    world = World(before)
    world.ask(0.001, 0.001)
    then = world.clock.now()
    world.skew = after
    assert world.clock.now() == then
    assert world.clock.skew == pytest.approx(after, abs=0.1)


@pytest.mark.parametrize("stamp", [None, 7, "", "yesterday", "2026-13-01T00:00:00Z", b"x", [], {}])
def test_what_is_no_time_is_not_heard(stamp: object) -> None:
    world = World(5)
    world.clock.heard(stamp, world.clock.started())
    assert world.clock.now() == world.time + 5
    assert world.clock.skew == 0
