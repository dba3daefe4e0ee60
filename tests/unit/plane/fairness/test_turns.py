"""Windows of pulls over NATS: so many bytes count at a time, and what is not asked on for stops counting."""

from __future__ import annotations

import asyncio

import pytest

from broker_plane.errors import BrokerUnavailableError
from broker_plane.plane.fairness import turns
from broker_plane.plane.fairness.admission import BudgetShare
from broker_plane.plane.fairness.turns import Turns
from broker_plane.testing.processes import until

pytestmark = pytest.mark.anyio
SHARES = [BudgetShare("o", f"grant{number}") for number in range(4)]


async def pulled(windows: Turns, pull: str, share: BudgetShare, count: int) -> None:
    """A pull of `count` windows of 10 bytes."""
    for number in range(count):
        windows.has(pull)
        await windows.take(pull, 10, share)
        windows.sent(pull, 10, last=number + 1 == count)
        await asyncio.sleep(0)


@pytest.mark.parametrize("pulls", [1, 2, 5, 9, 10, 11, 20, 50, 100, 300])
async def test_all_pulls_come_to_their_end_within_the_budget(pulls: int) -> None:
    windows = Turns(100)
    async with asyncio.timeout(60):
        await asyncio.gather(*(pulled(windows, f"pull{number}", SHARES[number % 4], 3) for number in range(pulls)))
    assert windows.budget.most <= 100


async def test_a_silent_asker_stops_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SILENT_SECONDS", 0.05)
    windows = Turns(100)
    for number in range(7):
        await windows.take(f"silent{number}", 10, SHARES[0])
        windows.sent(f"silent{number}", 10, last=False)
    async with asyncio.timeout(10):
        await pulled(windows, "next", SHARES[0], 20)


async def test_a_window_that_was_smaller_than_allowed_counts_as_what_it_is() -> None:
    windows = Turns(100)
    await windows.take("pull", 60, SHARES[0])
    windows.sent("pull", 5, last=False)
    assert windows.budget.used == 5
    windows.has("pull")
    assert windows.budget.used == 0


async def test_two_windows_may_be_under_way_and_the_older_one_ends_first() -> None:
    windows = Turns(100)
    for _ in range(3):
        windows.has("pull", but=1)
        await windows.take("pull", 10, SHARES[0])
    assert windows.budget.used == 20


async def test_a_second_request_for_a_window_replaces_the_first() -> None:
    windows = Turns(100)
    await windows.take("other", 100, SHARES[0])
    first = asyncio.create_task(windows.take("pull", 10, SHARES[1]))
    await asyncio.sleep(0)
    second = asyncio.create_task(windows.take("pull", 10, SHARES[1]))
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    windows.has("other")
    await asyncio.wait_for(second, 5)
    assert windows.budget.used == 10


async def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 10)
    windows = Turns(10)
    await windows.take("first", 10, SHARES[0])
    waiting = [asyncio.create_task(windows.take(f"pull{number}", 10, SHARES[1])) for number in range(10)]
    await until(lambda: windows.budget.waiting == 10, "ten to wait")
    with pytest.raises(BrokerUnavailableError) as refused:
        await windows.take("late", 10, SHARES[2])
    assert refused.value.retryable
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert windows.budget.waiting == 0
