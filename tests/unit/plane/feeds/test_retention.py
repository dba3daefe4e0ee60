"""Which versions retention deletes: beyond a limit, and needed by no durable."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.plane.feeds.ports import DurablePosition
from broker_plane.plane.feeds.retention import Retention, is_beyond, needed_sequences
from tests.unit.plane.feeds.notices import notice

NEWEST = notice(10)
NOW = 10.0
WIDE: dict[str, Any] = {"versions": 100, "seconds": 1e9, "bytes": 1 << 40}


@pytest.mark.parametrize(
    ("limits", "oldest_retained"),
    [
        ({}, 1),
        ({"versions": 10}, 1),
        ({"versions": 3}, 8),
        ({"versions": 1}, 10),
        ({"versions": 0}, 10),
        ({"seconds": 4.0}, 6),  # version n is n seconds old at NOW
        ({"seconds": 0.0}, 10),
        ({"bytes": 1_100}, 1),  # each version has 110 bytes
        ({"bytes": 1_099}, 2),
        ({"bytes": 0}, 10),
        ({"versions": 5, "seconds": 2.0}, 8),  # the narrowest limit decides
    ],
)
def test_versions_beyond_any_limit_are_deleted_and_the_newest_never_is(
    limits: dict[str, Any], oldest_retained: int
) -> None:
    retention = Retention(**WIDE | limits)
    retained = [version for version in range(1, 11) if not is_beyond(notice(version), NEWEST, retention, NOW)]
    assert retained[0] == oldest_retained
    assert retained[-1] == 10


OLD = [notice(version) for version in (1, 2, 4)]
"""Sequences 10, 20 and 40; version 3 was deleted before. The next retained sequence is 50."""


@pytest.mark.parametrize(
    ("position", "needed"),
    [
        (DurablePosition(acked=10), {10}),
        (DurablePosition(acked=30), {20}),  # the last one at or before it
        (DurablePosition(acked=40), {40}),
        (DurablePosition(acked=49), {40}),  # another feed's notice was acknowledged in between
        (DurablePosition(acked=50), set()),
        (DurablePosition(acked=9), set()),
        (DurablePosition(acked=0), set()),
        (DurablePosition(acked=10, pending=20), {10, 20}),
        (DurablePosition(acked=50, pending=60), set()),
        (DurablePosition(acked=50, checkpoint=2), {20}),
        (DurablePosition(acked=20, pending=40, checkpoint=1), {10, 20, 40}),
        (DurablePosition(acked=50, checkpoint=3), set()),
    ],
)
def test_a_durable_needs_its_checkpoint_what_it_acknowledged_and_what_is_pending(
    position: DurablePosition, needed: set[int]
) -> None:
    assert needed_sequences(OLD, 50, [position]) == needed


def test_what_any_of_several_durables_needs_is_retained() -> None:
    positions = [DurablePosition(acked=10), DurablePosition(acked=60), DurablePosition(acked=50, checkpoint=4)]
    assert needed_sequences(OLD, 50, positions) == {10, 40}
