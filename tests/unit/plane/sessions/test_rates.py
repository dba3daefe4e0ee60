"""A participant may make so many requests a second, and twice as many at once."""

from __future__ import annotations

import pytest

from broker_plane.errors import RateLimitedError
from broker_plane.plane.sessions.rates import RequestRates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(rates: RequestRates, who: str, most: int = 1_000, grant: str = "") -> int:
    """How many requests are let through at once."""
    for count in range(most):
        try:
            rates.take(who, grant)
        except RateLimitedError as error:
            assert error.retry_after is not None
            assert error.retry_after > 0
            return count
    return most


def test_a_burst_is_twice_the_rate_and_refills() -> None:
    clock = Clock()
    rates = RequestRates(10, clock)
    assert taken(rates, "anna") == 20
    clock.now = 0.5
    assert taken(rates, "anna") == 5
    clock.now = 100
    assert taken(rates, "anna") == 20


def test_each_participant_has_its_own() -> None:
    rates = RequestRates(10, Clock())
    assert taken(rates, "anna") == 20
    assert taken(rates, "ben") == 20


def test_eight_people_with_one_grant_have_a_bucket_each() -> None:
    rates = RequestRates(10, Clock())
    assert [taken(rates, f"name{number}", grant="link") for number in range(8)] == [20] * 8


def test_invented_names_do_not_make_a_grant_faster() -> None:
    clock = Clock()
    rates = RequestRates(10, clock)
    most = 10_000  # more than are remembered
    assert sum(taken(rates, f"name{number}", 1, grant="link") for number in range(most)) == 200
    clock.now = 1.0
    assert sum(taken(rates, f"name{number}", 1, grant="link") for number in range(most)) == 100
    assert taken(rates, "ben", grant="other") == 20


def test_after_the_time_that_the_error_names_a_request_is_let_through() -> None:
    clock = Clock()
    rates = RequestRates(3, clock)
    taken(rates, "anna")
    with pytest.raises(RateLimitedError) as limited:
        rates.take("anna")
    clock.now += limited.value.retry_after or 0
    rates.take("anna")
