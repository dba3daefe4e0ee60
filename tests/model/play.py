"""A play: one reader alone with a fresh grant, so that what each answer says can be held against what follows."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from time import monotonic

from tests.model.hand import Hand, lease_of
from tests.model.holder import Held
from tests.model.http_way import HttpConnection
from tests.model.ledger import CLAIMS_A_USE, HarnessError

_SECONDS = 15.0
_KINDS = ("few", "pages", "small", "parts")


@dataclass(frozen=True)
class Taken:
    """A delivery that came over `way`, and is not settled."""

    way: str
    lease: str
    connection: HttpConnection | None = None


async def play(hand: Hand, rng: random.Random) -> None:
    """Deliveries one after the other, each ended in some way, until the grant is used.

    `released` and a success that counts are believed, and the next claim must agree: it is admitted where uses are left
    and less than three deliveries' worth a use went out, and refused as used where all are done.
    """
    uses = rng.choice([1, 1, 2])
    held = await hand.world.grant(hand.world.bodies[rng.choice(_KINDS)], uses)
    done = 0
    for sent in range(4 * uses + 1):  # each of those before sent one delivery's worth at most
        admitted = await _delivered(hand, rng, held)
        if admitted is None:
            if done < uses and sent < CLAIMS_A_USE * uses:
                hand.ledger.fail(held, f"refused as used, after {done} of {uses} deliveries and {sent} that were sent")
            return
        if done >= uses:
            hand.ledger.fail(held, f"delivered, after all {uses} deliveries were complete")
        done += await _ended(hand, rng, held, admitted)


async def _delivered(hand: Hand, rng: random.Random, held: Held) -> Taken | None:
    """A delivery that has come; None where the grant is used."""
    way = rng.choice(["HTTP", "NATS", "page"])
    deadline = monotonic() + _SECONDS
    while monotonic() < deadline:
        code, taken = await _asked(hand, rng, held, way)
        if not code and taken.lease:
            return taken
        if taken.connection is not None:
            taken.connection.fin()
        if code == "grant_used":
            return None
        if code and code != "grant_in_use":
            hand.ledger.fail(held, f"{way}: {code}, where nothing was wrong")
        await asyncio.sleep(0.01)
    raise HarnessError("a use that was given back did not come free")


async def _asked(hand: Hand, rng: random.Random, held: Held, way: str) -> tuple[str, Taken]:
    if way == "NATS":
        reply, _ = await hand.pull(held, "one")
        return reply.code, Taken(way, reply.lease)
    if way == "page":
        answer = await hand.page(held, limit=1_024, bridge=rng.randrange(2))
        return answer.code, Taken(way, lease_of(answer.headers.get("bp-cursor", "")))
    connection = hand.connection(rng.randrange(2))
    answer = await hand.get(held, connection)
    return answer.code, Taken(way, answer.lease, connection)


async def _ended(hand: Hand, rng: random.Random, held: Held, taken: Taken) -> bool:
    """End the delivery; whether it counts. Whoever closes has had it, whoever resets has not (docs/bridge.md)."""
    success = rng.random() < 0.4
    status = "success" if success else "failure"
    if taken.way == "NATS":
        reply = await hand.nats_confirm(held, status, taken.lease, "one")
        holds = not reply.code
    elif taken.connection is not None and rng.random() < 0.4:
        taken.connection.fin() if success else taken.connection.reset()
        return success
    else:
        on = taken.connection if rng.random() < 0.5 else None
        answer = await hand.confirm(held, status, on=on, bridge=rng.randrange(2), lease=taken.lease)
        holds = answer.status == 200 and answer.fields["status"] == ("confirmed" if success else "released")
    if taken.connection is not None:
        taken.connection.fin()
    if not holds:
        hand.ledger.fail(held, f"the first word on a delivery over {taken.way} was {status}, and it does not hold")
    return success
