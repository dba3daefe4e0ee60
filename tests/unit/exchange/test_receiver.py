"""The caller's side of an exchange: every message once and in order, whatever the network does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker_plane.exchange.messages import Said
from broker_plane.exchange.receiver import Received

MESSAGES = [Said(number, b"%d" % number, last=number == 6) for number in range(1, 7)]


@given(st.lists(st.sampled_from(MESSAGES), max_size=30))
def test_whatever_arrives_the_messages_come_out_once_and_in_order(arriving: list[Said]) -> None:
    received = Received()
    out = [said for each in [*arriving, *MESSAGES] for said in received.take(each)]
    assert out == MESSAGES
    assert received.ended
    assert not received.gap


@given(st.integers(0, 5), st.permutations(MESSAGES))
def test_a_caller_that_returns_gets_what_it_does_not_have(after: int, arriving: list[Said]) -> None:
    received = Received(after)
    assert [said for each in arriving for said in received.take(each)] == MESSAGES[after:]


def test_a_gap_is_known_and_what_is_missing_is_named() -> None:
    received = Received()
    assert received.take(MESSAGES[0]) == [MESSAGES[0]]
    assert received.take(MESSAGES[2]) == []
    assert (received.gap, received.after) == (True, 1)
    assert received.take(MESSAGES[1]) == MESSAGES[1:3]
    assert (received.gap, received.after) == (False, 3)


def test_what_waits_is_bounded_and_requested_again() -> None:
    received = Received(window=10, window_bytes=100)
    for number in range(2, 1000):
        received.take(Said(number, bytes(30)))
    assert [said.seq for said in received.take(Said(1, b""))] == [1, 2, 3, 4]  # three of 30 bytes have waited
    far = Received(window=10)
    for number in range(2, 1000):
        far.take(Said(number, b""))
    assert [said.seq for said in far.take(Said(1, b""))][-1] == 10


def test_nothing_follows_the_answer() -> None:
    received = Received()
    early = Said(3, b"forged")
    assert received.take(early) == []
    assert received.take(Said(2, b"answer", last=True)) == []
    assert received.take(Said(1, b"")) == [Said(1, b""), Said(2, b"answer", last=True)]
    assert received.take(Said(3, b"forged")) == received.take(Said(0, b"")) == received.take(Said(-1, b"")) == []
    assert received.after == 2
