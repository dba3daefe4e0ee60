"""Loops that try to get more than three deliveries' worth of a use: each is stopped within the bound of the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.model.hand import STORED, Hand, lease_of
from tests.model.holder import Held
from tests.model.ledger import Ledger
from tests.model.scripts import GONE, begin, fits, is_held, spend, status_now
from tests.model.world import World

pytestmark = pytest.mark.anyio

ROUNDS = 24
LIES: list[dict[str, Any]] = [
    {"status": "failure"},
    {"status": "success", "checksum": "0" * 64},
    {"status": "success", "checksum": "sha256:" + "f" * 64},
    {"status": "success", "bytes_received": 0},
    {"status": "failure", "bytes_received": 0},
    {"status": "failure", "bytes_received": 2**62},
    {"status": "failure", "checksum": "0" * 64, "bytes_received": 1},
    {"status": "failure", "sent": 0},
    {"status": "failure", "fraction": 0.0, "records_received": 0},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
@pytest.mark.parametrize("kind", ["few", "chunks"])
async def test_a_reader_that_says_that_it_failed_gets_no_free_deliveries(
    world: World, hand: Hand, ledger: Ledger, kind: str, lie: dict[str, Any]
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    fields = {name: value for name, value in lie.items() if name != "status"}
    for place in range(ROUNDS):
        connection = hand.connection(place % 2)
        answer = await hand.get(held, connection)
        await hand.confirm(held, lie["status"], on=connection, lease=answer.lease, **fields)
        connection.fin()
        reply, _ = await hand.pull(held)
        await hand.nats_confirm(held, lie["status"], reply.lease, **fields)
    assert fits(ledger, held)


@pytest.mark.parametrize("lie", LIES[:7], ids=str)
async def test_a_client_of_mcp_that_says_that_it_failed_gets_no_free_deliveries(
    world: World, hand: Hand, ledger: Ledger, lie: dict[str, Any]
) -> None:
    held = await world.offered("raw", 1, 10_000)
    for _ in range(ROUNDS // 2):
        connection = hand.connection()
        answer = await hand.get(held, connection, suffix="?format=application%2Foctet-stream")
        if answer.lease:
            await hand.mcp_confirm(held, lease=answer.lease, **lie)
        connection.fin()
        await hand.unable(held)
    assert fits(ledger, held)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("end", ["reset", "fin"])
@pytest.mark.parametrize("kind", ["chunks", "frames"])
async def test_connections_that_break_give_what_three_deliveries_are(
    world: World, hand: Hand, ledger: Ledger, kind: str, end: str, share: float
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    for place in range(ROUNDS):
        connection = hand.connection(place % 2)
        await hand.get(held, connection, stop=int(share * held.body.size))
        connection.reset() if end == "reset" else connection.fin()
    assert fits(ledger, held)


@pytest.mark.parametrize(
    ("accept", "share"),
    [
        ("application/json", 0.65),
        ("text/csv", 0.7),
        *(pytest.param(STORED, n / 10, marks=pytest.mark.full) for n in (3, 9)),
    ],
)
async def test_a_large_view_that_breaks_counts_for_what_went_out(
    world: World, hand: Hand, ledger: Ledger, share: float, accept: str
) -> None:
    held = await world.grant(await world.large(), 1)
    for place in range(10):
        connection = hand.connection(place % 2, receive_buffer=65_536)
        await hand.get(held, connection, stop=int(share * held.body.size), accept=accept)
        connection.reset()
    assert fits(ledger, held)


@pytest.mark.parametrize(
    "part", ["0-0", "0-749999", "750000-", "0-1499998", "-1", "-750000", "1499999-1499999", "1-", "700000-800000"]
)
async def test_parts_of_a_body_add_up(world: World, hand: Hand, ledger: Ledger, part: str) -> None:
    held = await world.grant(world.bodies["chunks"], 1)
    for place in range(ROUNDS):
        await hand.get(held, bridge=place % 2, range=f"bytes={part}")
    assert fits(ledger, held)


async def test_what_shows_nothing_costs_nothing(world: World, hand: Hand, ledger: Ledger) -> None:
    held = await world.grant(world.bodies["chunks"], 1)
    etag = (await hand.get(held, method="HEAD")).headers["etag"]
    for _ in range(20):
        assert (await hand.get(held, method="HEAD")).status == 200
        assert (await hand.get(held, if_none_match=etag)).status == 304
        assert (await hand.get(held, if_match='"other"')).status == 412
        assert (await hand.get(held, range="bytes=9000000-")).status == 416
    assert ledger.received_under(held) == 0
    assert await status_now(hand, held) == 200


@pytest.mark.parametrize(("kind", "sample"), [("few", 1), ("few", 12), ("pages", 0), ("pages", 100)])
async def test_looks_are_paid_for(world: World, hand: Hand, ledger: Ledger, kind: str, sample: int) -> None:
    held = await world.grant(world.bodies[kind], 1)
    looks = [(await hand.look(held, sample, bridge=place % 2)).status for place in range(310)]
    assert looks.count(200) <= 201  # hundredths do not add up to two exactly
    assert (await hand.get(held)).status == 200
    assert fits(ledger, held)


@pytest.mark.parametrize(
    "narrow",
    [
        lambda held: held.with_where(0, 3),
        lambda held: held.with_first(1),
        lambda held: held.with_columns("a"),
        lambda held: held.with_where(5, 6).with_uses(1),
        lambda held: held.with_uses(1).with_where(5, 6),
        lambda held: held.with_uses(1).with_first(10).with_columns("b"),
    ],
    ids=["where", "first", "columns", "where, uses", "uses, where", "uses, first, columns"],
)
@pytest.mark.parametrize("way", ["HTTP", "NATS"])
async def test_looks_at_a_narrowed_grant_cost_what_they_show_of_it(
    world: World, hand: Hand, ledger: Ledger, way: str, narrow: Callable[[Held], Held]
) -> None:
    held = narrow(await world.grant(world.bodies["pages"], 1))
    for _ in range(30):
        await (hand.look(held, 100) if way == "HTTP" else hand.pull(held, look=100))
    assert fits(ledger, held)


@pytest.mark.parametrize("after", ["first", "rewind", "random", "last", "-1"])
@pytest.mark.parametrize("whole", [True, False], ids=["stored", "cut"])
async def test_windows_that_go_back_are_paid_for(
    world: World, hand: Hand, ledger: Ledger, whole: bool, after: str
) -> None:
    held = await world.grant(world.bodies["windows" if whole else "frames"], 1)
    held = held if whole else held.with_columns("a", "b")
    reply, _ = await hand.pull(held)
    runs = reply.info["runs"] or [[0, 4]]
    first, count = runs[0]
    for place in range(ROUNDS):
        at = {
            "first": first,
            "rewind": first + place % 3,
            "random": first + hand.rng.randrange(count),
            "last": first + count - 2,
            "-1": -1,
        }[after]
        await hand.pull(held, lease=reply.lease, after=at)
    assert fits(ledger, held)


@pytest.mark.parametrize("done", [0, 1, 33, 100, 150, 299])
@pytest.mark.parametrize("limit", [512, 4_096, 1 << 20])
async def test_pages_that_go_back_are_paid_for(world: World, hand: Hand, ledger: Ledger, done: int, limit: int) -> None:
    held = await world.grant(world.bodies["pages"], 1)
    cursor = (await hand.page(held, limit=4_096)).headers["bp-cursor"]
    number, lease, *_ = cursor.split(".")
    for place in range(60):
        await hand.page(held, f"{number}.{lease}.{done}.0.{done}", limit=max(limit, 1_024), bridge=place % 2)
    assert fits(ledger, held)


@pytest.mark.parametrize("total", [300, 301, 10**17])
async def test_who_jumps_to_the_end_of_the_pages_has_had_them(world: World, hand: Hand, total: int) -> None:
    held = await world.grant(world.bodies["pages"], 1)
    delivery = await begin(hand, held, "page")
    number, lease, *_ = delivery.cursor.split(".")
    answer = await hand.page(held, f"{number}.{lease}.{total}.0.0")
    assert not answer.body.strip(b"[]") if total == 300 else answer.status == 400
    if total == 300:
        assert (await hand.page(held, delivery.cursor)).status in GONE
        assert await status_now(hand, held) == 410


@pytest.mark.parametrize("kind", ["pages", "parts"])
async def test_pages_and_whole_answers_by_turns_share_one_purse(
    world: World, hand: Hand, ledger: Ledger, kind: str
) -> None:
    held = await world.grant(world.bodies[kind], 1)
    for place in range(10):
        connection = hand.connection(place % 2)
        answer = await hand.get(held, connection)
        for _ in range(3):
            await hand.page(held, f"{'A' * 22}.{answer.lease or 'f' * 18}.0.0.0", limit=1 << 20)
            await hand.pull(held, lease=answer.lease or "f" * 18)
        connection.reset()
        page = await hand.page(held, limit=1 << 16)
        await hand.page(held, page.headers.get("bp-cursor", ""), limit=1 << 20)
    assert fits(ledger, held)


@pytest.mark.parametrize("way", ["HTTP", "NATS", "page"])
@pytest.mark.parametrize("used_by", ["HTTP", "NATS", "page"])
async def test_a_lease_of_one_way_gives_no_more_on_another(
    world: World, hand: Hand, ledger: Ledger, way: str, used_by: str
) -> None:
    held = await world.grant(world.bodies["pages"], 1)
    delivery = await begin(hand, held, way)
    for _ in range(10):
        if used_by == "NATS":
            await hand.pull(held, lease=delivery.lease, number=delivery.number, after=0)
        elif used_by == "page":
            number = delivery.cursor.partition(".")[0] or "A" * 22
            await hand.page(held, f"{number}.{delivery.lease}.0.0.0", limit=1 << 20)
        else:
            await hand.get(held, accept=STORED)
            await hand.confirm(held, "failure", lease=delivery.lease)
    delivery.end()
    assert fits(ledger, held)


@pytest.mark.parametrize("narrowings", [1, 2, 3, 5])
async def test_every_counter_of_a_chain_holds(world: World, hand: Hand, ledger: Ledger, narrowings: int) -> None:
    held = await world.grant(world.bodies["small"], 3)
    chain = [held]
    for place in range(narrowings):
        chain.append(chain[-1].with_uses(max(1, 3 - place)))
    for place in range(ROUNDS):
        one = chain[place % len(chain)]
        reply, _ = await hand.pull(one, asker=f"a{place % 5}")
        await hand.nats_confirm(one, "success" if place % 3 else "failure", reply.lease or "f" * 18)
        await hand.get(one, bridge=place % 2)
    assert all(fits(ledger, one) for one in chain)


Pull = Callable[[Hand, Held], Awaitable[Any]]
FEED_PULLS: dict[str, Pull] = {
    "newest": lambda hand, held: hand.get(held, suffix="/last"),
    "version": lambda hand, held: hand.get(held, suffix="/1", bridge=1),
    "changes": lambda hand, held: hand.get(held, suffix="/2/changes?since=1"),
    "all changes": lambda hand, held: hand.get(held, suffix="/2/changes?since=0"),
    "over NATS": lambda hand, held: hand.pull(held, version=0),
    "version over NATS": lambda hand, held: hand.pull(held, version=1),
    "changes over NATS": lambda hand, held: hand.pull(held, version=2, since=1),
    "look over NATS": lambda hand, held: hand.pull(held, version=2, look=3),
}


@pytest.mark.parametrize("asked", FEED_PULLS)
@pytest.mark.parametrize("scope", ["uses", "where, uses"])
async def test_a_feeds_grant_that_is_used_gives_nothing_more(world: World, hand: Hand, scope: str, asked: str) -> None:
    feed = await world.feed()
    held = (feed.with_where(0, 20) if "where" in scope else feed).with_uses(1)
    assert (await hand.get(held, suffix="/last")).status == 200
    while (answer := await hand.get(held, suffix="/last")).status == 409:
        pass
    assert answer.code == "grant_used"
    await FEED_PULLS[asked](hand, held)


@pytest.mark.parametrize("uses", [1, 2])
async def test_an_upload_gives_its_uses_once(world: World, hand: Hand, ledger: Ledger, uses: int) -> None:
    path = await world.uploads(uses)
    data = bytes(5_000)
    texts = set()
    async with hand.connection() as connection:
        for method in ("PUT", "HEAD", "PUT", "HEAD", "POST"):
            answer = await connection.ask(method, path, raw=b"" if method == "HEAD" else data)
            if found := answer.headers.get("content-location"):
                texts.add(found.rpartition("/")[2])
    (text,) = texts
    held = world.uploaded(text, data, uses)
    for _ in range(uses):
        assert await status_now(hand, held) == 200
    assert await status_now(hand, held) == 410
    assert fits(ledger, held)


@pytest.mark.parametrize(
    ("word", "way"),
    [("revoked", "HTTP"), ("revoked", "NATS"), ("revoked", "page"), ("expired", "page")]
    + [pytest.param("expired", way, marks=pytest.mark.full) for way in ("HTTP", "NATS")],
)
async def test_after_its_end_a_grant_gives_nothing_whatever_lease_is_named(
    world: World, hand: Hand, ledger: Ledger, way: str, word: str
) -> None:
    held = await world.grant(world.bodies["pages"], 2, ttl=2 if word == "expired" else 600)
    delivery = await begin(hand, held, way)
    if word == "revoked":
        await world.revoke(held)
    while (await hand.page(held)).status != 410:
        pass
    for bridge in (0, 1):
        for lease in (delivery.lease, "", "f" * 18):
            reply, _ = await hand.pull(held, lease=lease, number=delivery.number)
            assert reply.code
            cursor = delivery.cursor.replace(lease_of(delivery.cursor), lease) or f"{'A' * 22}.{lease}.0.0.0"
            assert (await hand.page(held, cursor, bridge=bridge)).status == 410
            assert (await hand.get(held, bridge=bridge)).status == 410
            assert (await hand.confirm(held, "success", lease=lease)).status == 410
    delivery.end()


async def test_a_spent_grant_stays_spent_over_every_way(world: World, hand: Hand) -> None:
    held = await world.offered("rows", 1, 40)
    await spend(hand, held)
    for _ in range(3):
        assert (await hand.unable(held))[0].code
        await hand.read(held)
        await hand.pull(held)
        await hand.look(held)
        await hand.get(held, method="POST", fields={"row_ids": [0]})
        await hand.get(held, bridge=1, range="bytes=0-10", accept=STORED)


async def test_a_lease_in_flight_may_finish_beside_others(world: World, hand: Hand) -> None:
    held = await world.grant(world.bodies["pages"], 1)
    delivery = await begin(hand, held, "page")
    assert await is_held(hand, held)
    cursor = delivery.cursor
    while cursor:
        answer = await hand.page(held, cursor)
        assert answer.status == 200
        cursor = answer.headers.get("bp-cursor", "")
    assert await status_now(hand, held) == 410
