"""A participant that is refused again and again is closed later each time."""

from __future__ import annotations

from broker_plane.bridge.session_outlet import close_code
from broker_plane.bridge.yjs_refusals import Refusals
from broker_plane.errors import (
    BrokerUnavailableError,
    ChangeError,
    GrantRevokedError,
    RateLimitedError,
    RegionLeasedError,
    SessionClosedError,
    StoreFullError,
    TooLargeError,
)


def test_the_first_refusal_closes_at_once_and_the_next_ones_later() -> None:
    refusals = Refusals()
    assert [refusals.next_delay("anna-1", 10.0 + each) for each in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert refusals.next_delay("ben-1", 20.0) == 0


def test_refusals_are_forgotten_after_a_while() -> None:
    refusals = Refusals()
    refusals.next_delay("anna-1", 0.0)
    assert refusals.next_delay("anna-1", 60.0) == 1
    assert refusals.next_delay("anna-1", 200.0) == 0


def test_clients_give_up_exactly_when_trying_again_cannot_help() -> None:
    final = [ChangeError("x"), TooLargeError("x"), SessionClosedError("x"), GrantRevokedError()]
    passing = [RateLimitedError("x"), BrokerUnavailableError("x"), StoreFullError("x"), RegionLeasedError("x")]
    assert [close_code(error) for error in final] == [4422, 4413, 4409, 4410]
    assert all(not 4400 <= close_code(error) < 4500 for error in passing)
