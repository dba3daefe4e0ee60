"""Places of a process, shared out among clients."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from broker_plane.plane.exchanges.places import Places


def taken(places: Places, client: str, size: int = 0) -> int:
    """How many places a client gets, until it is refused."""
    count = 0
    while places.take(client, size):
        count += 1
    return count


def test_one_client_gets_half_of_the_places_and_the_next_one_half_of_the_rest() -> None:
    places = Places(2048, 1 << 20)
    assert [taken(places, client) for client in "abc"] == [1024, 512, 256]
    assert places.free == 256
    for _ in range(1024):
        places.give("a", 0)
    assert taken(places, "b") == 384
    assert places.free == 512 + 384


def test_bytes_are_shared_as_places_are() -> None:
    places = Places(2048, 64)
    assert taken(places, "a", 10) == 3
    assert taken(places, "b", 10) == 2
    assert places.take("c", 10)


def test_a_request_above_all_bytes_is_taken_alone() -> None:
    places = Places(10, 64)
    assert places.take("a", 100)
    assert places.free == 0
    assert not places.take("b", 1)
    places.give("a", 100)
    assert places.take("b", 1)
    assert not places.take("a", 100)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.booleans()), max_size=200))
def test_a_client_without_places_gets_one_whatever_others_do(steps: list[tuple[str, int, bool]]) -> None:
    places, held = Places(64, 1 << 20), Counter[tuple[str, int]]()
    for client, size, give in steps:
        if give and held[client, size]:
            held[client, size] -= 1
            places.give(client, size)
        elif places.take(client, size):
            held[client, size] += 1
    assert places.free == 64 - held.total()
    assert places.take("another", 3)
