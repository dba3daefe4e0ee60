"""Which messages of a session are under way at a time."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.plane.exchanges.outbox import Outgoing
from broker_plane.transports.webhook.window import MOST_AT_ONCE, MOST_OPEN, Sending, SendingWindow


def message(place: int, exchange: str, number: int = 1) -> Outgoing:
    return Outgoing(place, 0.0, ExchangeKey("s", "wS", exchange), Said(number, b"{}"), place)


def filled(exchanges: Sequence[str]) -> SendingWindow:
    window = SendingWindow()
    for place, exchange in enumerate(exchanges, 1):
        window.add(message(place, exchange))
    return window


def test_one_message_is_under_way_until_one_was_accepted_and_after_a_failure() -> None:
    window = filled("abcdef")
    (first,) = window.begin()
    assert list(window.begin()) == []
    window.accepted(first)
    second, third = window.begin()
    window.failed(second)
    window.accepted(third)
    assert [each.place for each in window.settled()] == [1]
    assert window.ahead() == [3]
    assert [each.outgoing.place for each in window.begin()] == [2, 4]


def test_a_window_is_bounded_and_takes_no_message_twice() -> None:
    window = filled("a" * MOST_OPEN)
    assert window.full
    window.add(message(MOST_OPEN, "a"))
    (only,) = window.begin()
    window.accepted(only)
    assert len(list(window.settled())) == 1
    assert not window.full


@given(
    exchanges=st.lists(st.sampled_from("abc"), max_size=40),
    choices=st.lists(st.integers(0, 30), min_size=200, max_size=200),
)
def test_each_exchange_is_in_order_and_everything_is_settled_in_the_order_of_the_store(
    exchanges: list[str], choices: list[int]
) -> None:
    window, under_way, settled = filled(exchanges), list[Sending](), list[int]()
    accepted: dict[str, list[int]] = {}
    for choice in choices:
        under_way += window.begin()
        assert len(under_way) == window.under_way <= MOST_AT_ONCE
        busy = [each.outgoing.key.exchange for each in under_way]
        assert len(busy) == len(set(busy))
        if under_way:
            sending = under_way.pop(choice % len(under_way))
            if choice % 5:
                window.accepted(sending)
                accepted.setdefault(sending.outgoing.key.exchange, []).append(sending.outgoing.place)
            else:
                window.failed(sending)
        settled += [each.place for each in window.settled()]
        assert not set(settled) & set(window.ahead())
    assert settled == sorted(settled)
    assert all(places == sorted(places) for places in accepted.values())
    assert set(settled) | set(window.ahead()) == {place for places in accepted.values() for place in places}
