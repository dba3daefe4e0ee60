"""The adversary: tasks that send, at once and over both bridges, what is honest, replayed, mixed, changed and made up.

What each step is and what it draws is decided by the seed and the number of the step; what there is to draw from comes
from the answers, whose order is not.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from time import time
from typing import Any

from tests.model.bodies import COLUMNS
from tests.model.hand import ASKERS, STORED, Hand
from tests.model.holder import Held
from tests.model.http_way import HttpConnection
from tests.model.ledger import HarnessError, Ledger, Violation
from tests.model.memory import Memory, report
from tests.model.play import play
from tests.model.world import PULLER, TOKEN, World

Step = Callable[["Adversary", random.Random, Held], Awaitable[Any]]
TASKS = 8
_LIVE = 24
_RETIRED = 120
_CONNECTIONS = 12
_ACCEPTS = ("", "application/json", "application/x-ndjson", "text/csv", "application/msgpack", STORED)


class Adversary:
    """`run(steps)` sends about so many requests, and goes on after a violation until there are `most` of them.

    `steps` counts what it did by kind.
    """

    def __init__(self, world: World, ledger: Ledger, seed: int, most: int = 10) -> None:
        self.world = world
        self.ledger = ledger
        self.hand = Hand(world, ledger, random.Random(f"{seed} fresh"))
        self.memory = Memory()
        self.steps: Counter[str] = Counter()
        self.live: list[Held] = []
        self.retired: deque[Held] = deque(maxlen=_RETIRED)
        self.connections: list[HttpConnection] = []
        self.violations: list[Violation] = []
        self._most = most
        self._seed = seed
        self._number = 0

    async def run(self, steps: int) -> None:
        """Violations are kept in `violations`, and what got stuck is counted in the ledger."""
        while len(self.live) < _LIVE:
            await self._acquire(random.Random(f"{self._seed} {len(self.live)}"))
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(TASKS):
                    tasks.create_task(self._work(steps))
        finally:
            self.hand.close()

    async def _work(self, steps: int) -> None:
        while self.hand.requests < steps and len(self.violations) < self._most:
            self._number += 1
            rng = random.Random(f"{self._seed}/{self._number}")
            kind = rng.choices(list(STEPS), [weight for weight, _ in STEPS.values()])[0]
            held = rng.choice(self.retired) if self.retired and rng.random() < 0.1 else rng.choice(self.live)
            if held.feed and kind not in _OF_FEEDS:
                kind = rng.choice(["get", "pull"])
            self.steps[kind] += 1
            try:
                await STEPS[kind][1](self, rng, held)
            except Violation as violation:
                self.violations.append(violation)
            except HarnessError as error:
                self.ledger.note(held, f"{kind} got stuck", error=str(error))
                self.ledger.harness[f"{kind}: {str(error)[:80]}"] += 1
            if self.ledger.ended(held) and held in self.live and rng.random() < 0.4:
                self.live.remove(held)
                self.retired.append(held)
                await self._acquire(rng)

    async def _acquire(self, rng: random.Random) -> Held:
        """Come by another grant; the oldest goes to those that are tried only now and then."""
        held = await self._new(rng)
        while len(self.live) >= _LIVE:
            self.retired.append(self.live.pop(rng.randrange(len(self.live))))
        self.live.append(held)
        return held

    async def _new(self, rng: random.Random) -> Held:
        uses = rng.choices([1, 2, 3, 0], [5, 2, 1, 1])[0]
        match rng.choices(["body", "mcp rows", "mcp raw", "feed", "upload"], [12, 2, 2, 2, 1])[0]:
            case "body":
                kind = rng.choices(list(self.world.bodies), [4, 5, 1, 4, 3, 1, 0.3])[0]
                ttl = rng.choice([1, 2, 4]) if rng.random() < 0.06 else 1_000
                return await self.world.grant(self.world.bodies[kind], uses, ttl)
            case "mcp rows":
                held = await self.world.offered("rows", uses, rng.choice([8, 90]))
            case "mcp raw":
                held = await self.world.offered("raw", uses, rng.choice([900, 40_000]))
            case "feed":
                return (await self.world.feed()).with_uses(max(1, uses))
            case _:
                return await self._uploaded(rng, uses)
        self.memory.offers.append(held)
        return held

    async def _uploaded(self, rng: random.Random, uses: int) -> Held:
        path, data = await self.world.uploads(uses), rng.randbytes(3_000)
        async with self.hand.connection(rng.randrange(2)) as connection:
            for method in rng.sample(["PUT", "HEAD", "PUT"], 3):
                answer = await connection.ask(method, path, raw=b"" if method == "HEAD" else data)
                if found := answer.headers.get("content-location"):
                    return self.world.uploaded(found.rpartition("/")[2], data, uses)
        raise HarnessError("an upload gave no grant")

    def connection(self, rng: random.Random) -> HttpConnection:
        """A kept connection, or a new one; it is nobody else's until it comes back."""
        if self.connections and rng.random() < 0.5:
            return self.connections.pop(rng.randrange(len(self.connections)))
        return self.hand.connection(rng.randrange(2))

    def done(self, rng: random.Random, connection: HttpConnection, *, usable: bool = True) -> None:
        """Keep the connection, or end it one way or the other."""
        if usable and connection.open and len(self.connections) < _CONNECTIONS and rng.random() < 0.5:
            self.connections.append(connection)
        elif rng.random() < 0.5:
            connection.fin()
        else:
            connection.reset()


async def get(one: Adversary, rng: random.Random, held: Held) -> None:
    connection = one.connection(rng)
    stop = int(held.body.size * rng.random() * 1.3) if rng.random() < 0.3 else None
    accept = rng.choice(_ACCEPTS) if held.body.kind == "rows" else ""
    more: dict[str, Any] = {"accept": accept, "accept_encoding": rng.choice(["identity", "gzip"])}
    if rng.random() < 0.3:
        more["range"] = f"bytes={_part(rng, held.body.size)}"
    if rng.random() < 0.1 and one.memory.etags:
        more[rng.choice(["if_none_match", "if_match", "if_range"])] = rng.choice(one.memory.etags)
    method = "HEAD" if rng.random() < 0.1 else "GET"
    answer = await one.hand.get(held, connection, method=method, suffix=_suffix(rng, held), stop=stop, **more)
    one.memory.saw_lease(held, answer.lease)
    if etag := answer.headers.get("etag"):
        one.memory.etags.append(etag)
    one.done(rng, connection, usable=answer.whole)


async def post(one: Adversary, rng: random.Random, held: Held) -> None:
    connection = one.connection(rng)
    fields = _selector(rng, held) if held.body.kind == "rows" else {}
    answer = await one.hand.get(held, connection, method="POST", fields=fields)
    one.memory.saw_lease(held, answer.lease)
    one.done(rng, connection)


async def page(one: Adversary, rng: random.Random, held: Held) -> None:
    connection = one.connection(rng)
    limit = rng.choice([1_024, 4_096, 16_384, 1 << 20])
    answer = await one.hand.page(held, one.memory.cursor(rng, held), limit=limit, on=connection)
    one.memory.saw_cursor(held, answer.headers.get("bp-cursor", ""))
    one.done(rng, connection)


async def look(one: Adversary, rng: random.Random, held: Held) -> None:
    await one.hand.look(held, rng.choice([0, 1, 5, 100, -1, "5", None]), bridge=rng.randrange(2))


async def confirm(one: Adversary, rng: random.Random, held: Held) -> None:
    connection = one.connection(rng)
    fields = report(rng, held)
    if rng.random() < 0.7:
        fields["lease"] = one.memory.lease(rng, held)
    status = rng.choices(["success", "failure", "released", None], [5, 5, 1, 1])[0]
    await one.hand.confirm(held, status, on=connection, **fields)
    one.done(rng, connection)


async def pull(one: Adversary, rng: random.Random, held: Held) -> None:
    fields: dict[str, Any] = _selector(rng, held) if held.body.kind == "rows" and rng.random() < 0.2 else {}
    if held.feed:
        fields["version"] = rng.choice([0, 1, 2, 3])
        if rng.random() < 0.3:
            fields["since"] = rng.choice([0, 1, 2])
    if rng.random() < 0.6 and (lease := one.memory.lease(rng, held)):
        fields["lease"] = lease
    if rng.random() < 0.5:
        fields["after"] = one.memory.place(rng, held)
    if rng.random() < 0.1:
        fields["look"] = rng.choice([0, 3, 100])
    if rng.random() < 0.2:
        fields["who"] = rng.choice(["a", "b"])
    number = one.memory.number(rng, held)
    reply, _ = await one.hand.pull(held, rng.choice(ASKERS), number, **fields)
    one.memory.saw_lease(held, reply.lease)
    one.memory.saw_places(held, one.world.nats.arrived[number].places)


async def nats_confirm(one: Adversary, rng: random.Random, held: Held) -> None:
    lease: Any = one.memory.lease(rng, held)
    if rng.random() < 0.03:
        lease = rng.choice([None, 7, True, [], b"\0"])
    status = rng.choices(["success", "failure", "settled", None], [5, 5, 1, 1])[0]
    await one.hand.nats_confirm(held, status, lease, rng.choice(ASKERS), **report(rng, held))


async def unable(one: Adversary, rng: random.Random, held: Held) -> None:
    held = _offered(one, rng, held)
    said, _ = await one.hand.unable(held, one.memory.cursor(rng, held))
    one.memory.saw_cursor(held, said.result.get("nextCursor") or "")


async def mcp_confirm(one: Adversary, rng: random.Random, held: Held) -> None:
    held = _offered(one, rng, held)
    fields = {name: value for name, value in report(rng, held).items() if name != "sent" and type(value) in (int, str)}
    if rng.random() < 0.7:
        fields["lease"] = one.memory.lease(rng, held)
    await one.hand.mcp_confirm(held, rng.choice(["success", "failure"]), **fields)


async def mixed_offer(one: Adversary, rng: random.Random, held: Held) -> None:
    """Words of one offer with the seal or the id of another."""
    mine, yours = _offered(one, rng, held).offer, _offered(one, rng, held).offer
    assert mine is not None and yours is not None
    named = {"transfer_id": mine.transfer_id, "endpoint": yours.endpoint, "seal": rng.choice([mine, yours]).seal}
    said = await one.world.mcp.ask("transfer/unable", **named)
    if not said.code and mine.endpoint != yours.endpoint:
        one.ledger.fail(held, "an offer was taken whose words are of two")


async def read(one: Adversary, rng: random.Random, held: Held) -> None:
    if not held.feed:
        await one.hand.read(held)


async def narrow(one: Adversary, rng: random.Random, held: Held) -> None:
    child = _narrowed(rng, held)
    if len(child.text) <= 1_024:
        one.live[rng.randrange(len(one.live))] = child


async def acquire(one: Adversary, rng: random.Random, held: Held) -> None:
    await one._acquire(rng)


async def revoke(one: Adversary, rng: random.Random, held: Held) -> None:
    await one.world.revoke(held)
    one.ledger.note(held, "revoked by its owner")
    one.ledger.revoked(held)


async def duet(one: Adversary, rng: random.Random, held: Held) -> None:
    await play(one.hand, rng)


STEPS: dict[str, tuple[float, Step]] = {
    "get": (16, get),
    "post": (5, post),
    "page": (16, page),
    "look": (4, look),
    "confirm": (14, confirm),
    "pull": (20, pull),
    "nats_confirm": (12, nats_confirm),
    "unable": (4, unable),
    "mcp_confirm": (4, mcp_confirm),
    "mixed_offer": (0.5, mixed_offer),
    "read": (1.5, read),
    "narrow": (6, narrow),
    "acquire": (5, acquire),
    "revoke": (0.4, revoke),
    "duet": (0.7, duet),
}
"""By name: how often, and what it is."""

_OF_FEEDS = ("get", "pull", "nats_confirm", "narrow", "acquire", "revoke", "duet", "mixed_offer")


def _offered(one: Adversary, rng: random.Random, held: Held) -> Held:
    if held.offer is not None and rng.random() < 0.5:
        return held
    return rng.choice(one.memory.offers)


def _narrowed(rng: random.Random, held: Held) -> Held:
    first = len(held.rows) // 2
    ways: list[Callable[[], Held]] = [
        lambda: held.with_uses(rng.choice([1, 1, 2, 3])),
        lambda: held.with_uses(rng.choice([1, 2])).with_uses(1),
        lambda: held.until(int(time()) + rng.choice([1, 3, 600])),
        lambda: held.for_puller(PULLER, TOKEN),
        lambda: held.of_bytes(rng.choice([10, held.body.size, 1 << 40])),
    ]
    if held.body.kind == "rows" and held.rows:
        ways += [
            lambda: held.with_columns(*rng.sample(COLUMNS, 2)),
            lambda: held.with_where(held.rows.start + rng.choice([0, 1]), held.rows.start + first + 1),
            lambda: held.with_first(max(1, first)),
        ]
    return rng.choice(ways)()


def _selector(rng: random.Random, held: Held) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if rng.random() < 0.6:
        fields["columns"] = rng.sample(held.columns if rng.random() < 0.9 else COLUMNS, 1)
    if rng.random() < 0.6:
        rows = held.rows if held.rows and rng.random() < 0.9 else range(1_000)
        fields["row_ids"] = sorted({rng.choice(rows) for _ in range(rng.choice([0, 1, 3]))})
    return fields


def _suffix(rng: random.Random, held: Held) -> str:
    if held.feed:
        return rng.choice(["/last", "/1", "/2", "/2/changes?since=1", "/last", "/3", ""])
    if rng.random() < 0.15:
        return rng.choice(["?columns=a", "?row_ids=0", "?columns=a,b&row_ids=0,1", "?format=text%2Fcsv", "?columns=zz"])
    return ""


def _part(rng: random.Random, size: int) -> str:
    start, stop = sorted(rng.randrange(size) for _ in range(2))
    return rng.choice([f"{start}-{stop}", f"{start}-", f"-{start}", f"{size - 1}-", "0-0", "0-", f"{size}-", "0-0,2-3"])
