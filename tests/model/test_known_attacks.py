"""The attacks that once worked, each as the few requests that it needs."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.model.hand import Hand
from tests.model.http_way import HttpConnection
from tests.model.ledger import Ledger
from tests.model.nats_way import new_number
from tests.model.scripts import GONE, INVENTED, begin, fits, is_held, spend, status_now
from tests.model.world import World

pytestmark = pytest.mark.anyio

NUMBER = "A" * 22
ODD = [
    0.0,
    -1,
    -0.0,
    1e-300,
    float("nan"),
    float("inf"),
    float("-inf"),
    "0",
    "0.0",
    True,
    False,
    None,
    [],
    {},
    0.5,
    2.0**70,
]


@pytest.mark.parametrize("kind", ["few", "pages", "frames", "small", "parts", "chunks"])
@pytest.mark.parametrize("done", ["0", "1", "11", "300", "999999999999999999"])
async def test_a_cursor_with_an_empty_lease_opens_no_spent_grant(
    world: World, hand: Hand, kind: str, done: str
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    await spend(hand, held)
    for bridge in (0, 1):
        answer = await hand.page(held, f"{NUMBER}..{done}.0.0", bridge=bridge)
        assert answer.status in GONE


@pytest.mark.parametrize("form", ["", INVENTED, "0", "f" * 64, "settled", "SETTLED", "settled[:-1]", "settled0"])
async def test_a_cursor_with_any_lease_opens_no_spent_grant(world: World, hand: Hand, form: str) -> None:
    held = await world.grant(world.bodies["pages"], 1)
    settled = await spend(hand, held)
    lease = {
        "settled": settled,
        "SETTLED": settled.upper(),
        "settled[:-1]": settled[:-1],
        "settled0": settled + "0",
    }.get(form, form)
    for place in ("0.0.0", "17.0.17", "300.0.300"):
        answer = await hand.page(held, f"{NUMBER}.{lease}.{place}")
        assert answer.status in GONE or not answer.body.strip(b"[]")
    assert (await hand.pull(held, lease=lease, number=NUMBER))[0].code


@pytest.mark.parametrize("kind", ["few", "chunks", "windows"])
@pytest.mark.parametrize("sent", ODD[:1] + ODD[4:6])
async def test_failures_over_nats_that_nothing_was_sent_give_no_endless_deliveries(
    world: World, hand: Hand, ledger: Ledger, kind: str, sent: Any
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    for _ in range(20):
        reply, _ = await hand.pull(held)
        await hand.nats_confirm(held, "failure", reply.lease or INVENTED, sent=sent)
    assert fits(ledger, held)


@pytest.mark.parametrize("sent", ODD)
async def test_what_a_reader_says_was_sent_is_not_believed(world: World, hand: Hand, ledger: Ledger, sent: Any) -> None:
    held = await world.grant(world.bodies["small"], 1)
    for _ in range(12):
        reply, _ = await hand.pull(held)
        await hand.nats_confirm(held, "failure", reply.lease or INVENTED, sent=sent)
    assert fits(ledger, held)


@pytest.mark.parametrize("kind", ["few", "pages", "frames", "small", "chunks", "windows"])
@pytest.mark.parametrize("fresh", [False, True], ids=["same number", "new numbers"])
async def test_one_lease_over_nats_is_one_delivery_however_often_it_is_named(
    world: World, hand: Hand, ledger: Ledger, kind: str, fresh: bool
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    number = new_number(hand.rng)
    reply, _ = await hand.pull(held, number=number)
    for _ in range(20):
        await hand.pull(held, number=new_number(hand.rng) if fresh else number, lease=reply.lease)
    assert fits(ledger, held)


@pytest.mark.parametrize("named", [True, False], ids=["lease", "no lease"])
@pytest.mark.parametrize("bridge", [0, 1], ids=["same bridge", "other bridge"])
@pytest.mark.parametrize("kind", ["few", "chunks"])
async def test_a_failure_that_comes_after_the_end_releases_nothing(
    world: World, hand: Hand, named: bool, bridge: int, kind: str
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    lease = await spend(hand, held)
    answer = await hand.confirm(held, "failure", bridge=bridge, lease=lease if named else "")
    assert answer.status in GONE or answer.fields["status"] == "settled"
    assert await status_now(hand, held) == 410


@pytest.mark.parametrize("unread", [400, 700, 850, 1_000, 1_150, 1_300])
async def test_bytes_that_arrived_and_were_never_acknowledged_are_paid_for(
    world: World, hand: Hand, ledger: Ledger, unread: int
) -> None:
    held = await world.grant(world.bodies["small"], 1)
    for _ in range(12):
        connection = hand.connection(receive_buffer=1)  # the smallest: its host acknowledges late
        answer = await hand.get(held, connection, stop=held.body.size - unread)
        connection.reset()
        if answer.code == "grant_in_use":
            await anyio.sleep(0.05)
    assert fits(ledger, held)


@pytest.mark.parametrize("kind", ["few", "pages", "parts", "chunks"])
@pytest.mark.parametrize("end", ["fin", "reset", "next request"])
@pytest.mark.parametrize("bridge", [0, 1], ids=["same bridge", "other bridge"])
async def test_what_was_released_stays_released_when_its_connection_ends(
    world: World, hand: Hand, bridge: int, end: str, kind: str
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    connection = hand.connection(0)
    lease = (await hand.get(held, connection)).lease
    assert (await hand.confirm(held, "failure", bridge=bridge, lease=lease)).fields["status"] == "released"
    if end == "next request":
        await hand.get(held, connection, method="HEAD")
    connection.fin() if end == "fin" else connection.reset()
    assert await status_now(hand, held) == 200


async def test_a_failure_that_comes_after_the_end_is_settled_over_mcp(world: World, hand: Hand) -> None:
    held = await world.offered("raw", 1, 40_000)
    lease = await spend(hand, held)
    for fields in ({}, {"lease": lease}, {"checksum": "0" * 64}, {"bytes_received": 0}):
        said = await hand.mcp_confirm(held, "failure", **fields)
        assert said.code or said.result["status"] == "settled"
    assert await status_now(hand, held) == 410


@pytest.mark.parametrize("fields", [{}, {"lease": ""}, {"bytes_received": 0}, {"checksum": "0" * 64}])
@pytest.mark.parametrize("status", ["failure", "success"])
@pytest.mark.parametrize("bridge", [0, 1])
async def test_a_sibling_does_not_settle_what_is_not_its_own(
    world: World, hand: Hand, fields: dict[str, Any], status: str, bridge: int
) -> None:
    root = await world.grant(world.bodies["chunks"], 3)
    ann, bob = root.with_uses(1), root.of_bytes(10_000_000).with_uses(1)
    delivery = await begin(hand, ann, "HTTP")
    answer = await hand.confirm(bob, status, bridge=bridge, **fields)
    assert answer.status in GONE or answer.fields["status"] == "settled"
    assert await is_held(hand, ann)
    assert (await hand.confirm(ann, "failure", on=delivery.connection, lease=delivery.lease)).status == 200
    assert await status_now(hand, ann) == 200
    delivery.end()


async def test_a_narrowed_holder_gets_its_one_use_whatever_a_sibling_says(
    world: World, hand: Hand, ledger: Ledger
) -> None:
    root = await world.grant(world.bodies["chunks"], 0)
    ann, bob = root.with_uses(1), root.with_columns("a")
    for _ in range(5):
        connection = HttpConnection(world.bridges[0])
        await hand.get(ann, connection)
        for other in (bob, root, root.with_uses(2)):
            await hand.confirm(other, "failure")
        connection.fin()
        await status_now(hand, ann)
    assert ledger.received_under(ann) <= 1.001


@pytest.mark.parametrize("first", ["success", "failure"])
@pytest.mark.parametrize("way", ["HTTP", "NATS", "page"])
async def test_a_second_word_changes_nothing(world: World, hand: Hand, first: str, way: str) -> None:
    held = await world.grant(world.bodies["parts"], 1)
    delivery = await begin(hand, held, way)
    other = {"success": "failure", "failure": "success"}[first]
    for status in (first, other, other, first):
        await hand.confirm(held, status, on=delivery.connection, lease=delivery.lease)
        await hand.confirm(held, status, bridge=1, lease=delivery.lease)
        await hand.nats_confirm(held, status, delivery.lease)
    delivery.end()
    assert await status_now(hand, held) == (410 if first == "success" else 200)
