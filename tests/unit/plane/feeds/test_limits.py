"""How many durables the holders of grants may have, and how long an unused one lives."""

from __future__ import annotations

import pytest

from broker_plane.errors import DurableLimitError
from broker_plane.plane.feeds.limits import DurableLimits, DurablePayer


@pytest.mark.parametrize("count", range(10))
def test_the_limits_count_grant_owner_and_all(count: int) -> None:
    limits = DurableLimits(per_grant=3, per_owner=5, in_total=8)
    there = [DurablePayer(f"g{number}", f"o{number % 2}") for number in range(count)]
    if count >= 8 or sum(each.owner == "o0" for each in there) >= 5:
        with pytest.raises(DurableLimitError):
            limits.check(DurablePayer("new", "o0"), there)
    else:
        limits.check(DurablePayer("new", "o0"), there)
    with pytest.raises(DurableLimitError, match="3 durables"):
        limits.check(DurablePayer("g", "o"), [DurablePayer("g", "o")] * 3)


@pytest.mark.parametrize(
    ("seconds_left", "idle"), [(1e9, 700.0), (700.0, 700.0), (600.0, 600.0), (60.0, 60.0), (1.0, 60.0), (-5.0, 60.0)]
)
def test_an_unused_durable_lives_no_longer_than_its_grant_but_a_minute(seconds_left: float, idle: float) -> None:
    assert DurableLimits(idle_seconds=700.0).idle(seconds_left) == idle


def test_a_refusal_says_when_to_try_again() -> None:
    with pytest.raises(DurableLimitError) as caught:
        DurableLimits(in_total=0).check(DurablePayer("g", "o"), [])
    assert caught.value.retry_after == 60.0
