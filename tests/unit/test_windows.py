"""Windows of pulls over NATS: large for one, small for many."""

from __future__ import annotations

from broker_plane.plane.windows import LARGEST_BYTES, SMALLEST_BYTES, Windows


def test_a_lone_asker_gets_four_megabytes_however_often_it_asks() -> None:
    windows = Windows()
    assert {windows.of("alice", now=number / 100) for number in range(200)} == {LARGEST_BYTES}


def test_many_askers_share_what_the_broker_holds() -> None:
    windows = Windows()
    sizes = [windows.of(f"asker{number}", now=0.0) for number in range(128)]
    assert sizes == sorted(sizes, reverse=True)
    assert windows.of("asker15", now=0.0) == sizes[-1] == SMALLEST_BYTES
    assert 2 * SMALLEST_BYTES in sizes


def test_those_who_have_not_asked_for_a_second_do_not_count() -> None:
    windows = Windows()
    for number in range(128):
        windows.of(f"asker{number}", now=0.0)
    assert windows.of("late", now=1.5) == LARGEST_BYTES
