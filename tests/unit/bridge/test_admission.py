"""The budget of bytes: never exceeded, fair by owner and holder, and everybody is served."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.plane.fairness.admission import Admission, Share

pytestmark = pytest.mark.anyio
ALICE, BOB, CAROL = Share("a", "1"), Share("a", "2"), Share("b", "3")
SHARES = [ALICE, BOB, CAROL, Share("b"), Share("c", "4")]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def hold(budget: Admission, size: int, share: Share, order: list[Share], steps: int = 1) -> None:
    await budget.take(size, share)
    try:
        order.append(share)
        for _ in range(steps):
            await asyncio.sleep(0)
    finally:
        budget.give(size, share)


@given(
    limit=st.integers(1, 100),
    asked=st.lists(
        st.tuples(st.integers(1, 150), st.sampled_from(SHARES), st.integers(0, 5), st.booleans()), max_size=40
    ),
)
def test_the_budget_is_never_exceeded_and_everybody_is_served(
    limit: int, asked: list[tuple[int, Share, int, bool]]
) -> None:
    async def run() -> None:
        budget, order = Admission(limit), list[Share]()
        tasks = [asyncio.create_task(hold(budget, size, share, order, steps)) for size, share, steps, _ in asked]
        await asyncio.sleep(0)
        for task, (*_, given_up) in zip(tasks, asked, strict=True):
            if given_up:
                task.cancel()
        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert budget.most <= limit
        assert (budget.used, budget.waiting) == (0, 0)
        served = sum(end is None for end in ends)
        assert served >= sum(not given_up for *_, given_up in asked)

    asyncio.run(run())


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from(SHARES)), max_size=30))
def test_when_everything_is_given_back_nothing_is_in_use(asked: list[tuple[int, Share]]) -> None:
    async def run() -> None:
        budget = Admission(64)
        await asyncio.gather(*(hold(budget, size, share, [], 2) for size, share in asked))
        assert (budget.used, budget.waiting) == (0, 0)
        assert budget.take_now(64, ALICE)

    asyncio.run(run())


async def test_owners_and_holders_take_turns_however_many_one_of_them_sends() -> None:
    budget = Admission(10)
    await budget.take(10, Share("z", "z"))
    order: list[Share] = []
    crowd = [asyncio.create_task(hold(budget, 10, ALICE, order)) for _ in range(100)]
    await turns()
    others = [asyncio.create_task(hold(budget, 10, share, order)) for share in (BOB, CAROL)]
    await turns()
    budget.give(10, Share("z", "z"))
    await asyncio.gather(*crowd, *others)
    assert set(order[:3]) == {ALICE, BOB, CAROL}


async def test_one_holder_leaves_a_quarter_for_the_next() -> None:
    budget = Admission(100)
    await budget.take(50, ALICE)
    assert budget.take_now(25, ALICE)
    more = asyncio.create_task(budget.take(10, ALICE))
    await turns()
    assert not more.done()
    async with asyncio.timeout(5):
        await budget.take(25, BOB)
    budget.give(50, ALICE)
    await more


async def test_a_large_request_is_not_overtaken_for_ever() -> None:
    budget = Admission(100)
    await budget.take(60, ALICE)
    large = asyncio.create_task(budget.take(80, BOB))
    await turns()
    small = asyncio.create_task(budget.take(20, CAROL))
    await turns()
    assert not budget.take_now(1, CAROL)
    budget.give(60, ALICE)
    await large
    await small


@pytest.mark.parametrize("when", range(10))
async def test_whoever_leaves_the_queue_takes_nothing_along(when: int) -> None:
    budget = Admission(10)
    await budget.take(10, ALICE)
    waiting = [asyncio.create_task(budget.take(10, BOB)) for _ in range(10)]
    await turns()
    waiting[when].cancel()
    if when % 2:
        await turns()
    budget.give(10, ALICE)
    for task in waiting[:when] + waiting[when + 1 :]:
        await asyncio.wait_for(task, 5)
        budget.give(10, BOB)
    assert (budget.used, budget.waiting) == (0, 0)


async def test_whoever_leaves_in_the_moment_of_being_admitted_gives_back() -> None:
    budget = Admission(10)
    await budget.take(10, ALICE)
    waiting = asyncio.create_task(budget.take(10, BOB))
    await turns()
    budget.give(10, ALICE)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.used == 0
