"""Words that attack scripts are written in: to spend a use, to hold one, and to see whether one is free."""

from __future__ import annotations

from dataclasses import dataclass

from broker_plane.testing.processes import until
from tests.model.hand import Hand, lease_of
from tests.model.holder import Held
from tests.model.http_way import HttpConnection
from tests.model.ledger import Ledger, bound
from tests.model.nats_way import new_number

INVENTED = "0123456789abcdef01"
GONE = (400, 404, 409, 410)


@dataclass
class Delivery:
    """A delivery that arrived whole and that nobody has settled yet."""

    way: str
    lease: str
    number: str = ""
    after: int = -1
    cursor: str = ""
    connection: HttpConnection | None = None

    def end(self) -> None:
        if self.connection is not None:
            self.connection.fin()


async def spend(hand: Hand, held: Held) -> str:
    """Take the one use of `held` over HTTP; the settled lease. Nobody gets anything from now on."""
    answer = await hand.get(held)
    assert answer.status == 200, answer
    await until(lambda: _used(hand, held), "the use to be spent")
    return answer.lease


async def begin(hand: Hand, held: Held, way: str, bridge: int = 0) -> Delivery:
    """Hold a use of `held`: all of it has come over HTTP or NATS, its first page by pages."""
    if way == "HTTP":
        connection = hand.connection(bridge)
        answer = await hand.get(held, connection)
        assert answer.status == 200, answer
        return Delivery(way, answer.lease, connection=connection)
    if way == "NATS":
        number = new_number(hand.rng)
        reply, _ = await hand.pull(held, number=number)
        assert not reply.code, reply
        return Delivery(way, reply.lease, number)
    answer = await hand.page(held, limit=4_096, bridge=bridge)
    assert answer.status == 200, answer
    cursor = answer.headers["bp-cursor"]
    return Delivery(way, lease_of(cursor), cursor=cursor)


async def settle(hand: Hand, held: Held, delivery: Delivery, status: str) -> None:
    """The reader's own word, over the way that the delivery came."""
    if delivery.way == "NATS":
        assert not (await hand.nats_confirm(held, status, delivery.lease)).code
        return
    answer = await hand.confirm(held, status, on=delivery.connection, lease=delivery.lease)
    assert answer.fields["status"] == {"success": "confirmed", "failure": "released"}[status]


async def status_now(hand: Hand, held: Held, bridge: int = 0) -> int:
    """What another reader gets, once it is known how the deliveries before it ended; what it gets, it counts."""

    async def told() -> int:
        answer = await hand.get(held, bridge=bridge)
        return 0 if answer.status == 409 else answer.status

    return int(await until(told, "the grant to be free or spent"))


async def is_held(hand: Hand, held: Held) -> bool:
    """Whether all uses are held by somebody, so that nobody else gets anything."""
    return (await hand.get(held)).status == 409


def fits(ledger: Ledger, held: Held) -> bool:
    """Whether what arrived is within the bound."""
    *_, uses = held.counters.values()
    return ledger.received_under(held) <= bound(uses)


async def _used(hand: Hand, held: Held) -> bool:
    return (await hand.page(held)).status == 410
