"""The delays before redeliveries."""

from __future__ import annotations

import pytest

from broker_plane.plane.feeds.retry_schedule import RetrySchedule

SHORT = RetrySchedule(delays=(1.0, 5.0, 30.0))


@pytest.mark.parametrize(("attempt", "delay"), [(1, 1.0), (2, 5.0), (3, 30.0), (4, 30.0), (99, 30.0)])
def test_each_attempt_has_its_delay_and_later_ones_that_of_the_last(attempt: int, delay: float) -> None:
    assert SHORT.delay_after(attempt) == delay


@pytest.mark.parametrize(("delays", "attempts"), [((), 1), ((0.0,), 2), ((1.0, 5.0, 30.0), 4)])
def test_there_is_one_attempt_more_than_there_are_delays(delays: tuple[float, ...], attempts: int) -> None:
    assert RetrySchedule(delays=delays).max_attempts == attempts


def test_without_delays_a_rejected_notice_is_redelivered_at_once() -> None:
    assert RetrySchedule(delays=()).delay_after(1) == 0.0


@pytest.mark.parametrize(("spread", "delay"), [(0.0, 10.0), (0.5, 11.0), (1.0, 12.0)])
def test_the_jitter_is_a_fraction_of_the_delay(spread: float, delay: float) -> None:
    assert RetrySchedule(delays=(10.0,), jitter=0.2).delay_after(1, spread) == pytest.approx(delay)
