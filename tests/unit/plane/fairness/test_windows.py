"""Windows of pulls over NATS: large and two at a time for a few, small for many."""

from __future__ import annotations

from broker_plane.plane.fairness.windows import LARGEST_BYTES, SMALLEST_BYTES, Windows


def test_a_lone_asker_gets_four_megabytes_however_often_it_asks() -> None:
    windows = Windows()
    assert {windows.of("alice", now=number / 100) for number in range(200)} == {(LARGEST_BYTES, True)}


def test_many_askers_share_what_the_broker_holds() -> None:
    windows = Windows()
    found = [windows.of(f"asker{number}", now=0.0) for number in range(256)]
    held = [window.bytes * (1 + window.ahead) for window in found]
    assert held == sorted(held, reverse=True)
    assert windows.of("asker15", now=0.0) == (SMALLEST_BYTES, False)
    assert all(count * size <= 64 << 20 for count, size in enumerate(held, 1) if size > SMALLEST_BYTES)


def test_only_a_few_ask_for_a_window_while_another_arrives() -> None:
    windows = Windows()
    ahead = [windows.of(f"asker{number}", now=0.0).ahead for number in range(64)]
    assert ahead == [True] * 16 + [False] * 48


def test_those_who_have_not_asked_for_a_second_do_not_count() -> None:
    windows = Windows()
    for number in range(256):
        windows.of(f"asker{number}", now=0.0)
    assert windows.of("late", now=1.5).bytes == LARGEST_BYTES


def test_a_pull_that_has_ended_takes_nobodys_share() -> None:
    windows = Windows()
    for number in range(256):
        now = number / 20
        assert windows.of(f"pull{number}", now) == (LARGEST_BYTES, True)
        windows.last(f"pull{number}", 5_000_000 - LARGEST_BYTES, now)


def test_a_last_window_counts_until_as_much_was_sent_to_everybody() -> None:
    windows = Windows()
    for number in range(256):
        windows.of(f"asker{number}", now=0.0)
        windows.last(f"asker{number}", SMALLEST_BYTES, now=0.0)
    assert windows.of("during", now=0.05).bytes < LARGEST_BYTES
    assert windows.of("after", now=0.9).bytes == LARGEST_BYTES
