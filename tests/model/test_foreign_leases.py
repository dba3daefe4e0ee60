"""A lease is what the plane wrote for one holder: whoever else names it, or makes one up, gets nothing by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.hand import Hand
from tests.model.holder import Held
from tests.model.scripts import GONE, INVENTED, Delivery, begin, is_held, settle, spend, status_now
from tests.model.world import World

pytestmark = pytest.mark.anyio

OTHERS: dict[str, Callable[[Held], Held]] = {
    "root": lambda root: root,
    "narrowed by uses": lambda root: root.with_uses(1),
    "narrowed twice": lambda root: root.with_uses(2).with_uses(1),
    "narrowed by bytes": lambda root: root.of_bytes(9_000_000),
    "narrowed by columns": lambda root: root.with_columns("a"),
    "narrowed by where": lambda root: root.with_where(0, 200),
}
WRITTEN = {
    "empty": "",
    "invented": INVENTED,
    "short": "0",
    "long": "f" * 64,
    "too long": "0" * 65,
    "no hex": "g" * 18,
    "signs": "../*>",
    "not ASCII": "é" * 9,
    "NUL": "\0" * 4,
    "spaces": "  ",
}


async def attack(hand: Hand, held: Held, lease: str, bridge: int) -> None:
    """Name `lease` on every way that takes one, as the holder of `held`. The ledger says where that did something."""
    for after in (-1, 0, 5) if lease else ():  # without one it is a claim like any other
        await hand.pull(held, lease=lease, after=after)
    for status in ("failure", "success"):
        await hand.confirm(held, status, bridge=bridge, lease=lease)
        await hand.nats_confirm(held, status, lease)
    await hand.confirm(held, "success", lease=lease, checksum="0" * 64)
    if held.offer:
        for status in ("failure", "success"):
            await hand.mcp_confirm(held, status, lease=lease)


async def attack_by_pages(hand: Hand, held: Held, lease: str) -> None:
    """Go on by pages, and to the end of them at once, under `lease`."""
    for done in (0, 17, len(held.rows)):
        await hand.page(held, f"{'A' * 22}.{lease}.{done}.0.{done}", limit=4_096)


@pytest.mark.parametrize("way", ["HTTP", "NATS", "page"])
@pytest.mark.parametrize("owner", OTHERS)
@pytest.mark.parametrize("other", OTHERS)
async def test_another_holders_lease_does_nothing(world: World, hand: Hand, way: str, owner: str, other: str) -> None:
    root = await world.grant(world.bodies["pages"], 4)
    mine, yours = OTHERS[owner](root).with_uses(1), OTHERS[other](root).with_columns("a", "b")
    delivery = await begin(hand, mine, way)
    await attack(hand, yours, delivery.lease, bridge=1)
    assert await is_held(hand, mine)
    await settle(hand, mine, delivery, "success")
    delivery.end()
    assert await status_now(hand, mine) == 410


@pytest.mark.parametrize("kind", ["pages", "few"])
@pytest.mark.parametrize("way", ["HTTP", "NATS"])
async def test_the_lease_of_another_root_does_nothing(world: World, hand: Hand, kind: str, way: str) -> None:
    mine, yours = await world.grant(world.bodies["pages"], 1), await world.grant(world.bodies[kind], 1)
    delivery = await begin(hand, mine, way)
    await attack(hand, yours, delivery.lease, bridge=0)
    assert await is_held(hand, mine)
    assert await status_now(hand, yours) == 200
    delivery.end()


@pytest.mark.parametrize("written", WRITTEN)
async def test_an_invented_lease_takes_no_use_and_gives_none(world: World, hand: Hand, written: str) -> None:
    held = await world.offered("rows", 2, 300)
    await attack(hand, held, WRITTEN[written], bridge=1)
    first, second = await begin(hand, held, "HTTP"), await begin(hand, held, "HTTP", bridge=1)
    await attack(hand, held, WRITTEN[written] or INVENTED, bridge=1)
    assert await is_held(hand, held)
    first.end()
    second.end()
    assert await status_now(hand, held) == 410


@pytest.mark.parametrize("change", ["upper", "first", "last", "more", "swap"])
async def test_a_lease_with_another_letter_does_nothing(world: World, hand: Hand, change: str) -> None:
    held = await world.offered("rows", 1, 300)
    delivery = await begin(hand, held, "HTTP")
    lease = _changed(delivery, change)
    await attack(hand, held, lease, bridge=0)
    await attack_by_pages(hand, held, lease)
    assert await is_held(hand, held)
    delivery.end()


@pytest.mark.parametrize("way", ["HTTP", "page", "NATS"])
async def test_a_settled_lease_does_nothing(world: World, hand: Hand, way: str) -> None:
    held = await world.grant(world.bodies["pages"], 2)
    delivery = await begin(hand, held, way)
    await settle(hand, held, delivery, "success")
    for after in (-1, 0):
        reply, _ = await hand.pull(held, lease=delivery.lease, after=after)
        assert reply.code
    answer = await hand.confirm(held, "failure", lease=delivery.lease)
    assert answer.status in GONE or answer.fields["status"] == "settled"
    delivery.end()
    assert [await status_now(hand, held) for _ in range(2)] == [200, 410]


async def test_cursors_of_others_are_worth_a_claim_and_no_more(world: World, hand: Hand) -> None:
    mine, yours = await world.grant(world.bodies["pages"], 1), await world.grant(world.bodies["pages"], 1)
    lease = await spend(hand, mine)
    delivery = await begin(hand, yours, "page")
    for cursor in (delivery.cursor, delivery.cursor.replace(delivery.lease, lease)):
        for _ in range(3):
            assert (await hand.page(mine, cursor)).status in GONE
    assert await is_held(hand, yours)


def _changed(delivery: Delivery, change: str) -> str:
    lease = delivery.lease
    return {
        "upper": lease.upper() if lease.upper() != lease else "A" + lease[1:],
        "first": ("1" if lease[0] == "0" else "0") + lease[1:],
        "last": lease[:-1] + ("1" if lease[-1] == "0" else "0"),
        "more": lease + "0",
        "swap": lease[::-1],
    }[change]
