"""Places shared out by owner and grant: the bounds hold, everybody gets a turn, and no queue delays another."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import RateLimitedError
from broker_plane.plane.fairness.shares import Payer, Shares

pytestmark = pytest.mark.anyio
TOTAL, OWNER, GRANT = 4, 3, 2
PAYERS = st.lists(st.builds(Payer, st.sampled_from("ab"), st.sampled_from("xyz")), max_size=60)


@given(PAYERS, st.randoms(use_true_random=False))
def test_the_bounds_hold_and_everybody_who_waits_gets_a_place(payers: list[Payer], chance: object) -> None:
    async def all_of_them() -> None:
        shares = Shares(TOTAL, owner=OWNER, grant=GRANT, waiting=60)
        running: Counter[str] = Counter()

        async def one(payer: Payer) -> None:
            async with shares.place(payer):
                running.update(("all", payer.owner, "/".join(payer)))
                try:
                    assert running["all"] <= TOTAL
                    assert running[payer.owner] <= OWNER
                    assert running["/".join(payer)] <= GRANT
                    for _ in range(chance.randrange(3)):  # type: ignore[attr-defined]  # hypothesis types it as object
                        await asyncio.sleep(0)
                finally:
                    running.subtract(("all", payer.owner, "/".join(payer)))

        tasks = [asyncio.ensure_future(one(payer)) for payer in payers]
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        await asyncio.gather(*tasks[1::7], *tasks[2::7], *tasks[3::7], *tasks[4::7], *tasks[5::7], *tasks[6::7])
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not running["all"]
        async with asyncio.timeout(5):  # nothing that ended kept a place
            for payer in [Payer("a", "x"), Payer("a", "y"), Payer("b", "x"), Payer("b", "y")]:
                await shares.take(payer)
            for payer in [Payer("a", "x"), Payer("a", "y"), Payer("b", "x"), Payer("b", "y")]:
                shares.free(payer)
        assert not shares._owners  # nothing is remembered of who has left

    asyncio.run(all_of_them())


async def test_a_long_queue_of_one_grant_delays_no_other_grant() -> None:
    shares = Shares(1, owner=1, grant=1, waiting=1_000)
    order: list[str] = []

    async def one(payer: Payer) -> None:
        async with shares.place(payer):
            order.append(payer.grant)
            await asyncio.sleep(0)

    flood = [asyncio.ensure_future(one(Payer("a", "flood"))) for _ in range(500)]
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(one(Payer(owner, name))) for owner, name in (("a", "sibling"), ("b", "stranger"))]
    await asyncio.gather(*flood, *others)
    assert max(order.index("sibling"), order.index("stranger")) < 6


async def test_beyond_its_queue_a_grant_is_refused_and_others_are_not() -> None:
    shares = Shares(2, owner=2, grant=1, waiting=0)
    async with shares.place(Payer("a", "x")):
        with pytest.raises(RateLimitedError) as refused:
            await shares.take(Payer("a", "x"))
        assert refused.value.retry_after == 1
        async with shares.place(Payer("a", "y")):
            pass
    async with shares.place(Payer("a", "x")):
        pass
